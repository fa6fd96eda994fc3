//! What the writer is asked to write: each kind, how it is carried out, and how its caller is answered.

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::operation::{Answered, Job};
use crate::{
    clock::Timestamp,
    store::{
        Claim, ClaimedRow, DoubtPolicy, EmissionRecord, PollRecord, StoreError, doubt, poll, recovery,
        turn::{self, Bracket},
    },
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Answers to record and rows to take, in one commit.
#[derive(Default)]
pub(super) struct EmitTurn {
    pub(super) records: Vec<EmissionRecord>,
    pub(super) claim: Option<Claim>,
    pub(super) claimed: Vec<ClaimedRow>,
    /// Rows that a commit took whose end nobody saw: they are this turn's claim.
    pub(super) unseen: Vec<ClaimedRow>,
}

/// One caller's write.
pub(super) enum Write {
    EmitTurn { turn: EmitTurn, reply: Reply<Vec<ClaimedRow>> },
    Polls { records: Vec<PollRecord>, reply: Reply<usize> },
    Recover { now: Timestamp, policy: DoubtPolicy, moved: u64, reply: Reply<u64> },
    Other(Box<dyn Job>),
}

impl Write {
    /// Applies it as its part of the group's transaction; may be applied again if the group is rolled back.
    pub(super) async fn apply(
        &mut self,
        conn: &mut SqliteConnection,
        bracket: Bracket,
    ) -> Result<(), sqlx::Error> {
        if let Self::EmitTurn { turn, .. } = self {
            let claim = turn.claim.as_ref().filter(|_| turn.unseen.is_empty());
            turn.claimed = turn::turn(conn, &turn.records, claim, bracket).await?;
            turn.claimed.extend_from_slice(&turn.unseen);
            return Ok(());
        }
        if bracket.begin {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        }
        match self {
            Self::EmitTurn { .. } => {}
            Self::Polls { records, .. } => poll::record(conn, records).await?,
            Self::Recover { now, policy, moved, .. } => {
                // If an earlier try was committed after all, this one finds none of its rows.
                *moved = recovery::recover(conn, *now).await?.max(*moved);
                doubt::date_all(conn, *policy).await?;
            }
            Self::Other(job) => job.carry_out(conn, bracket.again).await?,
        }
        if bracket.commit {
            sqlx::query("COMMIT").execute(conn).await?;
        }
        Ok(())
    }

    /// Takes out what the schema refuses and the contract has an answer for; whether that changed anything.
    pub(super) async fn yield_to_constraint(
        &mut self,
        conn: &mut SqliteConnection,
    ) -> Result<bool, sqlx::Error> {
        match self {
            Self::EmitTurn { turn, .. } => turn::doubt_foreign_references(conn, &mut turn.records).await,
            Self::Polls { .. } | Self::Recover { .. } | Self::Other(_) => Ok(false),
        }
    }

    /// The first and the last attempt that this write started.
    pub(super) fn attempts(&self) -> Option<(i64, i64)> {
        match self {
            Self::EmitTurn { turn, .. } => {
                let started = || turn.claimed.iter().map(|row| row.attempt_id);
                started().min().zip(started().max())
            }
            Self::Other(job) => job.started().map(|attempt| (attempt, attempt)),
            Self::Polls { .. } | Self::Recover { .. } => None,
        }
    }

    /// It is tried again, maybe much later.
    pub(super) fn renew(&mut self, now: Timestamp) {
        if let Self::EmitTurn { turn: EmitTurn { claim: Some(claim), .. }, .. } = self {
            claim.now = now;
        }
    }

    /// Takes over, of `unseen`, as many rows as it would claim.
    pub(super) fn take_over(&mut self, unseen: &mut Vec<ClaimedRow>) {
        if let Self::EmitTurn { turn, .. } = self {
            let most = turn.claim.as_ref().map_or(0, |claim| claim.limit).min(unseen.len());
            turn.unseen = unseen.drain(..most).collect();
        }
    }

    /// Claims nothing; whether nothing is left to write.
    pub(super) fn give_up_claim(&mut self) -> bool {
        match self {
            Self::EmitTurn { turn, .. } => {
                turn.claim = None;
                turn.claimed.clear();
                turn.records.is_empty()
            }
            Self::Polls { .. } | Self::Recover { .. } | Self::Other(_) => false,
        }
    }

    /// Names, for the log, the answers that will not be recorded.
    pub(super) fn tell_unrecorded(&self) {
        match self {
            Self::EmitTurn { turn, .. } => turn.records.iter().for_each(EmissionRecord::tell_unrecorded),
            Self::Other(job) => job.answered().iter().for_each(Answered::tell_unrecorded),
            Self::Polls { .. } | Self::Recover { .. } => {}
        }
    }

    /// A write of its own kind.
    pub(super) fn job(self) -> Option<Box<dyn Job>> {
        match self {
            Self::Other(job) => Some(job),
            Self::EmitTurn { .. } | Self::Polls { .. } | Self::Recover { .. } => None,
        }
    }

    /// Answers the caller, who may have gone.
    pub(super) fn answer(self, result: Result<(), StoreError>) {
        match self {
            Self::EmitTurn { turn, reply } => drop(reply.send(result.map(|()| turn.claimed))),
            Self::Polls { records, reply } => drop(reply.send(result.map(|()| records.len()))),
            Self::Recover { moved, reply, .. } => drop(reply.send(result.map(|()| moved))),
            Self::Other(job) => job.answer(result),
        }
    }
}

/// The first and the last attempt that `group` started.
pub(super) fn attempts(group: &[Write]) -> Option<(i64, i64)> {
    let started = || group.iter().filter_map(Write::attempts);
    started().map(|(first, _)| first).min().zip(started().map(|(_, last)| last).max())
}

/// Tells the callers of `group` why they get nothing, and the log which answers are not recorded.
pub(super) fn give_up(group: Vec<Write>, error: StoreError) -> StoreError {
    group.iter().for_each(Write::tell_unrecorded);
    fail(group, error)
}

/// Tells the callers of `group` why they get nothing.
pub(super) fn fail(group: Vec<Write>, error: StoreError) -> StoreError {
    for write in group {
        write.answer(Err(StoreError::Failed(error.to_string())));
    }
    error
}
