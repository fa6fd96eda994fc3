//! Writes that a rule in the database refuses, most often a trigger of the application's own. Nothing that was answered is
//! dropped: what the database takes is recorded, the rest waits in memory. One row that cannot be claimed or recorded
//! does not hold up the others.

use std::{collections::VecDeque, time::Duration};

use sqlx::SqliteConnection;
use tokio::{sync::oneshot, time::Instant};

use super::{EmitTurn, Reply, Write, WriterTask, fail, give_up, operation::Job};
use crate::{
    clock::Timestamp,
    store::{
        ClaimedRow, EmissionRecord, PollOutcome, PollRecord, StoreError,
        error::{is_constraint, is_schema_error},
    },
};

/// Rows that are tried one by one when a claim is refused.
const PROBED_AT_ONCE: i64 = 100;
/// Claims that are tried after rows were set aside; the next wake-up tries again.
const CLAIM_ROUNDS: usize = 2;
/// A row that cannot be claimed or asked about is tried again after this.
const SET_ASIDE_FOR: Duration = Duration::from_secs(60);
/// First word of `last_error` and of the log's line.
const CODE: &str = "trigger_refused";
/// Longest text of a trigger that is passed on, in characters.
const MAX_WORDS: usize = 500;

/// Answers that wait for the database to change its mind. Nothing is claimed meanwhile, so there are never more than
/// requests could be under way.
#[derive(Default)]
pub(super) struct Waiting {
    records: Vec<EmissionRecord>,
    /// Answers to cancels and confirmations, with the callers who wait for them to be recorded.
    others: VecDeque<Box<dyn Job>>,
    due: Option<Instant>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.others.is_empty()
    }

    /// Names them in the log: nobody records them any more.
    pub(super) fn tell_unrecorded(&self) {
        self.records.iter().for_each(EmissionRecord::tell_unrecorded);
        self.others.iter().filter_map(|job| job.answered()).for_each(|answered| answered.tell_unrecorded());
    }

    /// Their rows.
    fn rows(&self) -> Vec<i64> {
        let others = self.others.iter().filter_map(|job| job.answered()).map(|answered| answered.outbox_id);
        self.records.iter().map(|record| record.outbox_id).chain(others).collect()
    }

    /// When they are tried again; `None`: there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_empty())
    }
}

impl WriterTask {
    /// Tries the waiting answers again.
    pub(super) async fn record_waiting(&mut self) -> Result<(), StoreError> {
        let mut records = std::mem::take(&mut self.waiting.records);
        let recorded = self.record_singly(&mut records).await;
        self.waiting.records = records;
        let mut refusal = recorded?;
        for _ in 0..self.waiting.others.len() {
            let Some(job) = self.waiting.others.pop_front() else { break };
            let mut group = vec![Write::Other(job)];
            let Err(error) = self.persist(&mut group).await else {
                self.answer(group).await?;
                continue;
            };
            if !self.is_rule(&error).await {
                return Err(give_up(group, error));
            }
            self.waiting.others.extend(group.into_iter().filter_map(Write::job));
            refusal = Some(error);
        }
        self.wait(refusal.as_ref());
        Ok(())
    }

    /// Says that the waiting answers are kept, which `refusal` keeps from being recorded.
    fn wait(&mut self, refusal: Option<&StoreError>) {
        let Some(refusal) = refusal else {
            self.refusals.over();
            return;
        };
        let (tell, delay) = self.refusals.failed(CODE);
        self.waiting.due = Some(Instant::now() + delay);
        if tell {
            tracing::error!(
                code = CODE,
                error = words(refusal),
                rows = ?self.waiting.rows(),
                seconds = self.refusals.seconds(),
                "a rule or a trigger in the database refuses to record answers; they are kept in memory and tried \
                 again, and nothing new is sent until they are recorded. Change or drop the trigger"
            );
        }
    }

    /// What to do with a write that the database refused by itself. An error ends the daemon: nobody can go on.
    pub(super) async fn refused(&mut self, write: Write, error: StoreError) -> Result<(), StoreError> {
        if !self.is_rule(&error).await {
            return Err(give_up(vec![write], error));
        }
        match write {
            Write::EmitTurn { turn, reply } => self.refused_turn(turn, reply).await,
            Write::Polls { records, reply, .. } => {
                let recorded = self.record_polls_singly(records).await?;
                // The poller may have gone.
                drop(reply.send(Ok(recorded)));
                Ok(())
            }
            Write::Other(job) if job.answered().is_some() => {
                self.waiting.others.push_back(job);
                self.wait(Some(&error));
                Ok(())
            }
            Write::Other(job) => {
                if self.refusals.failed(CODE).0 {
                    tracing::error!(
                        code = CODE,
                        error = words(&error),
                        "a rule or a trigger in the database refuses a write; it is asked for again. Change or drop the trigger"
                    );
                }
                job.answer(Err(StoreError::Refused(words(&error))));
                Ok(())
            }
            // Nothing may leave before it is known what was under way.
            write @ Write::Recover { .. } => Err(give_up(vec![write], error)),
        }
    }

    /// A rule of the schema or a trigger said no, or a trigger cannot run at all.
    async fn is_rule(&mut self, error: &StoreError) -> bool {
        let StoreError::Sqlite(error) = error else { return false };
        if is_constraint(error) {
            return true;
        }
        if !is_schema_error(error) {
            return false;
        }
        // If the tables are there, it is a trigger that names what is not, and can be put right.
        let tables = "SELECT count(*) FROM sqlite_master
                      WHERE type = 'table' AND name IN ('outbox', 'transition', 'attempt')";
        match self.connection().await {
            Ok(conn) => sqlx::query_as(tables).fetch_one(conn).await.is_ok_and(|(found,): (i64,)| found == 3),
            Err(_) => false,
        }
    }

    async fn refused_turn(
        &mut self,
        mut turn: EmitTurn,
        reply: Reply<Vec<ClaimedRow>>,
    ) -> Result<(), StoreError> {
        match self.record_singly(&mut turn.records).await {
            Ok(None) => {}
            Ok(Some(refusal)) => {
                self.waiting.records.append(&mut turn.records);
                self.wait(Some(&refusal));
                turn.claim = None;
            }
            Err(error) => return Err(give_up(vec![Write::EmitTurn { turn, reply }], error)),
        }
        if turn.claim.is_none() {
            return self.answer(vec![Write::EmitTurn { turn, reply }]).await;
        }
        self.claim_around(turn, reply).await
    }

    /// Records what the database takes; the others stay in `records`, and so does what an error leaves undone. The last
    /// refusal, if there was one.
    async fn record_singly(
        &mut self,
        records: &mut Vec<EmissionRecord>,
    ) -> Result<Option<StoreError>, StoreError> {
        let mut refusal = None;
        let mut rest = std::mem::take(records).into_iter();
        while let Some(record) = rest.next() {
            // Nobody waits for this part of the turn.
            let (reply, _) = oneshot::channel();
            let turn = EmitTurn { records: vec![record], ..EmitTurn::default() };
            let mut group = [Write::EmitTurn { turn, reply }];
            let Err(error) = self.persist(&mut group).await else { continue };
            let [Write::EmitTurn { turn, .. }] = group else { continue };
            records.extend(turn.records);
            if !self.is_rule(&error).await {
                records.extend(rest);
                return Err(error);
            }
            refusal = Some(error);
        }
        Ok(refusal)
    }

    /// Claims without the rows that cannot be claimed, and answers: with nothing if no way round was found.
    async fn claim_around(
        &mut self,
        turn: EmitTurn,
        reply: Reply<Vec<ClaimedRow>>,
    ) -> Result<(), StoreError> {
        let mut group = vec![Write::EmitTurn { turn, reply }];
        for _ in 0..CLAIM_ROUNDS {
            let error = match self.persist(&mut group).await {
                Ok(()) => {
                    self.refusals.over();
                    return self.answer(group).await;
                }
                Err(error) if self.is_rule(&error).await => error,
                Err(error) => return Err(fail(group, error)),
            };
            let aside = self.set_aside().await?;
            if self.refusals.failed(CODE).0 {
                tracing::error!(
                    code = CODE,
                    error = words(&error),
                    set_aside = aside,
                    "a rule or a trigger in the database refuses to let rows be emitted; those that it refuses are tried \
                     again in a minute, or all of them if it refuses that too. Change or drop the trigger"
                );
            }
            if aside == 0 {
                break;
            }
        }
        for write in &mut group {
            write.give_up_claim();
        }
        self.answer(group).await
    }

    /// Puts off the rows at the head of the queue that cannot become `EMITTING`; how many there were.
    async fn set_aside(&mut self) -> Result<usize, StoreError> {
        loop {
            let error = match self.connection().await {
                Ok(conn) => match set_aside(conn).await {
                    Ok(aside) => return Ok(aside),
                    Err(error) => error.into(),
                },
                Err(error) => error,
            };
            match self.failed(error).await {
                Ok(()) => {}
                Err(error) if self.is_rule(&error).await => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// Records what the database takes; what it refuses is asked about again later. How many are not due any more.
    async fn record_polls_singly(&mut self, records: Vec<PollRecord>) -> Result<usize, StoreError> {
        let mut recorded = 0;
        for record in records {
            let Some(refusal) = self.record_poll(record.clone()).await? else {
                recorded += 1;
                continue;
            };
            if self.refusals.failed(CODE).0 {
                tracing::error!(
                    code = CODE,
                    error = words(&refusal),
                    outbox_id = record.outbox_id,
                    "a rule or a trigger in the database refuses what TresorPay says of a notice; it is asked about again"
                );
            }
            let next = Some(record.at.after(SET_ASIDE_FOR));
            let last_error = Some(format!("{CODE}: {}", words(&refusal)));
            let outcome = PollOutcome::Unchanged { next, last_error };
            if self.record_poll(PollRecord { outcome, ..record }).await?.is_none() {
                recorded += 1;
            }
        }
        Ok(recorded)
    }

    /// The refusal, if there was one.
    async fn record_poll(&mut self, record: PollRecord) -> Result<Option<StoreError>, StoreError> {
        let (reply, _) = oneshot::channel();
        match self.persist(&mut [Write::Polls { records: vec![record], reply }]).await {
            Ok(()) => Ok(None),
            Err(error) if self.is_rule(&error).await => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }
}

/// What a rule or a trigger said, on one line.
fn words(error: &StoreError) -> String {
    let said = match error {
        StoreError::Sqlite(sqlx::Error::Database(error)) => error.message().to_owned(),
        error => error.to_string(),
    };
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
}

const HEAD_OF_QUEUE: &str = "
    SELECT id FROM outbox INDEXED BY outbox_ready
    WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed
    ORDER BY priority DESC, id LIMIT ? + 0";

const TRY_ROW: &str = "
    UPDATE outbox SET status = 'EMITTING', status_source = 'emit', status_reason = NULL, updated_at = ?2 WHERE id = ?1";

const TRY_ATTEMPT: &str =
    "INSERT INTO attempt (outbox_id, operation, base_url, started_at) VALUES (?1, 'emit', '', ?2)";

const SET_ASIDE: &str = "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3 WHERE id = ?1";

/// Tries each row at the head of the queue, takes the try back, and puts off those that were refused.
async fn set_aside(conn: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let now = Timestamp::now();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    let ids: Vec<(i64,)> = sqlx::query_as(HEAD_OF_QUEUE).bind(PROBED_AT_ONCE).fetch_all(&mut *conn).await?;
    let mut aside = 0;
    for (id,) in ids {
        sqlx::query("SAVEPOINT probe").execute(&mut *conn).await?;
        let refusal = probe(conn, id, now).await?;
        sqlx::query("ROLLBACK TO probe; RELEASE probe").execute(&mut *conn).await?;
        if let Some(refusal) = refusal {
            sqlx::query(SET_ASIDE)
                .bind(id)
                .bind(now.after(SET_ASIDE_FOR).to_string())
                .bind(format!("{CODE}: {}", words(&refusal.into())))
                .execute(&mut *conn)
                .await?;
            aside += 1;
        }
    }
    sqlx::query("COMMIT").execute(conn).await?;
    Ok(aside)
}

/// What refuses the row's claim, if anything.
async fn probe(
    conn: &mut SqliteConnection,
    id: i64,
    now: Timestamp,
) -> Result<Option<sqlx::Error>, sqlx::Error> {
    for statement in [TRY_ROW, TRY_ATTEMPT] {
        match sqlx::query(statement).bind(id).bind(now.to_string()).execute(&mut *conn).await {
            Ok(_) => {}
            Err(error) if is_constraint(&error) => return Ok(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
