//! The tasks of a daemon until they have ended: one that ends early ends them all.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::{lifecycle, store::StoreError};

/// What a task does until it ends.
pub(super) type Work = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The tasks, each by its name.
pub(super) type Tasks = JoinSet<(&'static str, Result<(), String>)>;

/// The first error of a task after which starting again changes nothing.
#[derive(Clone, Default)]
pub(super) struct Lasting(Arc<Mutex<Option<StoreError>>>);

impl Lasting {
    /// Keeps it, and gives its words.
    fn note(&self, error: StoreError) -> String {
        let why = error.to_string();
        if error.is_lasting() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        why
    }

    /// The task, whose error is noted.
    pub(super) fn watch(&self, task: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Work {
        let noted = self.clone();
        Box::pin(async move { task.await.map_err(|error| noted.note(error)) })
    }

    pub(super) fn take(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits for the tasks. One that ends early ends the process with a failure, after the others have finished what is under
/// way; after `shutdown` all have `grace` to end.
pub(super) async fn supervise(
    tasks: &mut Tasks,
    shutdown: &CancellationToken,
    grace: std::time::Duration,
) -> Result<(), AppError> {
    let deadline = async {
        shutdown.cancelled().await;
        lifecycle::notify_stopping();
        tracing::info!("stopping: nothing more is claimed, what is under way is finished");
        tokio::time::sleep(grace).await;
    };
    tokio::pin!(deadline);
    let mut outcome = Ok(());
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            () = &mut deadline => {
                tracing::warn!("shutdown.grace is over with requests under way or answers that the database did not take: their rows will be UNCERTAIN at the next start");
                tasks.shutdown().await;
                return outcome;
            }
        };
        let failure = match ended {
            None => {
                tracing::info!("stopped");
                return outcome;
            }
            Some(Ok((_, Ok(())))) if shutdown.is_cancelled() => continue,
            Some(Ok((task, result))) => {
                AppError::Task { task, why: result.err().unwrap_or_else(|| "it returned".to_owned()) }
            }
            Some(Err(error)) => AppError::Task { task: "unknown", why: error.to_string() },
        };
        if outcome.is_ok() {
            tracing::error!(error = %failure, "the daemon cannot go on");
            outcome = Err(failure);
        }
        shutdown.cancel();
    }
}
