//! A write of any kind, and its caller: what a kind must say of itself so that the writer can commit it with others.

use futures_util::{FutureExt, future::BoxFuture};
use sqlx::SqliteConnection;

use super::Reply;
use crate::{notice::TresorPayReference, store::StoreError, tresorpay::ErrorCode};

/// What TresorPay answered to a request that was committed to leave. Until it is recorded it is in memory only.
pub(in crate::store) struct Answered<'a> {
    pub(in crate::store) outbox_id: i64,
    pub(in crate::store) attempt_id: i64,
    pub(in crate::store) code: ErrorCode,
    pub(in crate::store) tresorpay_reference: Option<&'a TresorPayReference>,
}

impl Answered<'_> {
    /// Names it in the log, since it cannot be recorded: its row will be in doubt, and this is what an operator needs to
    /// settle it.
    pub(in crate::store) fn tell_unrecorded(&self) {
        tracing::error!(
            attempt = self.attempt_id,
            outbox_id = self.outbox_id,
            outcome = self.code.as_str(),
            tresorpay_reference = self.tresorpay_reference.map(TresorPayReference::as_str),
            "an answer could not be recorded"
        );
    }
}

/// One kind of write. It may be carried out again: after a rollback, or because nobody saw the end of a commit that was
/// written after all; then it changes nothing a second time.
pub(in crate::store) trait Operation: Send + 'static {
    /// What the caller is told.
    type Output: Send + 'static;

    /// Carries it out within the group's transaction. `again`: an earlier try may have been
    /// committed; attempts after this one were handed to nobody.
    fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        again: Option<i64>,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;

    /// The answer that it records, if it records one: such a write is kept until the database takes it.
    fn answered(&self) -> Option<Answered<'_>> {
        None
    }

    /// The attempt that it started, if it is one that starts any: the mark is advanced before the caller is answered.
    fn started(_output: &Self::Output) -> Option<i64> {
        None
    }
}

/// Changes nothing: whoever waits for it learns that the database takes writes.
pub(super) struct Ping;

impl Operation for Ping {
    type Output = ();

    async fn carry_out(&self, _: &mut SqliteConnection, _: Option<i64>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// An [`Operation`] with its caller, whatever its kind.
pub(super) trait Job: Send {
    fn carry_out<'a>(
        &'a mut self,
        conn: &'a mut SqliteConnection,
        again: Option<i64>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    fn answered(&self) -> Option<Answered<'_>>;

    fn started(&self) -> Option<i64>;

    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

pub(super) struct Asked<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: Reply<O::Output>,
}

impl<O: Operation + Sync> Asked<O> {
    pub(super) fn new(operation: O, reply: Reply<O::Output>) -> Self {
        Self { operation, output: None, reply }
    }
}

impl<O: Operation + Sync> Job for Asked<O> {
    fn carry_out<'a>(
        &'a mut self,
        conn: &'a mut SqliteConnection,
        again: Option<i64>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            self.output = Some(self.operation.carry_out(conn, again).await?);
            Ok(())
        }
        .boxed()
    }

    fn answered(&self) -> Option<Answered<'_>> {
        self.operation.answered()
    }

    fn started(&self) -> Option<i64> {
        self.output.as_ref().and_then(O::started)
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { output, reply, .. } = *self;
        // The caller may have gone.
        drop(reply.send(result.and_then(|()| output.ok_or(StoreError::Stopped))));
    }
}
