//! Room on the disks, and directories that must be written.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{
    Finding,
    files::folder_of,
    owner::{Owner, user_name},
    systemd::Service,
};
use crate::{
    cli::output::size,
    settings::Settings,
    store::{Room, inspect::FileState},
};

/// The disk of the database.
pub(super) fn of_database(settings: &Settings) -> Finding {
    disk("space", folder_of(&settings.database.path), settings.database.max_wal)
}

/// The receipts' directory and its disk; nothing where receipts are not kept.
pub(super) fn of_receipts(settings: &Settings, service: &Service) -> Option<Finding> {
    let directory = settings.receipts.directory.as_deref()?;
    let path = directory.display();
    let owner = Owner::of_service(service);
    let name = owner.as_ref().map_or_else(|| "tresorpayd".to_owned(), |owner| user_name(owner.user));
    let state = match FileState::of(directory) {
        Ok(Some(state)) if directory.is_dir() => state,
        Ok(Some(_)) => {
            return Some(Finding::fail(
                "receipts",
                format!("{path} is not a directory"),
                "set receipts.directory",
            ));
        }
        Ok(None) => {
            let remedy = format!("install -d -m 2750 -o {name} {path}");
            return Some(Finding::fail("receipts", format!("{path} does not exist"), remedy));
        }
        Err(error) => return Some(Finding::skip("receipts", format!("{path}: {error}"))),
    };
    let (writable, who) = match &owner {
        Some(owner) => (may_write(&state, owner), name.clone()),
        None => (
            accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok(),
            user_name(rustix::process::geteuid().as_raw()),
        ),
    };
    if !writable {
        let detail = format!(
            "{path} has mode {:04o} and belongs to {}: {who} may not write there",
            state.mode,
            user_name(state.owner)
        );
        return Some(Finding::fail(
            "receipts",
            detail,
            format!(
                "chown {who} {path}, and ReadWritePaths={path} in the unit if it is not below /var/lib/tresorpayd"
            ),
        ));
    }
    Some(disk("receipts", directory, 0))
}

/// By owner, group and mode alone: no access control list, no supplementary group.
fn may_write(state: &FileState, owner: &Owner) -> bool {
    let bits = if owner.user == 0 {
        0o7
    } else if state.owner == owner.user {
        state.mode >> 6
    } else if state.group == owner.group {
        state.mode >> 3
    } else {
        state.mode
    };
    bits & 0o3 == 0o3
}

/// `wanted` bytes should be free on the disk of `folder`.
fn disk(check: &'static str, folder: &Path, wanted: u64) -> Finding {
    let path = folder.display();
    let room = match Room::of(folder) {
        Ok(room) => room,
        Err(error) => return Finding::skip(check, format!("{path}: {error}")),
    };
    let detail = format!("{} free on the disk of {path}", size(room.free));
    if room.read_only {
        return Finding::fail(
            check,
            format!("the file system of {path} is read-only"),
            "mount it for writing; look at the kernel's log",
        );
    }
    if room.no_more_files {
        return Finding::fail(
            check,
            format!("no file can be made any more on the disk of {path}"),
            "free inodes: very many small files",
        );
    }
    match room.free {
        free if free < Room::LITTLE => Finding::fail(
            check,
            detail,
            "free space: without it nothing can be recorded, and nothing is emitted",
        ),
        free if free < wanted => Finding::warn(
            check,
            format!("{detail}, less than database.max_wal ({})", size(wanted)),
            "free space, or lower database.max_wal",
        ),
        _ => Finding::ok(check, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_off_owner_group_and_mode() {
        let owner = Owner { user: 7, group: 8 };
        let of = |mode, user, group| {
            may_write(&FileState { path: "/r".into(), size: 0, mode, owner: user, group }, &owner)
        };
        assert!(of(0o700, 7, 0) && of(0o770, 0, 8) && of(0o777, 0, 0));
        assert!(!of(0o070, 7, 8), "the owner's bits decide for the owner");
        assert!(!of(0o750, 0, 8) && !of(0o770, 0, 0) && !of(0o760, 0, 8));
    }
}
