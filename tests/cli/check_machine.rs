//! `check` of the machine: the service as systemd knows it, owners and modes, addresses, schedules, a pause.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::Value;

use crate::{
    bench::{Bench, entry, set_mode},
    check::{found, report},
};

/// A user that no machine has.
const STRANGER: u32 = 4_200_001;

/// `check --json` with these programs in the place of the machine's own `systemctl`.
fn with_systemctl(bench: &Bench, script: &str, code: i32) -> Value {
    let bin = bench.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("systemctl"), format!("#!/bin/sh\n{script}\n")).unwrap();
    set_mode(&bin.join("systemctl"), 0o755);
    let output = bench.command(&["check", "--json"]).env("PATH", &bin).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What systemd would say of a unit with these properties and this source.
fn unit(properties: &[(&str, &str)], source: &str) -> String {
    let mut all = vec![
        ("LoadState", "loaded"),
        ("UnitFileState", "enabled"),
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("MainPID", "0"),
        ("User", "root"),
        ("Type", "notify"),
        ("WatchdogUSec", "1min"),
        ("TimeoutStopUSec", "1min"),
    ];
    for (key, value) in properties {
        all.retain(|(known, _)| known != key);
        all.push((key, value));
    }
    let lines = all.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n");
    format!(
        "for word; do case \"$word\" in show) echo '{lines}'; exit;; cat) echo '{source}'; exit;; esac; done"
    )
}

#[track_caller]
fn remedy(report: &Value, check: &str) -> String {
    let findings = report["checks"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check && finding["remedy"].is_string());
    finding.unwrap_or_else(|| panic!("no remedy of {check}: {report:#}"))["remedy"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_systemd_says_of_the_service() {
    let bench = Bench::new().await;
    let of = |properties: &[(&str, &str)], source: &str, code| {
        with_systemctl(&bench, &unit(properties, source), code)
    };
    let good = of(&[], "[Service]", 0);
    assert_eq!(found(&good, "systemd").0, "ok", "{good:#}");
    assert!(found(&good, "systemd").1.contains("enabled, active (running), as root"), "{good:#}");
    assert_eq!((found(&good, "watchdog").0, found(&good, "user").0.len() > 1), ("ok", true));
    let disabled = of(&[("UnitFileState", "disabled"), ("ActiveState", "inactive")], "", 0);
    assert_eq!(found(&disabled, "systemd").0, "warn");
    assert!(remedy(&disabled, "systemd").starts_with("systemctl enable --now"));
    let failed = of(&[("ActiveState", "failed")], "", 1);
    assert!(remedy(&failed, "systemd").starts_with("journalctl -u tresorpayd.service"));
    let deaf = of(&[("Type", "simple"), ("WatchdogUSec", "0")], "", 0);
    assert_eq!(found(&deaf, "watchdog").0, "warn");
    let hasty = of(&[("TimeoutStopUSec", "10s")], "", 0);
    assert!(remedy(&hasty, "systemd").contains("TimeoutStopSec=60"), "{hasty:#}");
    let loose = of(&[], "SetCredential=client_secret:loose-secret", 1);
    assert!(
        remedy(&loose, "systemd").contains("LoadCredential=") && !loose.to_string().contains("loose-secret")
    );
    let elsewhere = of(&[("MainPID", "1")], "", 0);
    assert!(found(&elsewhere, "daemon").1.contains("though the service runs (pid 1)"), "{elsewhere:#}");
    let absent = of(&[("LoadState", "not-found")], "", 0);
    assert_eq!(found(&absent, "systemd").0, "skip");
    let nobody = of(&[("User", "no-such-user")], "", i32::from(rustix::process::geteuid().is_root()));
    assert!(found(&nobody, "user").1.contains("no-such-user"), "{nobody:#}");
    let not_booted = with_systemctl(&bench, "echo 'System has not been booted with systemd.' >&2; exit 1", 0);
    assert_eq!(found(&not_booted, "systemd"), ("skip", "not asked: System has not been booted with systemd"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_that_the_unit_loads_is_used() {
    let bench = Bench::new().await;
    bench.configure(&[("auth.client_id", "\"\""), ("auth.client_secret", "\"\"")]);
    // Whoever runs it from a shell has no $CREDENTIALS_DIRECTORY.
    let json = report(&bench, 78);
    assert_eq!(found(&json, "configuration").0, "fail");
    assert_eq!(found(&json, "integrity").0, "ok", "the rest is told all the same: {json:#}");
    assert_eq!(found(&json, "token").0, "skip");
    let text = bench.run(&["check"]).exits(78).out;
    assert_eq!(text.matches("FAIL  configuration").count(), 2, "{text}");
    assert_eq!(text.matches("api.base_url = ").count(), 1, "{text}");
    assert!(
        text.rfind("FAIL  configuration") < text.find("api.base_url = "),
        "the keys stand below both: {text}"
    );
    let folder = bench.path("credentials");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("client_id"), "demo-client\n").unwrap();
    std::fs::write(folder.join("client_secret"), "demo-secret\n").unwrap();
    let loads = ["client_id", "client_secret"]
        .map(|name| format!("LoadCredential={name}:{}\n", folder.join(name).display()));
    let json = with_systemctl(&bench, &unit(&[], &loads.concat()), 0);
    assert_eq!(found(&json, "token").0, "ok", "{json:#}");
    assert!(found(&json, "credentials").1.contains("client_secret"), "{json:#}");
    assert!(found(&json, "systemd").1.contains("loads 2 credentials"), "{json:#}");
    let id = json["keys"].as_array().unwrap().iter().find(|key| key["key"] == "auth.client_id").unwrap();
    assert_eq!(id["value"], "\"demo-client\"", "as it is used");
    assert!(!json.to_string().contains("demo-secret"));
    let secret = folder.join("client_secret");
    set_mode(&secret, 0o644);
    for (mode, told) in [(0o755, true), (0o700, false)] {
        set_mode(&folder, mode);
        let json = with_systemctl(&bench, &unit(&[], &loads.concat()), 0);
        let checks = json["checks"].as_array().unwrap();
        assert_eq!(checks.iter().any(|finding| finding["check"] == "secrets"), told, "{mode:o}: {json:#}");
        assert!(!told || remedy(&json, "secrets") == format!("chmod o= {}", secret.display()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_environment_is_told() {
    let bench = Bench::new().await;
    bench.configure(&[("auth.client_secret", "\"\"")]);
    let output = bench
        .command(&["check", "--json"])
        .env("TRESORPAYD__AUTH__CLIENT_SECRET", "demo-secret")
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), found(&json, "credentials").0), (Some(0), "warn"), "{json:#}");
    assert!(remedy(&json, "credentials").contains("LoadCredential=client_secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_may_change_is_told_with_the_remedy() {
    let bench = Bench::new().await;
    let folder = bench.database().parent().unwrap().to_owned();
    let path = folder.display();
    for (mode, code, result, wanted) in [
        (0o777, 1, "fail", format!("chmod 3770 {path}")),
        (0o770, 0, "warn", format!("chmod g+s,+t {path}")),
        (0o2770, 0, "warn", format!("chmod +t {path}")),
    ] {
        set_mode(&folder, mode);
        let json = report(&bench, code);
        assert_eq!(found(&json, "folder").0, result, "{mode:o}");
        assert_eq!(remedy(&json, "folder"), wanted);
    }
    set_mode(&folder, 0o3770);
    set_mode(&bench.database(), 0o640);
    let json = report(&bench, 0);
    assert_eq!((found(&json, "folder").0, found(&json, "access").0), ("ok", "warn"), "{json:#}");
    assert_eq!(remedy(&json, "access"), format!("chmod 660 {}", bench.database().display()));
}

/// Root reads the database of another user, and leaves nothing that would shut that user out.
#[tokio::test(flavor = "multi_thread")]
async fn root_leaves_no_file_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new().await;
    let folder = bench.database().parent().unwrap().to_owned();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(bench.path(&format!("outbox.db{suffix}")));
    }
    for path in [folder.clone(), bench.database(), bench.path("outbox.db.lock")] {
        chown(&path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let before = std::fs::read(bench.database()).unwrap();
    assert_eq!(found(&report(&bench, 0), "integrity").0, "ok");
    assert_eq!(std::fs::read(bench.database()).unwrap(), before, "the database is as it was");
    for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        let (name, metadata) = (entry.file_name(), entry.metadata().unwrap());
        if name != "config.toml" {
            assert_eq!((metadata.uid(), metadata.gid()), (STRANGER, STRANGER), "{name:?}");
            assert_eq!(metadata.permissions().mode() & 0o007, 0, "{name:?}");
        }
    }
    let unit = unit(&[("User", "daemon")], "");
    let json = with_systemctl(&bench, &unit, 1);
    assert!(remedy(&json, "folder").starts_with("chown daemon:"), "{json:#}");
    assert!(remedy(&json, "access").starts_with("chown daemon:"), "{json:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_free_the_daemons_or_somebody_elses() {
    let bench = Bench::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("\"{address}\"");
    bench.configure(&[("callback.listen", &listen), ("callback.public_url", "\"http://127.0.0.1/paid\"")]);
    let json = report(&bench, 1);
    assert!(found(&json, "listen").1.ends_with("is in use, and no daemon runs on this database"), "{json:#}");
    drop(taken);
    assert!(found(&report(&bench, 0), "listen").1.ends_with("is free"));
    bench.add(&entry("A-1")).exits(0);
    let daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    let json = report(&bench, 0);
    assert!(found(&json, "listen").1.ends_with("is the running daemon's"), "{json:#}");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_receipts_and_a_pause() {
    let bench = Bench::new().await;
    let receipts = bench.path("receipts");
    let directory = format!("{:?}", receipts.to_str().unwrap());
    bench.configure(&[("reconcile.schedule", "\"0 30 2 29 2 *\""), ("receipts.directory", &directory)]);
    let json = report(&bench, 1);
    let shown = json["checks"].as_array().unwrap().iter().filter(|finding| finding["check"] == "schedule");
    let shown: Vec<&str> = shown.map(|finding| finding["detail"].as_str().unwrap()).collect();
    assert_eq!(shown.len(), 3);
    assert!(
        shown[2].contains("2028-02-29 02:30:00, 2032-02-29 02:30:00, 2036-02-29 02:30:00 UTC"),
        "{shown:?}"
    );
    assert!(found(&json, "timezone").1.contains("UTC"));
    assert!(remedy(&json, "receipts").starts_with("install -d -m 2750 -o "), "{json:#}");
    std::fs::create_dir(&receipts).unwrap();
    assert_eq!(found(&report(&bench, 0), "receipts").0, "ok");
    assert_eq!(found(&report(&bench, 0), "pause").0, "ok");
    let daemon = bench.daemon();
    bench.until_running().await;
    bench.run(&["pause", "--by", "Awa", "--wait"]).exits(0);
    let json = report(&bench, 0);
    assert!(
        found(&json, "pause").1.starts_with("emission is paused since ")
            && found(&json, "pause").1.ends_with(", by Awa"),
        "{json:#}"
    );
    assert!(remedy(&json, "pause").contains("tresorpayd resume"));
    drop(daemon);
}
