//! Facts -> settings. Where facts are missing, the setting is the one that cannot bill twice.

use serde::Serialize;

use super::facts::Facts;

/// One setting that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// `emit.on_uncertain`
    pub key: &'static str,
    /// As TOML; `None`: nothing follows, leave it as it is.
    pub value: Option<String>,
    /// Which facts it follows from.
    pub why: String,
}

/// A cancel's answers that end a doubt.
const PROOFS: [&str; 2] = ["says-canceled", "says-unknown"];

/// Every setting that the probe can tell something of, in the order of the configuration file.
pub(super) fn conclude(facts: &Facts) -> Vec<Advice> {
    vec![
        authentication(facts),
        scope(facts),
        phones(facts),
        on_uncertain(facts),
        batch_size(facts),
        delivery(facts),
    ]
}

fn advice(key: &'static str, value: Option<&str>, why: impl Into<String>) -> Advice {
    Advice { key, value: value.map(str::to_owned), why: why.into() }
}

fn authentication(facts: &Facts) -> Advice {
    const KEY: &str = "auth.client_authentication";
    match (facts.found("token.body"), facts.found("token.basic")) {
        (Some("granted"), Some("granted")) => advice(KEY, Some("\"body\""), "both ways are granted"),
        (Some("granted"), _) => advice(KEY, Some("\"body\""), "granted in the form, not by HTTP Basic"),
        (_, Some("granted")) => advice(KEY, Some("\"basic\""), "granted by HTTP Basic, not in the form"),
        _ => advice(KEY, None, format!("no token was granted: {}", facts.seen("token.body"))),
    }
}

fn scope(facts: &Facts) -> Advice {
    const KEY: &str = "auth.scope";
    match facts.found("token.scope") {
        Some("refused") => advice(KEY, Some("\"\""), facts.seen("token.scope")),
        Some(_) => advice(KEY, None, format!("as it is: {}", facts.seen("token.scope"))),
        None => advice(KEY, None, "unknown: no token was granted with one, or none is set"),
    }
}

fn phones(facts: &Facts) -> Advice {
    const KEY: &str = "notice.other_phone_numbers";
    let refused = |question| facts.found(question) == Some("refused");
    let accepted = |question| facts.found(question) == Some("accepted");
    if refused("phone.national") && accepted("phone.international") {
        let why = "the 8 national digits, which are what tresorpayd sends, are refused, and +223 before them is wanted: \
                   no setting helps, tell tresorpayd's makers";
        return advice(KEY, None, why);
    }
    if accepted("phone.foreign") {
        return advice(KEY, Some("\"send\""), "a foreign number is accepted");
    }
    if refused("phone.foreign") && accepted("phone.missing") {
        return advice(
            KEY,
            Some("\"omit\""),
            "a foreign number is refused, and a notice without a number is accepted",
        );
    }
    if refused("phone.foreign") && refused("phone.missing") {
        return advice(
            KEY,
            None,
            "a foreign number is refused, and so is a notice without one: such a taxpayer cannot be billed",
        );
    }
    advice(KEY, None, format!("unknown: {}", facts.seen("phone.foreign")))
}

fn on_uncertain(facts: &Facts) -> Advice {
    const KEY: &str = "emit.on_uncertain";
    let proves = |question| facts.found(question).is_some_and(|found| PROOFS.contains(&found));
    let repeated = facts.found("emit.repeated");
    if repeated == Some("first-notice") {
        let why = "a repeated reference is answered with the first notice; seen one after the other only, so keep \
                   emit.settle_after above the longest that TresorPay may take";
        return advice(KEY, Some("\"resend\""), why);
    }
    let cancels = [
        (
            "cancel.live",
            proves("cancel.live"),
            "the cancel of a live notice does not say that it is canceled",
        ),
        ("cancel.repeated", proves("cancel.repeated"), "the cancel of a canceled notice proves nothing"),
        ("cancel.unknown", proves("cancel.unknown"), "the cancel of what was never emitted proves nothing"),
        (
            "emit.after_cancel",
            facts.found("emit.after_cancel") == Some("new-notice"),
            "a reference cannot be emitted again after its cancel",
        ),
    ];
    if let Some((question, _, why)) = cancels.iter().find(|(_, holds, _)| !holds) {
        let unknown = facts.found(question).is_none();
        let why = if unknown {
            format!("{question} is unknown: {}", facts.seen(question))
        } else {
            (*why).to_owned()
        };
        let resend = match repeated {
            Some("second-notice") => "; and \"resend\" would bill twice",
            Some("refused") => "; \"resend\" would bill once, and hold each row for you all the same",
            _ => "",
        };
        return advice(KEY, Some("\"hold\""), format!("{why}{resend}"));
    }
    let never = if repeated == Some("second-notice") { "; never \"resend\": it bills twice" } else { "" };
    advice(
        KEY,
        Some("\"cancel\""),
        format!("a cancel proves that nothing is live, and the reference can be emitted again{never}"),
    )
}

fn batch_size(facts: &Facts) -> Advice {
    const KEY: &str = "poll.batch_size";
    match (facts.found("batch.known"), facts.found("batch.unknown")) {
        (Some("answered"), Some("omitted" | "entry")) => {
            advice(KEY, Some("100"), "many are answered in one request, an unknown one does no harm")
        }
        (Some("answered"), Some(_)) => advice(
            KEY,
            Some("1"),
            format!("one unknown reference spoils the whole request: {}", facts.seen("batch.unknown")),
        ),
        (Some("answered"), None) => advice(KEY, None, format!("unknown: {}", facts.seen("batch.unknown"))),
        (Some(_), _) => advice(KEY, Some("1"), format!("no status of many: {}", facts.seen("batch.known"))),
        (None, _) => advice(KEY, None, format!("unknown: {}", facts.seen("batch.known"))),
    }
}

fn delivery(facts: &Facts) -> Advice {
    const KEY: &str = "confirm.delivery";
    let seen = facts.seen("confirm.unpaid");
    match facts.found("confirm.unpaid") {
        Some("no-path") => advice(KEY, Some("\"never\""), format!("there is no such endpoint: {seen}")),
        Some("accepted") => {
            advice(KEY, None, format!("it is accepted even of what is not paid, and proves nothing: {seen}"))
        }
        Some(_) => {
            advice(KEY, None, "the endpoint is there; what it answers after a payment only a payment shows")
        }
        None => advice(KEY, None, format!("unknown: {seen}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is advised on `key` if exactly these are known.
    fn advised(key: &str, known: &[(&'static str, &'static str)]) -> Option<String> {
        let mut facts = Facts::default();
        for (question, found) in known {
            facts.set(question, Ok((found, String::new())));
        }
        conclude(&facts).into_iter().find(|advice| advice.key == key).and_then(|advice| advice.value)
    }

    const CANCELS: [(&str, &str); 4] = [
        ("cancel.live", "says-canceled"),
        ("cancel.repeated", "says-canceled"),
        ("cancel.unknown", "says-unknown"),
        ("emit.after_cancel", "new-notice"),
    ];

    #[test]
    fn a_doubt_is_settled_only_by_what_was_seen_to_work() {
        let on = |known: &[(&'static str, &'static str)]| advised("emit.on_uncertain", known);
        let with = |repeated| [CANCELS.as_slice(), &[("emit.repeated", repeated)]].concat();
        assert_eq!(on(&[]).as_deref(), Some("\"hold\""), "nothing is known");
        assert_eq!(on(&with("second-notice")).as_deref(), Some("\"cancel\""));
        assert_eq!(on(&with("refused")).as_deref(), Some("\"cancel\""));
        assert_eq!(on(&with("first-notice")).as_deref(), Some("\"resend\""));
        for without in 0..CANCELS.len() {
            let mut known = with("refused");
            known[without].1 = "proves-nothing";
            assert_eq!(on(&known).as_deref(), Some("\"hold\""), "{:?}", CANCELS[without]);
            known.remove(without);
            assert_eq!(on(&known).as_deref(), Some("\"hold\""), "{:?} is unknown", CANCELS[without]);
        }
    }
}
