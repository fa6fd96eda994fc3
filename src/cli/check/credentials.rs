//! Where the account and its secret come from, and who else may see the secret there.

use std::path::Path;

use super::{
    Finding,
    systemd::{Service, Unit},
};
use crate::{
    settings::{KeyOrigin, Settings},
    store::inspect::FileState,
};

/// Keys whose value is a secret where it stands in the configuration file.
const SECRET_KEYS: [&str; 3] = ["auth.client_secret", "http.token", "api.proxy"];
/// The key of the secret itself.
const SECRET: &str = "auth.client_secret";
/// The key whose value is the path of a secret.
const SECRET_FILE: &str = "auth.client_secret_file";

/// Where they come from, then each place that every user may read.
pub(super) fn check(file: Option<&Path>, settings: &Settings, service: &Service) -> Vec<Finding> {
    let origins = settings.origins();
    let mut findings: Vec<Finding> = origin(origins, service).into_iter().collect();
    findings.extend(exposed(file, origins));
    findings.extend(exposed_in_store(service));
    findings
}

/// Nothing where no secret was given: the configuration's own problem says so.
fn origin(origins: &[KeyOrigin], service: &Service) -> Option<Finding> {
    let of = |key: &str| origins.iter().find(|origin| origin.key == key);
    let account = of("auth.client_id").map_or("nowhere", |origin| origin.source.as_str());
    let (secret, place) = match (of(SECRET), of(SECRET_FILE)) {
        (Some(origin), _) => (origin, origin.source.clone()),
        (None, Some(origin)) => (origin, format!("the file {}", origin.value.trim_matches('"'))),
        (None, None) => return None,
    };
    let detail = format!("client_id from {account}; the secret from {place}");
    if secret.key == SECRET && secret.source.contains("TRESORPAYD__") {
        return Some(Finding::warn(
            "credentials",
            format!(
                "{detail}: an environment is inherited by every child, and shown to whoever may look at the process"
            ),
            "LoadCredential=client_secret:FILE in the unit, or auth.client_secret_file",
        ));
    }
    let unit_loads = service.unit().is_some_and(Unit::loads_secret);
    let hint = if unit_loads && !place.starts_with("credential ") {
        " (the unit loads one too, which is stronger)"
    } else {
        ""
    };
    Some(Finding::ok("credentials", format!("{detail}{hint}")))
}

/// Secrets in files that every user of the machine may read.
fn exposed(file: Option<&Path>, origins: &[KeyOrigin]) -> Vec<Finding> {
    origins
        .iter()
        .filter_map(|origin| {
            let in_file = file.filter(|file| origin.source.starts_with(&format!("{}, line", file.display())));
            let path = match (origin.key, in_file) {
                (SECRET_FILE, _) => Path::new(origin.value.trim_matches('"')),
                (key, Some(file)) if SECRET_KEYS.contains(&key) => file,
                _ => return None,
            };
            has_bits(path, 0o004).then(|| open_to_all(origin.key, path))
        })
        .collect()
}

/// The same of what the unit loads; a folder that nobody may enter protects what lies in it.
fn exposed_in_store(service: &Service) -> impl Iterator<Item = Finding> {
    let files = service.unit().into_iter().flat_map(Unit::secret_files);
    files
        .filter(|path| has_bits(path, 0o004) && path.parent().is_some_and(|folder| has_bits(folder, 0o001)))
        .map(|path| open_to_all("the secret", &path))
}

fn has_bits(path: &Path, bits: u32) -> bool {
    FileState::of(path).ok().flatten().is_some_and(|file| file.mode & bits == bits)
}

fn open_to_all(what: &str, path: &Path) -> Finding {
    let path = path.display();
    let detail = format!("{what} stands in {path}, which every user may read");
    Finding::warn("secrets", detail, format!("chmod o= {path}"))
}
