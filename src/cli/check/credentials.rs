//! Where the account and its secret come from, and who else may see the secret there.

use std::path::Path;

use super::{Finding, systemd::Service};
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
    let unit_loads = service.unit().is_some_and(super::systemd::Unit::loads_secret);
    let hint = if unit_loads && !place.starts_with("credential ") {
        " (the unit loads one too, which is stronger)"
    } else {
        ""
    };
    Some(Finding::ok("credentials", format!("{detail}{hint}")))
}

/// Secrets in files that every user of the machine may read.
fn exposed(file: Option<&Path>, origins: &[KeyOrigin]) -> Vec<Finding> {
    let exposed = |path: &Path| FileState::of(path).ok().flatten().is_some_and(|file| file.mode & 0o004 != 0);
    let warning = |key: &str, path: &Path| {
        let path = path.display();
        Finding::warn(
            "secrets",
            format!("{key} stands in {path}, which every user may read"),
            format!("chmod o= {path}"),
        )
    };
    origins
        .iter()
        .filter_map(|origin| {
            let in_file = file.filter(|file| origin.source.starts_with(&format!("{}, line", file.display())));
            let path = match (origin.key, in_file) {
                (SECRET_FILE, _) => Path::new(origin.value.trim_matches('"')),
                (key, Some(file)) if SECRET_KEYS.contains(&key) => file,
                _ => return None,
            };
            exposed(path).then(|| warning(origin.key, path))
        })
        .collect()
}
