//! Users and groups by name, and which of them the daemon is.

use nix::unistd::{Gid, Group, Uid, User};

use super::{Finding, systemd::Service};

/// As whom the daemon works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// User id.
    pub(super) user: u32,
    /// Group id.
    pub(super) group: u32,
}

impl Owner {
    /// The service's user and its group, if systemd knows the service and the machine that user.
    pub(super) fn of_service(service: &Service) -> Option<Self> {
        let user = User::from_name(service.unit()?.user()).ok().flatten()?;
        Some(Self { user: user.uid.as_raw(), group: user.gid.as_raw() })
    }

    /// As `chown` takes it: `tresorpayd:tresorpayd`.
    pub(super) fn for_chown(&self) -> String {
        format!("{}:{}", user_name(self.user), group_name(self.group))
    }
}

/// `tresorpayd`, or the number of a user without a name.
pub(super) fn user_name(user: u32) -> String {
    User::from_uid(Uid::from_raw(user)).ok().flatten().map_or_else(|| user.to_string(), |user| user.name)
}

/// The same of a group.
pub(super) fn group_name(group: u32) -> String {
    Group::from_gid(Gid::from_raw(group)).ok().flatten().map_or_else(|| group.to_string(), |group| group.name)
}

/// Whether this process sees what the daemon sees.
pub(super) fn check(service: &Service) -> Finding {
    let me = rustix::process::geteuid().as_raw();
    let name = user_name(me);
    let sockets =
        ["NOTIFY_SOCKET", "WATCHDOG_USEC"].into_iter().filter(|name| std::env::var_os(name).is_some());
    let under_systemd: Vec<&str> = sockets.collect();
    let from = match under_systemd.as_slice() {
        [] => "from a shell".to_owned(),
        set => format!("by systemd ({} set)", set.join(" and ")),
    };
    let detail = format!("this runs as {name}, {from}");
    match (Owner::of_service(service), service.unit()) {
        (Some(owner), _) if owner.user == me => Finding::ok("user", format!("{detail}, as the service does")),
        (_, Some(unit)) if me != 0 && user_name(me) != unit.user() => Finding::warn(
            "user",
            format!(
                "{detail}; the service runs as {}: what it may read and write is not what this process may",
                unit.user()
            ),
            "sudo tresorpayd check",
        ),
        (None, Some(unit)) => Finding::fail(
            "user",
            format!("{detail}; the service's user {} does not exist on this machine", unit.user()),
            format!("useradd --system --no-create-home {}", unit.user()),
        ),
        _ if me == 0 => {
            Finding::ok("user", format!("{detail}; the service's rights are judged by owners and modes"))
        }
        _ => Finding::ok("user", detail),
    }
}
