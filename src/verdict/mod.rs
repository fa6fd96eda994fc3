//! Fine, warning or critical, and why: one pure function from what was seen to reasons that a person can act on, in English
//! or French. `tresorpayd status` and the status page tell them.

pub mod disk; // room on the database's disk, and its WAL
mod reconciled; // what reconciliation gives reason to look at
pub mod words; // durations, sizes and counts in a line

use std::time::Duration;

use serde::Serialize;

use crate::{
    clock::Timestamp,
    lang::Lang,
    notice::Status,
    publish,
    store::{
        Room, SecondNotice,
        inspect::{DaemonState, MarkState, Summary},
    },
    tresorpay::{CLOCK_OFF, ErrorCode, offset_words},
};
pub use reconciled::{CRITICAL_WITHIN, WARN_WITHIN, missable, reasons as reconciled_reasons};
use words::{counted, duration};

/// A notice that should have been emitted this long ago is late.
const LATE_AFTER: Duration = Duration::from_secs(10 * 60);

/// How the outbox stands; the worst reason decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing needs attention.
    Ok,
    /// Somebody should look today.
    Warning,
    /// Notices are not being emitted or followed.
    Critical,
}

impl State {
    /// What Nagios understands.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    /// The word that Nagios and people know, in every language.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// One thing that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How grave it is.
    pub severity: State,
    /// What is wrong and what to do, on one line.
    pub text: String,
}

impl Reason {
    /// A reason.
    pub fn new(severity: State, text: impl Into<String>) -> Self {
        Self { severity, text: text.into() }
    }
}

/// What was seen.
pub struct Facts<'a> {
    /// The outbox.
    pub summary: &'a Summary,
    /// `None`: this process may not read it.
    pub mark: Option<&'a MarkState>,
    /// Whether a daemon runs.
    pub daemon: &'a DaemonState,
    /// What a running daemon says holds requests back.
    pub requests: Option<&'a publish::State>,
    /// Notices that are live at TresorPay beside a row's own.
    pub seconds: &'a [SecondNotice],
    /// On the disk of the database; `None`: it is not known.
    pub room: Option<Room>,
    /// Bytes.
    pub wal_bytes: u64,
    /// `database.max_wal`, in bytes.
    pub max_wal: u64,
    /// `emit.max_uncertain`
    pub max_uncertain: u32,
    /// When it was seen.
    pub now: Timestamp,
    /// The language of the reasons.
    pub lang: Lang,
}

/// The worst of `reasons`.
pub fn state_of(reasons: &[Reason]) -> State {
    reasons.iter().map(|reason| reason.severity).max().unwrap_or(State::Ok)
}

/// Every reason, the gravest first.
pub fn judge(facts: &Facts<'_>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = [
        went_back(facts),
        daemon(facts),
        uncertain(facts),
        facts.room.and_then(|room| disk::room(room, facts.lang)),
        disk::wal(facts),
        late(facts),
        rejected(facts),
        paused(facts),
    ]
    .into_iter()
    .flatten()
    .chain(facts.requests.into_iter().flat_map(|state| requests(state, facts.lang)))
    .chain(facts.seconds.iter().map(|notice| second(notice, facts.lang)))
    .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
    reasons
}

fn rows(summary: &Summary, status: Status) -> i64 {
    summary.statuses.iter().find(|count| count.status == status).map_or(0, |count| count.rows)
}

fn went_back(facts: &Facts<'_>) -> Option<Reason> {
    match facts.mark {
        Some(MarkState::WentBack(why)) => Some(Reason::new(
            State::Critical,
            match facts.lang {
                Lang::En => format!(
                    "the database went back in time ({why}): nothing leaves before `tresorpayd accept-restore`"
                ),
                Lang::Fr => format!(
                    "la base de données est revenue en arrière ({why}) : rien ne part avant `tresorpayd accept-restore`"
                ),
            },
        )),
        Some(MarkState::Level(_) | MarkState::NotYet) | None => None,
    }
}

fn daemon(facts: &Facts<'_>) -> Option<Reason> {
    let open = [Status::Pending, Status::Emitting, Status::Uncertain, Status::Emitted];
    let waiting: i64 = open.into_iter().map(|status| rows(facts.summary, status)).sum();
    let (commands, lang) = (facts.summary.open_commands, facts.lang);
    match facts.daemon {
        DaemonState::Running(_) => None,
        DaemonState::Unknown(why) => Some(Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!("it is not known whether a daemon is running: {why}"),
                Lang::Fr => format!("on ne sait pas si le service fonctionne : {why}"),
            },
        )),
        DaemonState::Stopped if waiting + commands == 0 => Some(Reason::new(
            State::Warning,
            lang.pick("no daemon is running (nothing waits for it)", "le service est arrêté (rien n'attend)"),
        )),
        DaemonState::Stopped => Some(Reason::new(
            State::Critical,
            match lang {
                Lang::En => format!(
                    "no daemon is running: {} and {} wait for it; start tresorpayd",
                    counted(lang, waiting, "open row", "open rows"),
                    counted(lang, commands, "command", "commands")
                ),
                Lang::Fr => format!(
                    "le service est arrêté : {} et {} l'attendent ; démarrez tresorpayd",
                    counted(lang, waiting, "avis ouvert", "avis ouverts"),
                    counted(lang, commands, "commande", "commandes")
                ),
            },
        )),
    }
}

fn uncertain(facts: &Facts<'_>) -> Option<Reason> {
    let uncertain = rows(facts.summary, Status::Uncertain);
    let (limit, lang) = (facts.max_uncertain, facts.lang);
    if uncertain >= i64::from(limit) {
        return Some(Reason::new(
            State::Critical,
            match lang {
                Lang::En => format!(
                    "emission has stopped: {uncertain} rows are UNCERTAIN and emit.max_uncertain is {limit}"
                ),
                Lang::Fr => format!(
                    "l'émission est arrêtée : {uncertain} avis sont en doute (UNCERTAIN) et emit.max_uncertain vaut {limit}"
                ),
            },
        ));
    }
    (uncertain > 0).then(|| {
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => {
                    let rows = counted(lang, uncertain, "row is", "rows are");
                    format!("{rows} UNCERTAIN: nobody knows whether TresorPay has them")
                }
                Lang::Fr => {
                    let rows = counted(lang, uncertain, "avis est", "avis sont");
                    let them = if uncertain == 1 { "l'a reçu" } else { "les a reçus" };
                    format!("{rows} en doute (UNCERTAIN) : on ignore si TresorPay {them}")
                }
            },
        )
    })
}

/// Somebody may pay twice.
fn second(second: &SecondNotice, lang: Lang) -> Reason {
    let own = second.own.as_deref().unwrap_or(lang.pick("no notice of its own", "aucun avis"));
    let (code, reference, other) = (ErrorCode::SecondLiveNotice.as_str(), &second.reference, &second.other);
    Reason::new(
        State::Critical,
        match lang {
            Lang::En => format!(
                "{code}: {reference} has {own}, and TresorPay has a live notice {other} beside it: have TresorPay cancel \
             {other}, or refund it if it is paid"
            ),
            Lang::Fr => format!(
                "{code} : {reference} a {own}, et un autre avis {other} est en cours chez TresorPay : faites annuler {other} \
             par TresorPay, ou rembourser s'il est payé"
            ),
        },
    )
}

fn late(facts: &Facts<'_>) -> Option<Reason> {
    let waiting = facts.summary.oldest_waiting.as_ref()?;
    let waits = facts.now.since(Timestamp::parse(&waiting.since)?);
    (waits > LATE_AFTER).then(|| {
        let (reference, waits) = (&waiting.reference, duration(facts.lang, waits));
        Reason::new(
            State::Warning,
            match facts.lang {
                Lang::En => format!("{reference} is PENDING and due for {waits}"),
                Lang::Fr => format!("{reference} attend son émission (PENDING) depuis {waits}"),
            },
        )
    })
}

fn rejected(facts: &Facts<'_>) -> Option<Reason> {
    let (rejected, lang) = (facts.summary.rejected_since, facts.lang);
    (rejected > 0).then(|| {
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!(
                    "{} REJECTED within the last day: tresorpayd list --status REJECTED",
                    counted(lang, rejected, "row was", "rows were")
                ),
                Lang::Fr => format!(
                    "{} (REJECTED) depuis un jour : tresorpayd list --status REJECTED",
                    counted(lang, rejected, "avis rejeté", "avis rejetés")
                ),
            },
        )
    })
}

fn paused(facts: &Facts<'_>) -> Option<Reason> {
    facts.summary.paused.as_ref().map(|_| {
        Reason::new(
            State::Warning,
            facts.lang.pick(
                "emission is paused by command; `tresorpayd resume` ends it",
                "l'émission est suspendue par une commande ; `tresorpayd resume` la reprend",
            ),
        )
    })
}

/// An open breaker and a clock that is off.
fn requests(state: &publish::State, lang: Lang) -> Vec<Reason> {
    let open = state.held.sides.iter().map(|side| {
        let (side, error) = (&side.side, &side.error);
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!("requests are held back ({side}): {error}"),
                Lang::Fr => format!("les requêtes sont retenues ({side}) : {error}"),
            },
        )
    });
    let clock = state.clock_off.map(|seconds| {
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!(
                    "{CLOCK_OFF}: this machine's clock is {} TresorPay's: set it",
                    offset_words(seconds)
                ),
                Lang::Fr => format!(
                    "{CLOCK_OFF} : l'horloge de ce serveur {} de {} sur celle de TresorPay : réglez-la",
                    if seconds < 0 { "retarde" } else { "avance" },
                    duration(lang, Duration::from_secs(seconds.unsigned_abs()))
                ),
            },
        )
    });
    open.chain(clock).collect()
}

#[cfg(test)]
mod tests;
