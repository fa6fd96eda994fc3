//! Where the token stands: the token itself for those who send it, and what may be told of it for those who report.

use std::time::Instant;

use reqwest::header::HeaderValue;
use tokio::sync::watch;

use super::{AccessToken, AuthError};

/// What may be told of the token; never the token. It changes with events, not with time: who reads `Held` compares
/// `expires` with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenState {
    /// None was needed yet, or TresorPay no longer takes the last one; the next request asks for one.
    #[default]
    None,
    /// The endpoint's last answer was a token.
    Held {
        /// From then on it is not used any more.
        expires: Instant,
    },
    /// The endpoint's last answer was none.
    Failing {
        /// The first failure since the last token.
        since: Instant,
        /// `credentials_refused` or `unavailable`, of the last failure.
        code: &'static str,
        /// An earlier token is used until then.
        held_until: Option<Instant>,
    },
}

impl TokenState {
    /// Until when a token may be used; `None`: there is none. It may be past.
    pub const fn usable_until(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Held { expires } => Some(expires),
            Self::Failing { held_until, .. } => held_until,
        }
    }
}

/// Keeps the token; clones share it.
#[derive(Clone, Default)]
pub(super) struct Vault {
    kept: watch::Sender<Kept>,
    told: watch::Sender<TokenState>,
}

/// The token and what went before.
#[derive(Default)]
struct Kept {
    current: Option<AccessToken>,
    /// The header of the last token, kept to scrub it from late answers. Marked sensitive.
    last: Option<HeaderValue>,
    /// The first failure since the last success, and the last.
    failure: Option<(Instant, AuthError)>,
}

impl Vault {
    /// What may be told, and each change of it.
    pub(super) fn told(&self) -> watch::Receiver<TokenState> {
        self.told.subscribe()
    }

    /// The token, unless it has expired at `now`.
    pub(super) fn usable(&self, now: Instant) -> Option<AccessToken> {
        self.kept.borrow().current.clone().filter(|token| now < token.expires_at)
    }

    /// There is no token, or it is past its time to refresh.
    pub(super) fn wants_refresh(&self, now: Instant) -> bool {
        self.kept.borrow().current.as_ref().is_none_or(|token| now >= token.refresh_at)
    }

    /// The last failure; `None` after a success.
    pub(super) fn failure(&self) -> Option<AuthError> {
        self.kept.borrow().failure.as_ref().map(|(_, error)| error.clone())
    }

    /// The headers of the current and the last token.
    pub(super) fn headers(&self) -> Vec<HeaderValue> {
        let kept = self.kept.borrow();
        kept.current.iter().map(AccessToken::header).chain(kept.last.clone()).collect()
    }

    /// Takes what the endpoint answered at `now`.
    pub(super) fn take(&self, answer: &Result<AccessToken, AuthError>, now: Instant) {
        self.change(|kept| {
            match answer {
                Ok(token) => {
                    let last = Some(token.header());
                    *kept = Kept { current: Some(token.clone()), last, failure: None };
                }
                Err(error) => {
                    let since = kept.failure.as_ref().map_or(now, |(since, _)| *since);
                    kept.failure = Some((since, error.clone()));
                }
            }
            true
        });
    }

    /// TresorPay no longer takes the token of this generation; a newer one is left alone.
    pub(super) fn drop_generation(&self, generation: u64) {
        self.change(|kept| {
            let same = kept.current.as_ref().is_some_and(|token| token.generation() == generation);
            if same {
                kept.current = None;
            }
            same
        });
    }

    /// Changes what is kept and tells of it before anyone else changes it.
    fn change(&self, change: impl FnOnce(&mut Kept) -> bool) {
        self.kept.send_if_modified(|kept| {
            let changed = change(kept);
            let state = kept.state();
            self.told.send_if_modified(|told| std::mem::replace(told, state) != state);
            changed
        });
    }
}

impl Kept {
    fn state(&self) -> TokenState {
        let expires = self.current.as_ref().map(|token| token.expires_at);
        match (&self.failure, expires) {
            (Some((since, error)), held_until) => {
                TokenState::Failing { since: *since, code: error.code(), held_until }
            }
            (None, Some(expires)) => TokenState::Held { expires },
            (None, None) => TokenState::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn token(generation: u64, now: Instant) -> AccessToken {
        let (refresh_at, expires_at) = (now + Duration::from_secs(4), now + Duration::from_secs(5));
        AccessToken {
            header: HeaderValue::from_static("Bearer top-secret"),
            generation,
            refresh_at,
            expires_at,
        }
    }

    #[test]
    fn each_answer_and_each_401_is_told_and_nothing_else() {
        let (vault, now) = (Vault::default(), Instant::now());
        let mut told = vault.told();
        assert_eq!(*told.borrow_and_update(), TokenState::None);

        vault.take(&Ok(token(1, now)), now);
        let expires = now + Duration::from_secs(5);
        assert!(told.has_changed().is_ok_and(|changed| changed));
        assert_eq!(*told.borrow_and_update(), TokenState::Held { expires });
        assert!(!format!("{:?}", *told.borrow()).contains("secret"));

        let later = now + Duration::from_secs(4);
        let down = Err(AuthError::Unavailable("HTTP 503".to_owned()));
        vault.take(&down, later);
        let failing = |code, held_until| TokenState::Failing { since: later, code, held_until };
        assert_eq!(*told.borrow_and_update(), failing("unavailable", Some(expires)));
        vault.take(&down, later + Duration::from_secs(9));
        assert!(told.has_changed().is_ok_and(|changed| !changed), "the same failure again");

        vault.drop_generation(7);
        assert!(told.has_changed().is_ok_and(|changed| !changed), "another token's 401");
        vault.drop_generation(1);
        let refused = AuthError::Refused { error: "invalid_client".to_owned(), description: String::new() };
        vault.take(&Err(refused), later);
        assert_eq!(*told.borrow_and_update(), failing("credentials_refused", None));

        vault.take(&Ok(token(2, later)), later);
        vault.drop_generation(2);
        assert_eq!(*told.borrow_and_update(), TokenState::None);
    }
}
