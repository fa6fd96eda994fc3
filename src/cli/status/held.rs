//! What the running daemon says holds requests back, in lines of `status`.

use crate::{
    cli::output::{counted, from_now, time},
    clock::Timestamp,
    pace::HeldSide,
    publish,
};

/// A label and its words for each thing that holds requests back.
pub(super) fn lines(state: &publish::State, now: Timestamp) -> Vec<(&'static str, String)> {
    let pause = state.held.paused_until.as_deref().filter(|until| Timestamp::parse(until) > Some(now));
    let pause =
        pause.map(|until| format!("TresorPay asked to wait; the next leaves {}", from_now(until, now)));
    let texts = state.held.sides.iter().map(|side| held(side, now)).chain(pause);
    // The label stands before the first line only.
    ["requests"].into_iter().chain(std::iter::repeat("")).zip(texts).collect()
}

fn held(side: &HeldSide, now: Timestamp) -> String {
    let since = side.since.as_deref().map_or_else(String::new, |at| format!(" since {} UTC", time(at)));
    let failures = counted(i64::from(side.failures), "failure", "failures");
    let probe = match Timestamp::parse(&side.next_probe) {
        Some(at) if at > now => format!("the next probe leaves {}", from_now(&side.next_probe, now)),
        Some(_) | None => "a probe is under way or about to leave".to_owned(),
    };
    format!("{} held back{since} ({failures}): {}; {probe}", side.side, side.error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pace::Held;

    #[test]
    fn each_thing_has_a_line_and_a_pause_that_is_over_has_none() {
        let now = Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap();
        let side = HeldSide {
            side: "emit".to_owned(),
            since: Some("2026-11-24T09:40:00.000Z".to_owned()),
            failures: 7,
            next_probe: "2026-11-24T09:48:30.000Z".to_owned(),
            error: "unreachable: refused".to_owned(),
        };
        let held = |until: &str| publish::State {
            held: Held { sides: vec![side.clone()], paused_until: Some(until.to_owned()) },
            ..publish::State::default()
        };
        let told = lines(&held("2026-11-24T09:47:59.000Z"), now);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].1.starts_with("emit held back since ") && told[0].1.contains("7 failures"),
            "{told:?}"
        );
        let told = lines(&held("2026-11-24T09:49:00.000Z"), now);
        assert_eq!((told[0].0, told[1].0), ("requests", ""));
        assert!(told[1].1.contains("asked to wait"), "{told:?}");
    }
}
