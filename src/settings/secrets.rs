//! Secrets from files: systemd credentials as the strongest layer, and `auth.client_secret_file`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use config::ValueKind;

use super::keys;
use super::layers::Fragment;
use super::problem::{Problem, printable};

/// The credentials that are looked for, and the keys they give.
const CREDENTIALS: [(&str, &str); 2] =
    [("client_id", "auth.client_id"), ("client_secret", "auth.client_secret")];

/// What the names of the files begin with in a store of many programs' credentials, such as /etc/credstore. systemd gives
/// the service the bare names; `check` reads the store itself.
const IN_A_STORE: &str = "tresorpayd.";

/// No credential of an OAuth client is longer.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

/// Takes the credentials that systemd put into `directory`; those that are not there are no problem here.
pub(super) fn credentials(directory: &Path) -> Fragment {
    let mut fragment = Fragment::default();
    for (file, key) in CREDENTIALS.iter().filter_map(|(file, key)| Some((file, keys::find(key)?))) {
        let bare = directory.join(file);
        let path = if bare.try_exists().unwrap_or(true) {
            bare
        } else {
            directory.join(format!("{IN_A_STORE}{file}"))
        };
        let origin = format!("credential {}", printable(&path.display().to_string()));
        match read(&path) {
            Ok(text) => {
                fragment.set(key, ValueKind::String(text), &origin);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                fragment.problems.push(Problem::new(key.name, origin, format!("cannot be read: {error}")));
            }
        }
    }
    fragment
}

/// The text of the file at `path`, as it stands there.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_SECRET_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// The credential in the file at `path`, which must be absolute: what is no such path may be the secret itself.
pub(super) fn credential_file(path: &str) -> Result<String, String> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err("expected the absolute path of a file that holds the secret".to_owned());
    }
    let text = read(path).map_err(|error| format!("cannot be read: {error}"))?;
    credential(&text)
}

/// A credential as it is sent: without the line break that editors and `echo` leave at the end, and no more
/// than that is taken away. The error never holds the value.
pub(super) fn credential(text: &str) -> Result<String, String> {
    let text = without_line_break(text);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("holds a line break or another control character: expected one line of text".to_owned());
    }
    Ok(text.to_owned())
}

/// What a credential is without the end of its line.
pub(super) fn without_line_break(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_break_at_the_end_goes() {
        assert_eq!(credential("0012\n").as_deref(), Ok("0012"));
        assert_eq!(credential("0012\r\n").as_deref(), Ok("0012"));
        assert_eq!(credential(" 0012 ").as_deref(), Ok(" 0012 "));
        assert!(credential("\n").is_err());
        assert!(credential("00\n12").is_err_and(|error| !error.contains("12")));
    }
}
