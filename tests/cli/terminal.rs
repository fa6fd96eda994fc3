//! On a terminal: colours, and tables that fit it.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::fd::OwnedFd,
    process::Stdio,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;

use crate::bench::{Bench, entry};

/// Both ends of a terminal of 80 columns.
pub(crate) fn terminal() -> (OwnedFd, File) {
    let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (master, slave)
}

/// What the binary writes to a terminal.
fn on_terminal(bench: &Bench, args: &[&str], environment: &[(&str, &str)]) -> String {
    let (master, slave) = terminal();
    let mut command = bench.command(args);
    command.env("TERM", "xterm").envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::from(slave)).spawn().unwrap();
    // The command holds the terminal's only other end once this goes.
    drop(command);
    let mut written = Vec::new();
    let mut buffer = [0; 4096];
    let mut master = File::from(master);
    // Linux says EIO where the other end has gone.
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        written.extend_from_slice(&buffer[..read]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(written).unwrap().replace("\r\n", "\n")
}

/// Without colours.
fn bare(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').unwrap().1)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_coloured_and_fit() {
    let bench = Bench::new().await;
    let long = format!("{}-{}", "DOUANE".repeat(5), "2026".repeat(8));
    bench.add(&json!([entry(&long), entry("A-2"), entry("A-3")])).exits(0);
    let list = on_terminal(&bench, &["list", "--limit", "3"], &[]);
    assert!(list.contains("\u{1b}["), "{list:?}");
    let bare_list = bare(&list);
    assert!(bare_list.lines().all(|line| line.chars().count() <= 80), "{bare_list}");
    assert!(bare_list.contains("\nmore: tresorpayd list --limit 3 --before 1\n"), "{bare_list}");
    assert!(bare_list.starts_with("STATUS"), "{bare_list}");
    let sorted = ["list", "--status", "pending", "--sort", "amount", "--reverse", "--limit", "2"];
    let sorted = bare(&on_terminal(&bench, &sorted, &[]));
    let more = "\nmore: tresorpayd list --status PENDING --sort amount --reverse --limit 2 --after 2\n";
    assert!(sorted.contains(more), "{sorted}");
    let show = on_terminal(&bench, &["show", "A-2"], &[]);
    assert!(show.contains("\u{1b}[1mHISTORY"), "{show:?}");
    let status = on_terminal(&bench, &["status"], &[]);
    assert!(status.starts_with("\u{1b}[") && bare(&status).starts_with("CRITICAL"), "{status:?}");
    let plain = on_terminal(&bench, &["status"], &[("NO_COLOR", "1")]);
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let json = on_terminal(&bench, &["status", "--json"], &[]);
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json:?}");
}
