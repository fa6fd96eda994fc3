//! Where the token stands, in words of `status`; never the token.

use crate::{
    cli::output::{from_now, time},
    clock::Timestamp,
    publish::Token,
};

/// One line.
pub(super) fn line(token: &Token, now: Timestamp) -> String {
    let usable = |until: &str| Timestamp::parse(until).is_some_and(|until| until > now);
    match token {
        Token::None => "none; the next request asks for one".to_owned(),
        Token::Held { expires_at } if usable(expires_at) => {
            format!("held, expires {}", from_now(expires_at, now))
        }
        Token::Held { expires_at } => {
            format!("none, expired {}; the next request asks for one", from_now(expires_at, now))
        }
        Token::Failing { since, code, held_until } => {
            let held = held_until.as_deref().filter(|until| usable(until));
            let held = held.map_or_else(String::new, |until| {
                format!("; the last one is used until it expires {}", from_now(until, now))
            });
            format!("failing since {} UTC: {code}{held}", time(since))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_state_has_its_words() {
        let now = Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap();
        let (past, future) = ("2026-11-24T09:46:00.000Z".to_owned(), "2026-11-24T09:52:00.000Z".to_owned());
        let failing = |held_until| {
            let (since, code) = (past.clone(), "credentials_refused".to_owned());
            line(&Token::Failing { since, code, held_until }, now)
        };
        assert_eq!(line(&Token::None, now), "none; the next request asks for one");
        assert_eq!(line(&Token::Held { expires_at: future.clone() }, now), "held, expires in 4 min");
        assert_eq!(
            line(&Token::Held { expires_at: past.clone() }, now),
            "none, expired 2 min ago; the next request asks for one"
        );
        let plain = "failing since 2026-11-24 09:46:00 UTC: credentials_refused";
        assert_eq!(failing(None), plain);
        assert_eq!(failing(Some(past.clone())), plain);
        assert_eq!(failing(Some(future)), format!("{plain}; the last one is used until it expires in 4 min"));
    }
}
