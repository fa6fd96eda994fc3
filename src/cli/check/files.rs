//! Who may get at the database: the folder, the files in it, their owners and modes. Each fault comes with the command
//! that mends it.
//!
//! The folder of a daemon and its applications has mode 3770: the group may write in it (SQLite makes files beside the
//! database), what is made there gets the folder's group (setgid), and nobody deletes another's file (sticky).

use std::path::Path;

use super::{
    Finding,
    owner::{Owner, group_name, user_name},
    systemd::Service,
};
use crate::{
    settings::Settings,
    store::inspect::{FileState, Inspect, lock_file},
};

const GROUP_WRITES: u32 = 0o020;
const GROUP_READS_AND_WRITES: u32 = 0o060;
const OTHERS: u32 = 0o007;
const OTHERS_WRITE: u32 = 0o002;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// The folder of the database, whether that is there or not.
pub(super) fn folder(settings: &Settings, service: &Service) -> Vec<Finding> {
    let path = folder_of(&settings.database.path);
    match FileState::of(path) {
        Ok(Some(folder)) => judge_folder(&folder, Owner::of_service(service).as_ref()),
        // Whoever opens the database says it with a remedy.
        Ok(None) => Vec::new(),
        Err(error) => vec![Finding::skip("folder", format!("{}: {error}", path.display()))],
    }
}

/// The database's own files, the mark and the lock.
pub(super) fn files(inspect: &Inspect, settings: &Settings, service: &Service) -> Vec<Finding> {
    let files = match inspect.files() {
        Ok(files) => files,
        Err(error) => return vec![Finding::error("access", &error)],
    };
    let Some((database, beside)) = files.split_first() else { return Vec::new() };
    let folder = FileState::of(folder_of(&database.path)).ok().flatten();
    let owner = Owner::of_service(service);
    let mut findings: Vec<Finding> =
        files.iter().filter(|file| file.open_to_others()).map(open_to_others).collect();
    findings.extend(of_database(database, beside, folder.as_ref(), owner.as_ref()));
    findings.extend(
        beside.iter().filter(|file| shuts_out_owner(file, database)).map(|file| other_owner(file, database)),
    );
    findings.extend(helpers(settings, database, owner.as_ref()));
    if findings.is_empty() {
        let (mode, owner, group) = (database.mode, user_name(database.owner), group_name(database.group));
        findings.push(Finding::ok(
            "access",
            format!("mode {mode:04o}, user {owner}, group {group}; closed to others"),
        ));
    }
    findings
}

fn judge_folder(folder: &FileState, owner: Option<&Owner>) -> Vec<Finding> {
    let (path, mode) = (folder.path.display(), folder.mode);
    let mut findings = Vec::new();
    let shown = format!("{path} has mode {mode:04o}");
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        let detail = format!(
            "{shown}: every user of this machine may delete the database or put another in its place"
        );
        findings.push(Finding::fail("folder", detail, format!("chmod 3770 {path}")));
    } else if mode & GROUP_WRITES != 0 && mode & (SETGID | STICKY) != SETGID | STICKY {
        let (mut why, mut bits) = (Vec::new(), Vec::new());
        if mode & SETGID == 0 {
            why.push("files that are made in it get their maker's group, and shut the others out");
            bits.push("g+s");
        }
        if mode & STICKY == 0 {
            why.push("any member of the group may delete or replace the database");
            bits.push("+t");
        }
        findings.push(Finding::warn(
            "folder",
            format!("{shown}: {}", why.join("; ")),
            format!("chmod {} {path}", bits.join(",")),
        ));
    }
    if let Some(owner) = owner.filter(|owner| owner.user != folder.owner) {
        let (theirs, ours) = (user_name(folder.owner), user_name(owner.user));
        let detail = format!(
            "{path} belongs to {theirs}, and the service runs as {ours}: SQLite must make files there"
        );
        findings.push(if folder.group == owner.group && mode & GROUP_WRITES != 0 {
            Finding::warn("folder", detail, format!("chown {} {path}", owner.for_chown()))
        } else {
            Finding::fail("folder", detail, format!("chown {} {path}", owner.for_chown()))
        });
    }
    if findings.is_empty() {
        let (owner, group) = (user_name(folder.owner), group_name(folder.group));
        let who = if mode & GROUP_WRITES == 0 {
            format!("only {owner} writes there")
        } else {
            format!("{owner} and the group {group} write there")
        };
        findings.push(Finding::ok("folder", format!("{shown}; {who}")));
    }
    findings
}

/// The file itself: whose it is, and whether the group that the folder is open to may use it.
fn of_database(
    database: &FileState,
    beside: &[FileState],
    folder: Option<&FileState>,
    owner: Option<&Owner>,
) -> Vec<Finding> {
    let path = database.path.display();
    let mut findings = Vec::new();
    if database.mode & 0o600 != 0o600 {
        let detail = format!("{path} has mode {:04o}: its owner must read and write it", database.mode);
        findings.push(Finding::fail("access", detail, format!("chmod 660 {path}")));
    }
    if let Some(owner) = owner.filter(|owner| owner.user != database.owner) {
        let detail = format!(
            "{path} belongs to {}, and the service runs as {}",
            user_name(database.owner),
            user_name(owner.user)
        );
        let others = beside.iter().filter(|file| file.owner != owner.user);
        let others: String =
            others.flat_map(|file| [" ".to_owned(), file.path.display().to_string()]).collect();
        let remedy = format!("chown {} {path}{others}", owner.for_chown());
        let by_group =
            database.group == owner.group && database.mode & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES;
        findings.push(if by_group {
            Finding::warn("access", detail, remedy)
        } else {
            Finding::fail("access", detail, remedy)
        });
    }
    let Some(folder) = folder.filter(|folder| folder.mode & GROUP_WRITES != 0) else { return findings };
    if database.group != folder.group {
        let (theirs, ours) = (group_name(database.group), group_name(folder.group));
        // Whichever of the two is of the service's group is as it should be.
        let remedy = if owner.is_some_and(|owner| owner.group == database.group) {
            format!("chgrp {theirs} {}", folder.path.display())
        } else {
            format!("chgrp {ours} {path}")
        };
        findings.push(Finding::warn(
            "access",
            format!(
                "{path} is of group {theirs} and its folder of {ours}: who is in one of them only cannot work with it"
            ),
            remedy,
        ));
    } else if database.mode & GROUP_READS_AND_WRITES != GROUP_READS_AND_WRITES {
        let detail = format!(
            "{path} has mode {:04o}: the group {} may make files beside it and cannot insert",
            database.mode,
            group_name(database.group)
        );
        findings.push(Finding::warn("access", detail, format!("chmod 660 {path}")));
    }
    findings
}

fn open_to_others(file: &FileState) -> Finding {
    let path = file.path.display();
    let detail = format!("{path} has mode {:04o}: every user of this machine may get at it", file.mode);
    Finding::fail("access", detail, format!("chmod o= {path}"))
}

/// Whoever opens the database first makes the files beside it; the daemon may then be locked out.
fn shuts_out_owner(file: &FileState, database: &FileState) -> bool {
    let by_group =
        file.group == database.group && file.mode & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES;
    file.owner != database.owner && !by_group
}

fn other_owner(file: &FileState, database: &FileState) -> Finding {
    let path = file.path.display();
    let (owner, group) = (user_name(database.owner), group_name(database.group));
    let detail = format!("{path} belongs to {}, the database to {owner}", user_name(file.owner));
    Finding::warn("access", detail, format!("chown {owner}:{group} {path}"))
}

/// The mark and the lock are written by the daemon alone.
fn helpers(settings: &Settings, database: &FileState, owner: Option<&Owner>) -> Vec<Finding> {
    let user = owner.map_or(database.owner, |owner| owner.user);
    let paths = [settings.database.mark.clone(), lock_file(&settings.database.path)];
    let mut findings = Vec::new();
    for file in paths.iter().filter_map(|path| FileState::of(path).ok().flatten()) {
        let path = file.path.display();
        if file.owner != user && user != 0 {
            let (theirs, ours) = (user_name(file.owner), user_name(user));
            findings.push(Finding::fail(
                "access",
                format!("{path} belongs to {theirs}, and the daemon, as {ours}, must write it"),
                format!("chown {ours} {path}"),
            ));
        }
        if file.mode & OTHERS & OTHERS_WRITE != 0 {
            let detail = format!("{path} has mode {:04o}: every user may change it", file.mode);
            findings.push(Finding::fail("access", detail, format!("chmod o= {path}")));
        }
    }
    findings
}

/// The folder of a file; the working directory of a bare name.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    fn state(mode: u32, owner: u32, group: u32) -> FileState {
        FileState { path: "/srv/o".into(), size: 0, mode, owner, group }
    }

    /// The worst of them, and the remedies.
    fn worst(findings: &[Finding]) -> (Level, Vec<&str>) {
        let rank = |finding: &&Finding| {
            [Level::Ok, Level::Skip, Level::Warn, Level::Fail]
                .iter()
                .position(|level| *level == finding.result)
        };
        let result = findings.iter().max_by_key(rank).map_or(Level::Ok, |finding| finding.result);
        (result, findings.iter().filter_map(|finding| finding.remedy.as_deref()).collect())
    }

    #[test]
    fn a_folder_is_judged_by_what_others_can_do_in_it() {
        let service = Owner { user: 4_000_001, group: 4_000_002 };
        let of = |mode, user, group, owner: Option<&Owner>| {
            let findings = judge_folder(&state(mode, user, group), owner);
            let (level, remedies) = worst(&findings);
            (level, remedies.join(" / "))
        };
        let (user, group) = (service.user, service.group);
        for mode in [0o3770, 0o700, 0o755] {
            assert_eq!(of(mode, user, group, Some(&service)), (Level::Ok, String::new()), "{mode:o}");
        }
        assert_eq!(of(0o1777, user, group, None).0, Level::Warn, "no setgid");
        assert_eq!(of(0o777, user, group, None), (Level::Fail, "chmod 3770 /srv/o".into()));
        assert_eq!(of(0o770, user, group, None), (Level::Warn, "chmod g+s,+t /srv/o".into()));
        assert_eq!(of(0o2770, user, group, None), (Level::Warn, "chmod +t /srv/o".into()));
        assert_eq!(of(0o3770, 0, 0, Some(&service)), (Level::Fail, "chown 4000001:4000002 /srv/o".into()));
        assert_eq!(of(0o3770, 0, group, Some(&service)).0, Level::Warn, "the group lets it write");
    }

    #[test]
    fn a_database_must_be_the_services_and_its_groups() {
        let service = Owner { user: 4_000_001, group: 4_000_002 };
        let (user, group) = (service.user, service.group);
        let shared = state(0o3770, user, group);
        let of = |mode, user, group, folder: Option<&FileState>| {
            let wal = FileState { path: "/srv/o-wal".into(), ..state(mode, user, group) };
            let findings = of_database(&state(mode, user, group), &[wal], folder, Some(&service));
            let (level, remedies) = worst(&findings);
            (level, remedies.join(" / "))
        };
        assert_eq!(of(0o660, user, group, Some(&shared)), (Level::Ok, String::new()));
        assert_eq!(of(0o600, user, group, None), (Level::Ok, String::new()), "for the daemon alone");
        assert_eq!(of(0o640, user, group, Some(&shared)), (Level::Warn, "chmod 660 /srv/o".into()));
        assert_eq!(of(0o440, user, group, None), (Level::Fail, "chmod 660 /srv/o".into()));
        let root = of(0o660, 0, 0, Some(&shared));
        let remedies = "chown 4000001:4000002 /srv/o /srv/o-wal / chgrp 4000002 /srv/o";
        assert_eq!(root, (Level::Fail, remedies.into()));
        assert_eq!(of(0o660, 0, group, Some(&shared)).0, Level::Warn, "the group lets it in");
        let lost = FileState { path: "/srv".into(), ..state(0o3770, user, 0) };
        assert_eq!(of(0o660, user, group, Some(&lost)), (Level::Warn, "chgrp 4000002 /srv".into()));
    }
}
