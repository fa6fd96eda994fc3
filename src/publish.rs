//! Writes what holds requests back, and where the token stands, into the database, for `status` and for whoever monitors:
//! seldom, and only when it changes. The key `state` of `meta` holds it; it is true as long as the daemon runs.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::TokenState,
    clock::Timestamp,
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
    /// Where the token stands.
    #[serde(default)]
    pub token: Token,
}

/// Where the token stands, with times as the database writes them; never the token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Token {
    /// None was needed yet, or TresorPay no longer takes the last one.
    #[default]
    None,
    /// The endpoint's last answer was a token.
    Held {
        /// It may be past: a token that nobody needs is not renewed.
        expires_at: String,
    },
    /// The endpoint's last answer was none.
    Failing {
        /// The first failure since the last token.
        since: String,
        /// `credentials_refused` or `unavailable`.
        code: String,
        /// An earlier token is used until then.
        held_until: Option<String>,
    },
}

impl Token {
    /// As `state` is told at `now`, which is `wall` on the wall clock.
    pub fn told(state: TokenState, now: Instant, wall: Timestamp) -> Self {
        let at = |at: Instant| match at.checked_duration_since(now) {
            Some(ahead) => wall.after(ahead),
            None => wall.before(now.saturating_duration_since(at)),
        };
        match state {
            TokenState::None => Self::None,
            TokenState::Held { expires } => Self::Held { expires_at: at(expires).to_string() },
            TokenState::Failing { since, code, held_until } => Self::Failing {
                since: at(since).to_string(),
                code: code.to_owned(),
                held_until: held_until.map(|until| at(until).to_string()),
            },
        }
    }
}

/// What is told, and each change of it.
#[derive(Debug)]
pub struct Told {
    /// What holds requests back.
    pub held: watch::Receiver<Held>,
    /// How far this machine's clock is off.
    pub clock: watch::Receiver<Offset>,
    /// Where the token stands.
    pub token: watch::Receiver<TokenState>,
}

impl State {
    /// As it stands in `meta`; `None` if it is another version's.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl Told {
    fn state(&mut self) -> State {
        let clock_off = match *self.clock.borrow_and_update() {
            Offset::Off(seconds) => Some(seconds),
            Offset::Right | Offset::Unknown => None,
        };
        let token = Token::told(*self.token.borrow_and_update(), Instant::now(), Timestamp::now());
        State { held: self.held.borrow_and_update().clone(), clock_off, token }
    }

    async fn changed(&mut self) -> Result<(), StoreError> {
        tokio::select! {
            changed = self.held.changed() => changed,
            changed = self.clock.changed() => changed,
            changed = self.token.changed() => changed,
        }
        .map_err(|_| StoreError::Stopped)
    }
}

/// Writes the state at the start and at each change, until `shutdown`.
pub async fn publish(writer: Writer, mut told: Told, shutdown: CancellationToken) -> Result<(), StoreError> {
    loop {
        let state = told.state();
        let changed = async {
            let published = writer.publish(KEY, serde_json::json!(state).to_string()).await;
            tokio::time::sleep(INTERVAL).await;
            match published {
                Err(error @ StoreError::Refused(_)) => {
                    tracing::warn!(%error, "what holds requests back cannot be written; `status` does not tell it");
                }
                published => published?,
            }
            told.changed().await
        };
        tokio::select! {
            // Once the daemon stops, nobody changes anything any more.
            biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = changed => changed?,
        }
    }
}
