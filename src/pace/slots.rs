//! How many requests at once: `api.max_concurrency`, of which status requests take half at most.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of the whole client.
#[derive(Clone)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    /// Half of all, so that status requests leave room to emissions.
    status: Arc<Semaphore>,
}

/// The right to have one request under way; ends when dropped.
pub struct Permit {
    _slot: OwnedSemaphorePermit,
    _status: Option<OwnedSemaphorePermit>,
}

/// The right to ask for a slot for a status request.
pub(super) struct StatusTurn(OwnedSemaphorePermit);

impl Slots {
    pub(super) fn new(max_concurrency: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(max_concurrency)),
            status: Arc::new(Semaphore::new(max_concurrency.div_ceil(2))),
        }
    }

    /// A slot if one is free at once.
    pub(super) fn free(&self) -> Option<Permit> {
        let slot = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Permit { _slot: slot, _status: None })
    }

    /// Whether who comes now has to wait.
    pub(super) fn are_taken(&self) -> bool {
        self.all.available_permits() == 0 || self.status.available_permits() == 0
    }

    /// Waits for a slot, in turn with all others who wait.
    pub(super) async fn next(&self) -> Permit {
        Permit { _slot: acquire(&self.all).await, _status: None }
    }

    /// Waits until status requests leave room for one more.
    pub(super) async fn status_turn(&self) -> StatusTurn {
        StatusTurn(acquire(&self.status).await)
    }
}

impl Permit {
    pub(super) fn of_status(self, turn: StatusTurn) -> Self {
        Self { _status: Some(turn.0), ..self }
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    loop {
        // The semaphore is never closed, so this only ever succeeds.
        if let Ok(slot) = Arc::clone(slots).acquire_owned().await {
            return slot;
        }
    }
}
