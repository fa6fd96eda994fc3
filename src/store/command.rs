//! Open rows of `command`: which there are, and what becomes of them. A command and the change that it makes are one
//! commit, and what is decided is decided on the row as that commit finds it.

use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{DueNotice, PollRecord, Settled, StoreError, json, poll, replace, resolve, writer::Operation};
use crate::{
    clock::Timestamp,
    notice::{
        Action, Decision, DriftCode, Event, Policy, Request, Source, Status, Target, TresorPayReference,
        apply, decide,
    },
};

/// The key in `meta` that is there while emission is paused; its value is the `command.id` of the pause.
pub(super) const PAUSED: &str = "paused";

/// What a command says from the commit before its cancel leaves until it is known what became of that.
pub const CANCEL_SENT: &str = "waits: a cancel was sent, and it is not known yet what became of it";

/// An open command and its row as they stand.
#[derive(Debug, Clone, FromRow)]
pub struct OpenCommand {
    /// `command.id`.
    pub id: i64,
    /// `command.reference`; `None` for `pause` and `resume`.
    pub reference: Option<String>,
    action: String,
    /// `command.argument`.
    pub argument: Option<String>,
    /// Who asked.
    pub requested_by: Option<String>,
    detail: Option<String>,
    pub(super) outbox_id: Option<i64>,
    status: Option<String>,
    pub(super) attempts: Option<u32>,
    anonymised: bool,
    delivery_confirmed_at: Option<String>,
    tresorpay_reference: Option<String>,
    emitted_at: Option<String>,
    pub(super) last_attempt: i64,
    pub(super) under_way: bool,
}

/// A request to TresorPay that an open command waits for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `command.id`.
    pub command_id: i64,
    /// What to ask.
    pub request: Request,
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The row's status when the request was decided.
    pub status: Status,
    /// The row's own reference.
    pub reference: String,
    /// TresorPay's reference: the row's, or for [`Request::LookUp`] the one that the operator names.
    pub tresorpay_reference: Option<TresorPayReference>,
    /// When it was emitted.
    pub emitted_at: Option<Timestamp>,
}

/// A command that ended, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `command.id`.
    pub command_id: i64,
    /// `command.action`.
    pub action: String,
    /// `outbox.id`, if it is about a row that is there.
    pub outbox_id: Option<i64>,
    /// It was refused.
    pub refused: bool,
    /// Why, or what was done.
    pub detail: String,
}

/// What a status request told of a row that is finished already.
#[derive(Debug, Clone)]
pub struct Drift {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The reference that was asked about.
    pub reference: TresorPayReference,
    /// The row's status when it was asked.
    pub from: Status,
    /// The status that follows.
    pub to: Status,
    /// As TresorPay gave it.
    pub provider: Option<String>,
    /// As TresorPay gave it.
    pub pay_date: Option<String>,
    /// Why, for the transition.
    pub reason: String,
    /// Who found it.
    pub source: Source,
    /// When the daemon next acts on the row of itself; `None`: not.
    pub next: Option<Timestamp>,
    /// When the answer came.
    pub at: Timestamp,
}

impl Drift {
    /// Why, for the transition of a finished row.
    pub fn reason(from: Status, to: Status) -> String {
        format!("{}: it was {from} and TresorPay says {to}", DriftCode::Status.as_str())
    }
}

/// The end of a command, whatever its row says by now.
#[derive(Debug, Clone)]
pub struct Ending {
    /// `command.id`; nothing happens if it ended meanwhile.
    pub command_id: i64,
    /// It was refused.
    pub refused: bool,
    /// Why, or what was done.
    pub detail: String,
}

/// The columns of [`OpenCommand`].
macro_rules! look {
    ($from:literal) => {
        concat!(
            "SELECT c.id, c.reference, c.action, c.argument, c.requested_by, c.detail, o.id AS outbox_id, o.status,
                    o.attempts, coalesce(o.anonymised_at IS NOT NULL, 0) AS anonymised, o.delivery_confirmed_at,
                    o.tresorpay_reference, o.emitted_at,
                    coalesce((SELECT max(id) FROM attempt INDEXED BY attempt_outbox WHERE outbox_id = o.id), 0)
                        AS last_attempt,
                    EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_open
                            WHERE outbox_id = o.id AND outcome IS NULL) AS under_way ",
            $from
        )
    };
}

const OPEN: &str = look!(
    "FROM command AS c INDEXED BY command_waiting LEFT JOIN outbox AS o ON o.reference = c.reference
     WHERE c.done_at IS NULL AND c.id > ?1 ORDER BY c.id LIMIT ?2 + 0"
);

const ONE: &str = look!(
    "FROM command AS c LEFT JOIN outbox AS o ON o.reference = c.reference WHERE c.id = ?1 AND c.done_at IS NULL"
);

const MOVE: &str = "
    UPDATE outbox SET status = ?3, status_source = ?4, status_reason = ?5, updated_at = ?6, next_attempt_at = NULL,
                      last_error = NULL, canceled_at = CASE ?3 WHEN 'CANCELED' THEN ?6 ELSE canceled_at END
    WHERE id = ?1 AND status = ?2";

const DRIFT: &str = "
    UPDATE outbox SET status = ?3, status_source = ?4, status_reason = ?5, updated_at = ?6, next_attempt_at = ?10,
                      last_error = NULL, provider = coalesce(?7, provider), pay_date = coalesce(?8, pay_date),
                      paid_at = CASE ?3 WHEN 'PAID' THEN ?6 ELSE paid_at END,
                      canceled_at = CASE ?3 WHEN 'CANCELED' THEN ?6 ELSE canceled_at END
    WHERE id = ?1 AND status = ?2 AND tresorpay_reference = ?9";

const END: &str =
    "UPDATE command SET done_at = ?2, outcome = ?3, detail = ?4 WHERE id = ?1 AND done_at IS NULL";

/// A refused cancel of what is neither paid nor canceled concerns the rows that are to replace it.
const NOT_CANCELED: &str = "
    SELECT o.reference FROM command AS c JOIN outbox AS o ON o.reference = c.reference
    WHERE c.id = ?1 AND c.action = 'cancel' AND c.done_at IS NULL AND o.status NOT IN ('PAID', 'CANCELED')";

const WAIT: &str = "UPDATE command SET detail = ?2 WHERE id = ?1 AND done_at IS NULL AND detail IS NOT ?2";

/// Polls end by what their row says once the answer is recorded.
const END_POLLS: &str = "
    UPDATE command SET done_at = ?2, outcome = 'done', detail = (
        SELECT 'TresorPay was asked; the row is ' || o.status || coalesce(' (' || o.last_error || ')', '')
        FROM outbox AS o WHERE o.reference = command.reference)
    WHERE id IN (SELECT value FROM json_each(?1)) AND done_at IS NULL";

impl OpenCommand {
    fn status(&self) -> Option<Status> {
        self.status.as_deref()?.parse().ok()
    }

    /// What it comes to now.
    pub fn decision(&self, policy: Policy) -> Decision {
        let Ok(action) = self.action.parse() else {
            return Decision::Refuse("this tresorpayd does not know the action".to_owned());
        };
        if matches!(action, Action::Pause | Action::Resume) {
            return Decision::Done(String::new());
        }
        let Some(status) = self.status() else {
            return Decision::Refuse("no row has this reference".to_owned());
        };
        let target = Target {
            status,
            attempts: self.attempts.unwrap_or_default(),
            anonymised: self.anonymised,
            known: self.tresorpay_reference.is_some(),
            cancel_sent: self.detail.as_deref().is_some_and(|detail| detail.starts_with(CANCEL_SENT)),
            delivery_confirmed_at: self.delivery_confirmed_at.clone(),
        };
        decide(action, &target, policy)
    }

    /// `outbox.id` of its row, and the last request that was made for that; `None` if it is about no row.
    pub fn last_attempt(&self) -> Option<(i64, i64)> {
        Some((self.outbox_id?, self.last_attempt))
    }

    /// Whether it says already that it waits for `what`.
    pub fn says(&self, what: &str) -> bool {
        self.detail.as_deref() == Some(what)
    }

    /// The request that it waits for; `None` if it is about no row.
    pub fn wanted(&self, request: Request) -> Option<Wanted> {
        let named = if request == Request::LookUp { &self.argument } else { &self.tresorpay_reference };
        Some(Wanted {
            command_id: self.id,
            request,
            outbox_id: self.outbox_id?,
            status: self.status()?,
            reference: self.reference.clone()?,
            tresorpay_reference: named.as_deref().and_then(|text| TresorPayReference::parse(text).ok()),
            emitted_at: self.emitted_at.as_deref().and_then(Timestamp::parse),
        })
    }

    /// `command 12 by awa`, for a transition.
    pub(super) fn named(&self) -> String {
        match &self.requested_by {
            Some(by) => format!("command {} by {by}", self.id),
            None => format!("command {}", self.id),
        }
    }

    fn ended(&self, refused: bool, detail: String) -> Ended {
        let (action, outbox_id) = (self.action.clone(), self.outbox_id);
        Ended { command_id: self.id, action, outbox_id, refused, detail }
    }
}

impl Wanted {
    /// As polling takes it; `None` without TresorPay's reference.
    pub fn notice(&self) -> Option<DueNotice> {
        Some(DueNotice {
            outbox_id: self.outbox_id,
            reference: self.tresorpay_reference.clone()?,
            emitted_at: self.emitted_at?,
        })
    }
}

/// An open command as it stands; `None` if it has ended.
pub(super) async fn one(conn: &mut SqliteConnection, id: i64) -> Result<Option<OpenCommand>, sqlx::Error> {
    sqlx::query_as(ONE).bind(id).fetch_optional(conn).await
}

/// Up to `limit` open commands beyond `after`, in the order in which they were asked.
pub(super) async fn open(
    reads: &SqlitePool,
    after: i64,
    limit: usize,
) -> Result<Vec<OpenCommand>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(sqlx::query_as(OPEN).bind(after).bind(limit).fetch_all(reads).await?)
}

/// The last command that was asked; 0 if there was none.
pub(super) async fn last(reads: &SqlitePool) -> Result<i64, StoreError> {
    let row: (i64,) = sqlx::query_as("SELECT coalesce(max(id), 0) FROM command").fetch_one(reads).await?;
    Ok(row.0)
}

/// What is written of commands, in one commit.
#[derive(Debug)]
pub(super) enum Change {
    /// What needs no request is carried out.
    CarryOut { ids: Vec<i64>, settled: Vec<Settled>, policy: Policy },
    /// What status requests told, and the commands that end with it.
    Told { records: Vec<PollRecord>, drifts: Vec<Drift>, polls: Vec<i64>, endings: Vec<Ending> },
    /// What they wait for.
    Wait { ids: Vec<i64>, what: String },
}

impl Operation for Change {
    type Output = Vec<Ended>;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Vec<Ended>, sqlx::Error> {
        write(conn, self, Timestamp::now()).await
    }
}

/// Writes `change`; which commands it carried out.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    change: &Change,
    now: Timestamp,
) -> Result<Vec<Ended>, sqlx::Error> {
    match change {
        Change::CarryOut { ids, settled, policy } => {
            let mut ended = carry_out(conn, ids, *policy, now).await?;
            ended.extend(resolve::settle(conn, settled, *policy, now).await?);
            Ok(ended)
        }
        Change::Told { records, drifts, polls, endings } => {
            poll::record(conn, records).await?;
            for told in drifts {
                drift(conn, told).await?;
            }
            end_polls(conn, polls, now).await?;
            end(conn, endings, now).await?;
            Ok(Vec::new())
        }
        Change::Wait { ids, what } => {
            for id in ids {
                sqlx::query(WAIT).bind(id).bind(what).execute(&mut *conn).await?;
            }
            Ok(Vec::new())
        }
    }
}

/// Carries out what needs no request to TresorPay; which of `ids` ended.
async fn carry_out(
    conn: &mut SqliteConnection,
    ids: &[i64],
    policy: Policy,
    now: Timestamp,
) -> Result<Vec<Ended>, sqlx::Error> {
    let mut ended = Vec::new();
    for id in ids {
        let Some(command) = one(conn, *id).await? else { continue };
        if let Some(end) = apply_one(conn, &command, command.decision(policy), now).await? {
            end_one(conn, end.command_id, end.refused, &end.detail, now).await?;
            ended.push(end);
        }
    }
    Ok(ended)
}

pub(super) async fn end_one(
    conn: &mut SqliteConnection,
    id: i64,
    refused: bool,
    detail: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let outcome = if refused { "refused" } else { "done" };
    sqlx::query(END).bind(id).bind(now.to_string()).bind(outcome).bind(detail).execute(conn).await?;
    Ok(())
}

/// Applies a decision; how the command ended, if it did.
async fn apply_one(
    conn: &mut SqliteConnection,
    command: &OpenCommand,
    decision: Decision,
    now: Timestamp,
) -> Result<Option<Ended>, sqlx::Error> {
    Ok(match decision {
        Decision::Refuse(why) => Some(command.ended(true, why)),
        Decision::Done(_) if command.action == Action::Pause.as_str() => {
            Some(command.ended(false, pause(conn, command.id).await?))
        }
        Decision::Done(_) if command.action == Action::Resume.as_str() => {
            Some(command.ended(false, resume(conn).await?))
        }
        Decision::Done(what) => Some(command.ended(false, what)),
        Decision::Move(event) => move_row(conn, command, &event, now).await?,
        Decision::Wait(what) => {
            sqlx::query(WAIT).bind(command.id).bind(what).execute(conn).await?;
            None
        }
        Decision::Ask(_) | Decision::SettleByWord => None,
    })
}

pub(super) async fn move_row(
    conn: &mut SqliteConnection,
    command: &OpenCommand,
    event: &Event,
    now: Timestamp,
) -> Result<Option<Ended>, sqlx::Error> {
    let (Some(id), Some(from)) = (command.outbox_id, command.status()) else { return Ok(None) };
    let Ok(to) = apply(from, event) else { return Ok(None) };
    sqlx::query(MOVE)
        .bind(id)
        .bind(from.as_str())
        .bind(to.as_str())
        .bind(Source::Command.as_str())
        .bind(command.named())
        .bind(now.to_string())
        .execute(conn)
        .await?;
    let detail = match to {
        Status::Canceled => format!("it was {from} and is CANCELED; nothing of it exists at TresorPay"),
        to => format!("it was {from} and is {to}"),
    };
    Ok(Some(command.ended(false, detail)))
}

async fn pause(conn: &mut SqliteConnection, id: i64) -> Result<String, sqlx::Error> {
    let paused = sqlx::query("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING")
        .bind(PAUSED)
        .bind(id.to_string())
        .execute(conn)
        .await?;
    Ok(match paused.rows_affected() {
        0 => "emission was paused already".to_owned(),
        _ => "emission is paused; polling goes on".to_owned(),
    })
}

async fn resume(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let resumed = sqlx::query("DELETE FROM meta WHERE key = ?1").bind(PAUSED).execute(conn).await?;
    Ok(match resumed.rows_affected() {
        0 => "emission was not paused".to_owned(),
        _ => "emission goes on".to_owned(),
    })
}

/// Ends commands by what their requests came to.
async fn end(conn: &mut SqliteConnection, endings: &[Ending], now: Timestamp) -> Result<(), sqlx::Error> {
    for ending in endings {
        if ending.refused {
            let live: Option<(String,)> =
                sqlx::query_as(NOT_CANCELED).bind(ending.command_id).fetch_optional(&mut *conn).await?;
            if let Some((reference,)) = live {
                replace::not_canceled(conn, &reference, &ending.detail, now).await?;
            }
        }
        end_one(conn, ending.command_id, ending.refused, &ending.detail, now).await?;
    }
    Ok(())
}

/// Records what TresorPay told of a finished row, if it still is what it was; whether it was.
pub(super) async fn drift(conn: &mut SqliteConnection, drift: &Drift) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(DRIFT)
        .bind(drift.outbox_id)
        .bind(drift.from.as_str())
        .bind(drift.to.as_str())
        .bind(drift.source.as_str())
        .bind(&drift.reason)
        .bind(drift.at.to_string())
        .bind(&drift.provider)
        .bind(&drift.pay_date)
        .bind(drift.reference.as_str())
        .bind(drift.next.map(|at| at.to_string()))
        .execute(conn)
        .await?;
    Ok(moved.rows_affected() > 0)
}

/// Ends the polls `ids`, once what was told is recorded.
async fn end_polls(conn: &mut SqliteConnection, ids: &[i64], now: Timestamp) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        sqlx::query(END_POLLS).bind(json(ids)?).bind(now.to_string()).execute(conn).await?;
    }
    Ok(())
}
