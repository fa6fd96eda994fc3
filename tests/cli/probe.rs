//! `probe` against every way in which nobody knows how TresorPay behaves: it finds each, advises accordingly, and leaves
//! nothing live.

use serde_json::Value;
use tresorpayd::simulator::{
    AcceptedAuthentication, Config, ExpiresIn, Fault, NoticeStatus, OnCanceled, OnDuplicate,
    OnRepeatedCancel, OnUnknownCancel, Operation, PhoneNumbers, ProblemType, Rule, UnknownInBatch,
};

use crate::bench::Bench;

/// What was found; `unknown` of what was not.
pub(crate) fn fact<'a>(findings: &'a Value, question: &str) -> &'a str {
    let fact = findings["facts"].as_array().unwrap().iter().find(|fact| fact["question"] == question);
    fact.unwrap_or_else(|| panic!("{question}: {findings:#}"))["found"].as_str().unwrap_or("unknown")
}

/// What was seen of it.
pub(crate) fn seen<'a>(findings: &'a Value, question: &str) -> &'a str {
    let fact = findings["facts"].as_array().unwrap().iter().find(|fact| fact["question"] == question);
    fact.unwrap()["seen"].as_str().unwrap()
}

/// The value that is advised, as TOML; empty if none is.
pub(crate) fn advised<'a>(findings: &'a Value, key: &str) -> &'a str {
    let advice = findings["settings"].as_array().unwrap().iter().find(|advice| advice["key"] == key);
    advice.unwrap_or_else(|| panic!("{key}: {findings:#}"))["value"].as_str().unwrap_or("")
}

/// Client references that TresorPay has live notices of.
pub(crate) fn live(bench: &Bench) -> Vec<String> {
    let notices = bench.sim.ledger().notices.into_iter();
    notices
        .filter(|notice| notice.status != NoticeStatus::Canceled)
        .map(|notice| notice.client_reference)
        .collect()
}

async fn probed(config: Config, keys: &[(&str, &str)]) -> Value {
    let bench = Bench::against(config).await;
    bench.configure(keys);
    let findings = bench.run(&["probe", "--yes", "--json"]).exits(0).json();
    assert_eq!(live(&bench), Vec::<String>::new(), "{findings:#}");
    assert_eq!(findings["left"], serde_json::json!([]));
    findings
}

/// The questions that every run answers alike, where nothing special is set.
const USUAL: [(&str, &str); 13] = [
    ("token.body", "granted"),
    ("token.basic", "granted"),
    ("token.without_grant_type", "refused"),
    ("token.scope", "accepted"),
    ("token.lifetime", "number"),
    ("path.unknown", "framework-problem"),
    ("status.unknown", "refused"),
    ("emit", "accepted"),
    ("status.live", "live"),
    ("confirm.unpaid", "refused"),
    ("receipt.unpaid", "refused"),
    ("cancel.live", "says-canceled"),
    ("emit.bad_code", "refused"),
];

/// A behaviour, what is found of it, and what is advised. Every other question is answered as by default.
struct Case {
    name: &'static str,
    config: Config,
    keys: &'static [(&'static str, &'static str)],
    found: &'static [(&'static str, &'static str)],
    advised: &'static [(&'static str, &'static str)],
}

const DEFAULT_FOUND: [(&str, &str); 11] = [
    ("phone.missing", "accepted"),
    ("phone.national", "accepted"),
    ("phone.international", "refused"),
    ("phone.foreign", "refused"),
    ("batch.known", "answered"),
    ("batch.unknown", "omitted"),
    ("emit.repeated", "refused"),
    ("cancel.two", "never-two"),
    ("cancel.repeated", "says-canceled"),
    ("cancel.unknown", "says-unknown"),
    ("emit.after_cancel", "new-notice"),
];
const DEFAULT_ADVISED: [(&str, &str); 6] = [
    ("auth.client_authentication", "\"body\""),
    ("auth.scope", ""),
    ("notice.other_phone_numbers", "\"omit\""),
    ("emit.on_uncertain", "\"cancel\""),
    ("poll.batch_size", "100"),
    ("confirm.delivery", ""),
];
const HOLD: &[(&str, &str)] = &[("emit.on_uncertain", "\"hold\"")];

fn case(
    name: &'static str,
    change: impl FnOnce(&mut Config),
    found: &'static [(&'static str, &'static str)],
    advised: &'static [(&'static str, &'static str)],
) -> Case {
    let mut config = Config::default();
    change(&mut config);
    Case { name, config, keys: &[], found, advised }
}

fn emissions_and_cancels() -> Vec<Case> {
    vec![
        case("default", |_| {}, &[], &[]),
        case(
            "a repeated reference makes a second notice",
            |config| config.on_duplicate = OnDuplicate::Create,
            &[("emit.repeated", "second-notice"), ("cancel.two", "second")],
            &[],
        ),
        case(
            "a repeated reference is answered with the first notice",
            |config| config.on_duplicate = OnDuplicate::Same,
            &[("emit.repeated", "first-notice")],
            &[("emit.on_uncertain", "\"resend\"")],
        ),
        case(
            "a second cancel is refused",
            |config| config.on_repeated_cancel = OnRepeatedCancel::Refuse,
            &[("cancel.repeated", "proves-nothing")],
            HOLD,
        ),
        case(
            "a second cancel finds nothing",
            |config| config.on_repeated_cancel = OnRepeatedCancel::NotFound,
            &[("cancel.repeated", "says-unknown")],
            &[],
        ),
        case(
            "a canceled reference is used up",
            |config| config.on_canceled = OnCanceled::Refuse,
            &[("emit.after_cancel", "refused")],
            HOLD,
        ),
        case(
            "a canceled reference is answered with the canceled notice",
            |config| config.on_canceled = OnCanceled::Same,
            &[("emit.after_cancel", "canceled-notice")],
            HOLD,
        ),
        case(
            "an unknown reference's cancel looks like a wrong path",
            |config| config.on_unknown_cancel = OnUnknownCancel::NoEndpoint,
            &[("cancel.unknown", "proves-nothing")],
            HOLD,
        ),
        case(
            "an unknown reference's cancel speaks of the client",
            |config| config.on_unknown_cancel = OnUnknownCancel::Refuse,
            &[("cancel.unknown", "proves-nothing")],
            HOLD,
        ),
    ]
}

fn forms() -> Vec<Case> {
    let mut cases = vec![
        case(
            "no status of many",
            |config| config.faults.push(Rule::always(Operation::Batch, Fault::NoEndpoint)),
            &[("batch.known", "no-path"), ("batch.unknown", "unknown")],
            &[("poll.batch_size", "1")],
        ),
        case(
            "no confirmation",
            |config| config.faults.push(Rule::always(Operation::Verify, Fault::NoEndpoint)),
            &[("confirm.unpaid", "no-path")],
            &[("confirm.delivery", "\"never\"")],
        ),
        case(
            "an unknown reference spoils a batch",
            |config| config.unknown_in_batch = UnknownInBatch::Refuse,
            &[("batch.unknown", "refuses-all")],
            &[("poll.batch_size", "1")],
        ),
        case(
            "any phone number",
            |config| config.phone_numbers = PhoneNumbers::Any,
            &[("phone.international", "accepted"), ("phone.foreign", "accepted")],
            &[("notice.other_phone_numbers", "\"send\"")],
        ),
        case(
            "+223 is wanted",
            |config| config.phone_numbers = PhoneNumbers::International,
            &[
                ("phone.missing", "refused"),
                ("phone.national", "refused"),
                ("phone.international", "accepted"),
            ],
            &[("notice.other_phone_numbers", "")],
        ),
        case(
            "Basic only",
            |config| config.client_authentication = AcceptedAuthentication::Basic,
            &[("token.body", "refused")],
            &[("auth.client_authentication", "\"basic\"")],
        ),
        case(
            "the form only",
            |config| config.client_authentication = AcceptedAuthentication::Body,
            &[("token.basic", "refused")],
            &[],
        ),
        case(
            "expires_in as text",
            |config| config.expires_in = ExpiresIn::Text,
            &[("token.lifetime", "text")],
            &[],
        ),
        case(
            "no expires_in",
            |config| config.expires_in = ExpiresIn::Omitted,
            &[("token.lifetime", "missing")],
            &[],
        ),
        case("problems as plain JSON", |config| config.problem_type = ProblemType::Json, &[], &[]),
        case("an unknown scope", |_| {}, &[("token.scope", "refused")], &[("auth.scope", "\"\"")]),
    ];
    if let Some(last) = cases.last_mut() {
        last.keys = &[("auth.scope", "\"nobody-knows-it\"")];
    }
    cases
}

async fn each(cases: Vec<Case>) {
    for case in cases {
        let findings = probed(case.config, case.keys).await;
        let said = |wanted: &[(&'static str, &'static str)], question: &str| {
            wanted.iter().find(|(name, _)| *name == question).map(|(_, found)| *found)
        };
        for (question, usual) in USUAL.into_iter().chain(DEFAULT_FOUND) {
            let wanted = said(case.found, question).unwrap_or(usual);
            assert_eq!(fact(&findings, question), wanted, "{}: {question}: {findings:#}", case.name);
        }
        for (key, usual) in DEFAULT_ADVISED {
            let wanted = said(case.advised, key).unwrap_or(usual);
            assert_eq!(advised(&findings, key), wanted, "{}: {key}: {findings:#}", case.name);
        }
        let all = findings["facts"].as_array().unwrap().len();
        assert_eq!(all, USUAL.len() + DEFAULT_FOUND.len(), "a question without a case");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_repeated_references_and_cancels_is_found() {
    each(emissions_and_cancels()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_tokens_batches_and_phone_numbers_is_found() {
    each(forms()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_type_of_problems_is_told() {
    let config = Config { problem_type: ProblemType::Json, ..Config::default() };
    assert!(seen(&probed(config, &[]).await, "path.unknown").ends_with("(application/json)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_can_be_pasted() {
    let bench = Bench::bare().await;
    let ran = bench.run(&["probe", "--yes"]).exits(0);
    let (table, rest) =
        ran.out.split_once("\nSettings that follow\n").unwrap_or_else(|| panic!("{}", ran.out));
    let (toml, end) = rest.rsplit_once("\n\n").unwrap();
    assert!(end.starts_with("Nothing is left live at TresorPay; "), "{end}");
    let rows = table.lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(rows, 1 + USUAL.len() + DEFAULT_FOUND.len(), "{table}");
    let source = config::File::from_str(toml, config::FileFormat::Toml);
    let parsed = config::Config::builder()
        .add_source(source)
        .build()
        .unwrap_or_else(|error| panic!("{error}: {toml}"));
    for (key, value) in
        [("emit.on_uncertain", "cancel"), ("poll.batch_size", "100"), ("notice.other_phone_numbers", "omit")]
    {
        assert_eq!(parsed.get_string(key).unwrap(), value, "{toml}");
    }
    assert!(!ran.out.contains("demo-secret"));
}
