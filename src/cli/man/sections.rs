//! What no definition of a command line says: what the program is for, its files, its environment, its exit status, what
//! else to read.

use clap_mangen::roff::Roff;

use super::text::{entry, marked};
use crate::settings::DEFAULT_FILE;

const DESCRIPTION: [&str; 4] = [
    "`tresorpayd` emits notices of revenue (avis de recette) at TresorPay, the collection platform of the Malian Treasury, \
     and follows them until they are paid. An application inserts one row into the table `outbox` of an SQLite \
     database; the daemon, `tresorpayd run`, sends it, asks what became of it, and writes the answer into the same row.",
    "A notice is billed at most once, whatever crashes in between: a request leaves only after the database says so, and \
     one that nobody answered is not repeated before it is known what became of it. Until then its row is `UNCERTAIN`.",
    "Every other command looks at that database, or asks the daemon for something by a row of the table `command`; the \
     daemon alone changes the state of notices.",
    "To set it up: write the settings, `tresorpayd check` them, and start the service. To see the whole job with nothing \
     to set up: `tresorpayd demo`.",
];

const FILES: [(&str, &str); 6] = [
    (DEFAULT_FILE, "the settings, if it is there and `--config` names no other; see `tresorpayd.toml`(5)"),
    (
        "/var/lib/tresorpayd/outbox.db",
        "the database, unless `database.url` says otherwise; `-wal` and `-shm` beside it belong to it",
    ),
    (
        "/var/lib/tresorpayd/outbox.db.mark",
        "how far the database is, to notice that an old copy was put back; not to be restored with it",
    ),
    ("/var/lib/tresorpayd/outbox.db.lock", "held by the daemon, one for a database"),
    ("/run/credentials/tresorpayd.service/client_id", "the account, as systemd hands it to the service"),
    ("/run/credentials/tresorpayd.service/client_secret", "its secret, likewise"),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "TRESORPAYD__SECTION__KEY",
        "a setting, such as `TRESORPAYD__EMIT__MAX_ATTEMPTS=5`; stronger than the file. The environment itself is \
         `TRESORPAYD__ENVIRONMENT`",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "set by systemd: the folder of `client_id` and `client_secret`, stronger than all else",
    ),
    ("HTTPS_PROXY, NO_PROXY", "the proxy, where `api.proxy` names none"),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "set by systemd: where the daemon reports that it is ready and alive"),
    ("TRESORPAYD_SIMULATOR_SECRET", "the client secret that `tresorpayd simulator` accepts"),
    ("NO_COLOR", "no colours, even on a terminal"),
];

const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "done"),
    ("1", "failed; what went wrong is on standard error"),
    ("2", "the command line makes no sense"),
    (
        "78",
        "the configuration is bad, or the database cannot be used before somebody acts: systemd does not start it again",
    ),
];

const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGTERM, SIGINT",
        "the daemon claims nothing more, finishes what is under way within `shutdown.grace`, records it, and ends with 0",
    ),
    ("a second one", "ends it at once; what was under way is `UNCERTAIN` at the next start"),
];

/// `DESCRIPTION` of the program.
pub(super) fn description() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    for (place, paragraph) in DESCRIPTION.iter().enumerate() {
        if place > 0 {
            roff.control("PP", []);
        }
        roff.text(marked(paragraph));
    }
    roff
}

/// Everything below the commands of the program's page.
pub(super) fn of_program() -> Roff {
    let mut roff = Roff::new();
    list(&mut roff, "FILES", &FILES);
    list(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    list(&mut roff, "SIGNALS", &SIGNALS);
    list(&mut roff, "EXIT STATUS", &EXIT_STATUS);
    see_also(
        &mut roff,
        "`tresorpayd.toml`(5), `tresorpayd-run`(1), `tresorpayd-check`(1), `systemd.service`(5), `sqlite3`(1)",
    );
    roff
}

/// Everything below the options of a command's page.
pub(super) fn of_command(name: &str) -> Roff {
    let mut roff = Roff::new();
    if name == "run" {
        list(&mut roff, "SIGNALS", &SIGNALS);
    }
    list(&mut roff, "EXIT STATUS", &EXIT_STATUS);
    see_also(&mut roff, "`tresorpayd`(1), `tresorpayd.toml`(5)");
    roff
}

fn list(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (term, meaning) in entries {
        entry(roff, term, meaning);
    }
}

fn see_also(roff: &mut Roff, pages: &str) {
    roff.control("SH", ["SEE ALSO"]).text(marked(pages));
}
