//! The addresses that the daemon listens on: free, its own, or somebody else's.

use std::{fs, io::ErrorKind, net::SocketAddr, path::Path};

use tokio::net::TcpSocket;

use super::{Finding, systemd::Service};
use crate::{
    settings::Settings,
    store::inspect::{DaemonState, daemon_state},
};

/// Below this a port takes root, or a capability.
const FIRST_FREE_PORT: u16 = 1024;
/// Where the kernel lists TCP sockets.
const SOCKET_TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The state of a socket that listens, in these tables.
const LISTENING: &str = "0A";

/// One line an address that is set.
pub(super) fn check(settings: &Settings, service: &Service) -> Vec<Finding> {
    let callback = settings.callback.as_ref().map(|callback| callback.listen);
    let addresses = [("http.listen", settings.http.listen), ("callback.listen", callback)];
    let addresses = addresses.into_iter().filter_map(|(key, address)| Some((key, address?)));
    addresses.map(|(key, address)| one(key, address, settings, service)).collect()
}

fn one(key: &str, address: SocketAddr, settings: &Settings, service: &Service) -> Finding {
    let error = match taken(address) {
        Ok(())
            if address.port() < FIRST_FREE_PORT
                && service.unit().is_some_and(|unit| unit.user() != "root") =>
        {
            let detail = format!(
                "{key} {address} is free; a port below {FIRST_FREE_PORT} takes a right that the service's user lacks"
            );
            return Finding::warn(
                "listen",
                detail,
                "a higher port behind a reverse proxy, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
            );
        }
        Ok(()) => return Finding::ok("listen", format!("{key} {address} is free")),
        Err(error) => error,
    };
    let shown = format!("{key} {address}: {error}");
    match error.kind() {
        ErrorKind::AddrInUse => in_use(key, address, settings),
        ErrorKind::AddrNotAvailable => {
            Finding::fail("listen", shown, "it is no address of this machine: see `ip address`")
        }
        ErrorKind::PermissionDenied => Finding::fail(
            "listen",
            shown,
            "a port of 1024 or higher behind a reverse proxy, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
        ),
        _ => Finding::fail("listen", shown, format!("set {key} to an address of this machine")),
    }
}

/// Takes the address without listening on it, and lets it go: a daemon that starts at this moment is not in the way, since
/// it, too, lets others use an address that nobody listens on.
fn taken(address: SocketAddr) -> std::io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn in_use(key: &str, address: SocketAddr, settings: &Settings) -> Finding {
    let remedy = format!("`ss -ltnp` tells whose it is; end that program, or set {key} to another port");
    let DaemonState::Running(holder) = daemon_state(&settings.database.path) else {
        return Finding::fail(
            "listen",
            format!("{key} {address} is in use, and no daemon runs on this database"),
            remedy,
        );
    };
    match pid(&holder).and_then(|pid| listens(pid, address.port())) {
        Some(true) => Finding::ok("listen", format!("{key} {address} is the running daemon's")),
        Some(false) => Finding::fail(
            "listen",
            format!("{key} {address} is in use by another program than the daemon"),
            remedy,
        ),
        None => Finding::ok(
            "listen",
            format!(
                "{key} {address} is in use, most likely by the running daemon; only root and its own user can see whose it is"
            ),
        ),
    }
}

/// Of `pid 12, since …`.
fn pid(holder: &str) -> Option<u32> {
    holder.strip_prefix("pid ")?.split(',').next()?.parse().ok()
}

/// Whether one of the process's open sockets listens on `port`; `None`: this process may not look.
fn listens(pid: u32, port: u16) -> Option<bool> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    let open: Vec<String> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let tables = SOCKET_TABLES.iter().filter_map(|table| fs::read_to_string(table).ok()).collect::<String>();
    Some(
        tables
            .lines()
            .filter_map(|line| listener(line, port))
            .any(|inode| open.contains(&format!("socket:[{inode}]"))),
    )
}

/// The inode of a line of the socket table, if that socket listens on `port`.
fn listener(line: &str, port: u16) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local_port, 16).ok()? == port && *fields.get(3)? == LISTENING;
    is_it.then(|| fields.get(9).copied())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   0: 0100007F:24F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0";
        assert_eq!(listener(line, 0x24F8), Some("31337"));
        assert_eq!(listener(line, 80), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 0x24F8), None);
        assert_eq!(listener("  sl  local_address rem_address   st", 80), None);
        assert_eq!(pid("pid 12, since 2026-11-24T09:48:00.000Z"), Some(12));
    }

    #[test]
    fn this_process_finds_its_own_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listens(std::process::id(), port), Some(true));
        drop(listener);
        assert_eq!(listens(std::process::id(), port), Some(false));
    }
}
