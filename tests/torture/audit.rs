//! The audit: what the applications committed, what the database says and what the platform's ledger holds are one story.
//! It shares nothing with the daemon but the file, and takes its rules from the contract.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    books,
    database::{Attempt, Database, Row, Transition},
    journal::{self, Expected},
    options::Policy,
    platform::{Ledger, Notice},
    verdict::Kind,
    world::World,
};

/// Moves that the contract allows, whoever makes them.
const MOVES: [(&str, &[&str]); 7] = [
    ("PENDING", &["EMITTING", "REJECTED", "CANCELED", "EMITTED", "UNCERTAIN"]),
    ("EMITTING", &["EMITTED", "PENDING", "REJECTED", "UNCERTAIN"]),
    ("UNCERTAIN", &["EMITTED", "EMITTING", "PENDING", "CANCELED"]),
    ("REJECTED", &["PENDING", "CANCELED", "EMITTED", "UNCERTAIN"]),
    ("EMITTED", &["PAID", "CANCELED"]),
    ("PAID", &["CANCELED"]),
    ("CANCELED", &["PAID"]),
];

/// Outcomes of an emission that count in `outbox.attempts`: it left, and was decided there or may have been.
const COUNTED: [&str; 10] = [
    "ok",
    "refused",
    "already_canceled",
    "filtered",
    "timed_out",
    "connection_lost",
    "server_error",
    "unusable_answer",
    "foreign_reference",
    "interrupted",
];
/// Those that leave open what was done.
const UNKNOWN: [&str; 7] = [
    "filtered",
    "timed_out",
    "connection_lost",
    "server_error",
    "unusable_answer",
    "foreign_reference",
    "interrupted",
];

/// The database, as far as it is audited.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) rows: Vec<Row>,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) attempts: Vec<Attempt>,
}

impl Books {
    /// Reads them.
    pub(crate) async fn read(database: &mut Database) -> anyhow::Result<Self> {
        Ok(Self {
            rows: database.rows().await?,
            transitions: database.transitions().await?,
            attempts: database.attempts().await?,
        })
    }
}

/// What was done to rows beside emitting and paying; by their references.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meddling {
    /// Somebody asked to cancel them: that may come before there is a notice.
    pub(crate) canceled: HashSet<String>,
    /// The platform told their payment otherwise.
    pub(crate) paid_otherwise: HashSet<String>,
}

/// Everything that is known of one row.
struct Story<'a> {
    row: &'a Row,
    transitions: Vec<&'a Transition>,
    attempts: Vec<&'a Attempt>,
    notices: Vec<&'a Notice>,
    policy: Policy,
    canceled: bool,
    paid_otherwise: bool,
}

/// Compares all books; what does not agree is found.
pub(crate) async fn audit(
    world: &mut World,
    expected: &BTreeMap<String, Expected>,
    ledger: &Ledger,
) -> anyhow::Result<()> {
    let books = Books::read(&mut world.database).await?;
    check_file(world).await?;
    for (kind, what) in compare(&books, expected, ledger, world.policy, &Meddling::default()) {
        world.verdict.find(kind, what);
    }
    books::audit(world, &books.rows, ledger)?;
    figures(world, &books.rows, &books.attempts, ledger).await
}

/// The file itself.
pub(crate) async fn check_file(world: &mut World) -> anyhow::Result<()> {
    let integrity = world.database.integrity().await?;
    if integrity != "ok" {
        world.verdict.find(Kind::Lost, format!("PRAGMA integrity_check: {integrity}"));
    }
    Ok(())
}

/// What does not agree.
pub(crate) fn compare(
    books: &Books,
    expected: &BTreeMap<String, Expected>,
    ledger: &Ledger,
    policy: Policy,
    meddling: &Meddling,
) -> Vec<(Kind, String)> {
    let Books { rows, transitions, attempts } = books;
    let mut found = Vec::new();
    let mut notices = HashMap::<&str, Vec<&Notice>>::new();
    for notice in &ledger.notices {
        notices.entry(&notice.client_reference).or_default().push(notice);
    }
    let (mut own_transitions, mut own_attempts) =
        (by_row(transitions, |t| t.outbox_id), by_row(attempts, |a| a.outbox_id));
    for row in rows {
        let story = Story {
            row,
            transitions: own_transitions.remove(&row.id).unwrap_or_default(),
            attempts: own_attempts.remove(&row.id).unwrap_or_default(),
            notices: notices.get(&*row.reference).cloned().unwrap_or_default(),
            policy,
            canceled: meddling.canceled.contains(&row.reference),
            paid_otherwise: meddling.paid_otherwise.contains(&row.reference),
        };
        for (kind, what) in story.check(expected.get(&row.reference)) {
            found.push((kind, format!("{what}; {}", story.told())));
        }
    }
    against_the_journals(&mut found, expected, rows, ledger);
    if !transitions.windows(2).all(|pair| pair[0].id < pair[1].id) {
        found.push((Kind::History, "transition.id does not rise".to_owned()));
    }
    found
}

fn by_row<T>(all: &[T], id: impl Fn(&T) -> i64) -> HashMap<i64, Vec<&T>> {
    let mut by_row = HashMap::<i64, Vec<&T>>::new();
    for one in all {
        by_row.entry(id(one)).or_default().push(one);
    }
    by_row
}

/// Nothing that was committed is missing, and nothing is billed that nobody ordered.
fn against_the_journals(
    found: &mut Vec<(Kind, String)>,
    expected: &BTreeMap<String, Expected>,
    rows: &[Row],
    ledger: &Ledger,
) {
    let there: HashSet<_> = rows.iter().map(|row| &*row.reference).collect();
    for (reference, known) in expected {
        if known.surely_there && !there.contains(&**reference) {
            found.push((Kind::Lost, format!("{reference} was committed and is not there")));
        }
    }
    for notice in ledger.notices.iter().filter(|notice| !there.contains(&*notice.client_reference)) {
        let what = format!(
            "{} is {} for {}, which is no row",
            notice.reference, notice.status, notice.client_reference
        );
        found.push((Kind::Doubled, what));
    }
}

impl Story<'_> {
    fn check(&self, expected: Option<&Expected>) -> Vec<(Kind, String)> {
        let mut found = Vec::new();
        self.check_money(&mut found);
        self.check_amounts(expected, &mut found);
        self.check_history(&mut found);
        self.check_attempts(&mut found);
        self.check_ledger(&mut found);
        found
    }

    /// At most one live notice; exactly the right number for what the status says.
    fn check_money(&self, found: &mut Vec<(Kind, String)>) {
        let live: Vec<_> = self.notices.iter().filter(|notice| notice.is_live()).collect();
        if live.len() > 1 {
            found.push((Kind::Doubled, format!("{} live notices", live.len())));
        }
        let own = self.row.tresorpay_reference.as_deref();
        let owned = self.notices.iter().find(|notice| Some(&*notice.reference) == own);
        match &*self.row.status {
            "PENDING" | "EMITTING" => {
                found.push((Kind::Lost, format!("it is {} at the end", self.row.status)));
            }
            "REJECTED" | "CANCELED" if !live.is_empty() => {
                found.push((Kind::Disagreement, "there is a live notice for it".to_owned()));
            }
            "CANCELED" if owned.is_none() && !self.canceled => {
                found.push((Kind::Disagreement, "no notice was canceled".to_owned()));
            }
            "EMITTED" | "PAID" => match owned {
                None => found.push((Kind::Lost, "its notice does not exist".to_owned())),
                Some(notice) if notice.status != self.row.status => {
                    found.push((Kind::Disagreement, format!("its notice is {}", notice.status)));
                }
                Some(notice)
                    if (&notice.provider, &notice.pay_date) != (&self.row.provider, &self.row.pay_date) =>
                {
                    found.push((Kind::Disagreement, "the payment is another".to_owned()));
                }
                Some(_) => {}
            },
            "UNCERTAIN" => self.check_doubt(found),
            _ => {}
        }
    }

    /// A doubt rests on a request without an answer. Under `cancel` it may stay only if it came twice: its second proof
    /// may name no reference that was not seen before.
    fn check_doubt(&self, found: &mut Vec<(Kind, String)>) {
        let unknown = self.emissions().filter(|attempt| outcome_in(attempt, &UNKNOWN)).count();
        let needed = if self.policy == Policy::Cancel { 2 } else { 1 };
        if unknown < needed {
            found.push((Kind::Lost, format!("it is UNCERTAIN after {unknown} emissions without an answer")));
        }
    }

    fn check_amounts(&self, expected: Option<&Expected>, found: &mut Vec<(Kind, String)>) {
        let Some(expected) = expected else {
            found.push((Kind::Disagreement, "nobody inserted it".to_owned()));
            return;
        };
        let row = self.row;
        if !expected.surely_there && !expected.maybe_there {
            found.push((Kind::Disagreement, "it was deleted".to_owned()));
        }
        if !expected.amounts.contains(&row.net_total) {
            found.push((Kind::Amount, format!("the application wrote {:?}", expected.amounts)));
        }
        if serde_json::from_str(&row.items).ok() != Some(journal::items(row.net_total)) {
            found.push((Kind::Amount, format!("its items are {}", row.items)));
        }
        for notice in &self.notices {
            // What was refused as canceled may have been corrected since.
            let same = if notice.is_live() {
                notice.net_total == row.net_total
            } else {
                expected.ever.contains(&notice.net_total)
            };
            let price = notice.items[0]["unitPrice"].as_i64();
            if !same || price != Some(notice.net_total) {
                found.push((Kind::Amount, format!("{} is about {} XOF", notice.reference, notice.net_total)));
            }
        }
    }

    /// An unbroken chain of legal moves, from the insertion to the present status.
    fn check_history(&self, found: &mut Vec<(Kind, String)>) {
        let mut at = None;
        for step in &self.transitions {
            let (from, to) = (step.from_status.as_deref(), &*step.to_status);
            let legal = match from {
                None => to == "PENDING" && step.source == "application",
                // A correction of amounts, or of a payment.
                Some(from) if from == to => {
                    step.source == "application" || (to == "PAID" && self.paid_otherwise)
                }
                Some(from) => MOVES.iter().any(|(known, targets)| *known == from && targets.contains(&to)),
            };
            let allowed = match (from, to) {
                (Some("UNCERTAIN"), "EMITTING") => self.policy == Policy::Resend,
                (Some("UNCERTAIN"), "PENDING") => self.policy == Policy::Cancel || step.source == "command",
                _ => true,
            };
            if from != at || !legal || !allowed {
                found.push((Kind::History, format!("{at:?}, then {from:?} to {to} by {}", step.source)));
            }
            at = Some(to);
        }
        if at != Some(&*self.row.status) {
            found.push((Kind::History, format!("it ends in {at:?}")));
        }
    }

    fn emissions(&self) -> impl Iterator<Item = &&Attempt> {
        self.attempts.iter().filter(|attempt| attempt.operation == "emit")
    }

    /// Every request is accounted for: complete, counted as it should be, and no notice came of none.
    fn check_attempts(&self, found: &mut Vec<(Kind, String)>) {
        let counted = self.emissions().filter(|attempt| outcome_in(attempt, &COUNTED)).count();
        if i64::try_from(counted) != Ok(self.row.attempts) {
            found.push((
                Kind::Disagreement,
                format!("attempts is {}, and {counted} count", self.row.attempts),
            ));
        }
        for attempt in &self.attempts {
            let whole = match (&*attempt.phase, attempt.http_status, &attempt.outcome) {
                ("unsent", None, Some(outcome)) => !COUNTED.contains(&&**outcome),
                ("sent", None, Some(_)) | ("answered", Some(_), Some(_)) => true,
                _ => false,
            };
            if !whole {
                found.push((Kind::Disagreement, format!("{attempt:?}")));
            }
        }
        let left = self.emissions().filter(|attempt| attempt.phase != "unsent").count();
        if self.notices.len() > left {
            found.push((
                Kind::Disagreement,
                format!("{} notices came of {left} emissions", self.notices.len()),
            ));
        }
        let claims = self.transitions.iter().filter(|step| step.to_status == "EMITTING").count();
        if claims != self.emissions().count() {
            found.push((
                Kind::Disagreement,
                format!("{claims} claims and {} emissions", self.emissions().count()),
            ));
        }
    }

    /// What was accepted exists, and what the daemon canceled it says it canceled.
    fn check_ledger(&self, found: &mut Vec<(Kind, String)>) {
        for attempt in self.emissions().filter(|attempt| attempt.outcome.as_deref() == Some("ok")) {
            let known = self
                .notices
                .iter()
                .any(|notice| Some(&notice.reference) == attempt.tresorpay_reference.as_ref());
            if !known {
                found.push((Kind::Disagreement, format!("no notice is {:?}", attempt.tresorpay_reference)));
            }
        }
        let canceled = self.notices.iter().filter(|notice| notice.was_canceled_by_api()).count();
        let asked = self.attempts.iter().filter(|a| a.operation == "cancel" && a.phase != "unsent").count();
        if canceled > asked {
            found.push((Kind::Disagreement, format!("{canceled} notices were canceled by {asked} requests")));
        }
    }

    /// The whole story on one line, for a finding.
    fn told(&self) -> String {
        let steps: Vec<_> = self.transitions.iter().map(|step| &*step.to_status).collect();
        let attempts: Vec<_> = self
            .attempts
            .iter()
            .map(|a| format!("{} {} {}", a.operation, a.phase, a.outcome.as_deref().unwrap_or("open")))
            .collect();
        let notices: Vec<_> =
            self.notices.iter().map(|n| format!("{} {} {}", n.reference, n.status, n.net_total)).collect();
        let Row { reference, net_total, last_error, tresorpay_reference, .. } = self.row;
        format!(
            "{reference} ({tresorpay_reference:?}, {net_total} XOF): {}; attempts: {}; ledger: {}; last_error: {last_error:?}",
            steps.join(" "),
            attempts.join(", "),
            notices.join(", ")
        )
    }
}

fn outcome_in(attempt: &Attempt, outcomes: &[&str]) -> bool {
    attempt.outcome.as_deref().is_some_and(|outcome| outcomes.contains(&outcome))
}

/// What there was to audit: a run in which nothing happened proves nothing.
pub(crate) async fn figures(
    world: &mut World,
    rows: &[Row],
    attempts: &[Attempt],
    ledger: &Ledger,
) -> anyhow::Result<()> {
    let by_status = world.database.by_status().await?;
    let by_status: Vec<_> = by_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let mut outcomes = BTreeMap::<String, u32>::new();
    for attempt in attempts {
        let outcome = attempt.outcome.as_deref().unwrap_or("open");
        *outcomes.entry(format!("{} {outcome}", attempt.operation)).or_default() += 1;
    }
    let outcomes: Vec<_> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let live = ledger.notices.iter().filter(|notice| notice.is_live()).count();
    let proxied = world.proxy.counts();
    let of = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
    let lines = [
        format!("{} rows: {}", rows.len(), by_status.join(", ")),
        format!("{} attempts: {}", attempts.len(), outcomes.join(", ")),
        format!(
            "{} notices in the ledger, {live} live; faults that struck: {}",
            ledger.notices.len(),
            ledger.counters["faults"]
        ),
        format!(
            "network: {} connections, {} cut in the middle, {} swallowed",
            of(&proxied.connections),
            of(&proxied.cut),
            of(&proxied.swallowed)
        ),
    ];
    for line in lines {
        world.verdict.figure(line);
    }
    if !rows.iter().any(|row| row.status == "PAID") {
        world.verdict.find(Kind::Lost, "no row was ever paid: this run proves nothing");
    }
    Ok(())
}
