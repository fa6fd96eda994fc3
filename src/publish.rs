//! Writes what holds requests back into the database, for `status` and for whoever monitors: seldom, and only when it
//! changes. The key `state` of `meta` holds it; it is true as long as the daemon runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    pace::Held,
    store::{StoreError, Writer},
    tresorpay::Offset,
};

/// The key in `meta`.
pub const KEY: &str = "state";
/// However often it changes, it is written no more often than this.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the daemon says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What holds requests back.
    pub held: Held,
    /// Seconds by which this machine's clock is ahead of TresorPay's, if more than a minute; negative: behind.
    pub clock_off: Option<i64>,
}

impl State {
    /// As it stands in `meta`; `None` if it is another version's.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// Writes the state at the start and at each change, until `shutdown`.
pub async fn publish(
    writer: Writer,
    mut held: watch::Receiver<Held>,
    mut clock: watch::Receiver<Offset>,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    loop {
        let clock_off = match *clock.borrow_and_update() {
            Offset::Off(seconds) => Some(seconds),
            Offset::Right | Offset::Unknown => None,
        };
        let state = State { held: held.borrow_and_update().clone(), clock_off };
        let changed = async {
            let published = writer.publish(KEY, serde_json::json!(state).to_string()).await;
            tokio::time::sleep(INTERVAL).await;
            match published {
                Err(error @ StoreError::Refused(_)) => {
                    tracing::warn!(%error, "what holds requests back cannot be written; `status` does not tell it");
                }
                published => published?,
            }
            tokio::select! {
                changed = held.changed() => changed,
                changed = clock.changed() => changed,
            }
            .map_err(|_| StoreError::Stopped)
        };
        tokio::select! {
            changed = changed => changed?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
