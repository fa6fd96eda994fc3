//! What a status means, what follows of itself and what somebody has to do, in both languages.

use std::time::Duration;

use crate::{clock::Timestamp, lang::Lang, notice::Status, verdict::words::duration};

/// The status in words.
pub(super) fn meaning(lang: Lang, status: Status) -> &'static str {
    match status {
        Status::Pending => lang.pick("waits to be emitted", "attend son émission"),
        Status::Emitting => lang.pick("is being emitted", "émission en cours"),
        Status::Uncertain => lang.pick("in doubt: no answer came", "en doute : aucune réponse reçue"),
        Status::Rejected => lang.pick("refused, nothing is billed", "refusé, rien n'est facturé"),
        Status::Emitted => lang.pick("at TresorPay, not yet paid", "chez TresorPay, pas encore payé"),
        Status::Paid => lang.pick("paid", "payé"),
        Status::Canceled => lang.pick("canceled", "annulé"),
    }
}

/// The class of its colour.
pub(super) const fn class(status: Status) -> &'static str {
    match status {
        Status::Pending | Status::Emitting | Status::Emitted => "open",
        Status::Uncertain => "doubt",
        Status::Rejected => "refused",
        Status::Paid => "paid",
        Status::Canceled => "over",
    }
}

/// Who made a change.
pub(super) fn source(lang: Lang, source: &str) -> &str {
    match source {
        "application" => lang.pick("application", "application"),
        "emit" => lang.pick("emission", "émission"),
        "poll" => lang.pick("status request", "consultation"),
        "command" => lang.pick("command", "commande"),
        "callback" => lang.pick("callback", "rappel"),
        "reconcile" => lang.pick("reconciliation", "rapprochement"),
        "recovery" => lang.pick("restart", "redémarrage"),
        other => other,
    }
}

/// What a request asked for.
pub(super) fn operation(lang: Lang, operation: &str) -> &str {
    match operation {
        "emit" => lang.pick("emission", "émission"),
        "cancel" => lang.pick("cancel", "annulation"),
        "confirm" => lang.pick("confirmation", "confirmation"),
        other => other,
    }
}

/// How far a request came that nobody answered.
pub(super) fn phase(lang: Lang, phase: &str) -> &str {
    match phase {
        "unsent" => lang.pick("never left", "jamais partie"),
        "sent" => lang.pick("no answer", "sans réponse"),
        "answered" => lang.pick("answered", "répondue"),
        other => other,
    }
}

/// `in 12 s`, `3 min ago`; `dans 12 s`, `il y a 3 min`. What is no time stays as it is.
pub(super) fn from_now(lang: Lang, text: &str, now: Timestamp) -> String {
    let Some(at) = Timestamp::parse(text) else { return text.to_owned() };
    let time = duration(lang, at.distance(now));
    match (lang, at > now) {
        (Lang::En, true) => format!("in {time}"),
        (Lang::En, false) => format!("{time} ago"),
        (Lang::Fr, true) => format!("dans {time}"),
        (Lang::Fr, false) => format!("il y a {time}"),
    }
}

/// A moment to the second: `24 Nov 2026, 09:48:05`, UTC as all times of the page.
pub(super) fn moment(lang: Lang, text: &str) -> String {
    Timestamp::parse(text).map_or_else(
        || text.to_owned(),
        |at| {
            let at = at.to_chrono();
            format!("{} {}", lang.date(at.date_naive()), at.format("%H:%M:%S"))
        },
    )
}

/// `320 ms`, `4 s`.
pub(super) fn took(lang: Lang, milliseconds: i64) -> String {
    match u64::try_from(milliseconds) {
        Ok(ms @ 0..=9_999) => format!("{ms} ms"),
        Ok(ms) => duration(lang, Duration::from_millis(ms)),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap();
        assert_eq!(from_now(Lang::Fr, "2026-11-24T09:45:00.000Z", now), "il y a 3 min");
        assert_eq!(from_now(Lang::En, "2026-11-24T09:48:12.000Z", now), "in 12 s");
        assert_eq!(from_now(Lang::En, "soon", now), "soon");
        assert_eq!(moment(Lang::Fr, "2026-11-24T09:45:09.000Z"), "24/11/2026 09:45:09");
        assert_eq!(took(Lang::En, 320), "320 ms");
    }
}
