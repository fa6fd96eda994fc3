//! The control API below `/_simulator`: for tests in any language to see the ledger, to act as taxpayer and to make
//! things go wrong. Errors are `{"error": "what is wrong"}`.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::answer::Answer;
use super::config::{Delay, OnDuplicate, OnRepeatedCancel};
use super::ledger::{Actor, Ledger};
use super::problem::Problem;
use super::rule::Rule;
use super::site::{CONTROL, Outage, Settings, Site};

/// Largest body of a control request.
const MAX_BODY: usize = 1 << 20;

type Answered = Result<Answer, Answer>;

/// Answers a request to the control API.
pub(super) async fn serve(site: &Arc<Site>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return failed(413, "the body did not come in whole, or is larger than 1 MiB");
    };
    let body = body.to_bytes();
    let below = head.uri.path().strip_prefix(CONTROL).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    dispatch(site, &head.method, below, query, &body).unwrap_or_else(|error| error)
}

fn dispatch(site: &Arc<Site>, method: &Method, below: &str, query: &str, body: &[u8]) -> Answered {
    let (first, rest) =
        below.trim_start_matches('/').split_once('/').unwrap_or((below.trim_matches('/'), ""));
    match (method.as_str(), first, rest) {
        ("GET", "ledger", "") => Ok(Answer::json(200, &ledger(site, query))),
        ("GET", "counters", "") => Ok(Answer::json(200, &site.counting.read())),
        ("GET", "notice", reference) => notice(site, reference),
        (_, "faults", _) => faults(site, method, rest, body),
        ("POST", "pay", reference) => {
            let provider = parameter(query, "provider");
            let place = site.find(reference).map_err(|problem| refused(&problem))?;
            site.pay(place, provider.as_deref(), Actor::Control).map_err(|problem| refused(&problem))?;
            notice(site, reference)
        }
        ("POST", "cancel", reference) => {
            let place = site.find(reference).map_err(|problem| refused(&problem))?;
            site.book.cancel(place, Actor::Control).map_err(|problem| refused(&problem))?;
            notice(site, reference)
        }
        ("POST", "alter", reference) => {
            let place = site.find(reference).map_err(|problem| refused(&problem))?;
            site.book.alter(place, read(body)?);
            notice(site, reference)
        }
        ("POST", "revoke-tokens", "") => {
            site.tokens.revoke_all();
            Ok(Answer::empty(204))
        }
        ("POST", "down", "") => down(site, body),
        ("POST", "up", "") => {
            site.up();
            Ok(Answer::empty(204))
        }
        ("GET", "settings", "") => Ok(Answer::json(200, &ShownSettings::of(site.settings()))),
        ("PUT", "settings", "") => {
            let mut settings = site.settings();
            read::<SettingsChange>(body)?.apply(&mut settings);
            if !settings.taxpayers.make_sense() {
                return Err(failed(400, "pay_share and cancel_share must be 0 to 1, and 1 at most together"));
            }
            site.change(|current| {
                *current = Settings { outage: current.outage, outages: current.outages, ..settings }
            });
            Ok(Answer::json(200, &ShownSettings::of(site.settings())))
        }
        _ => Err(failed(404, "no such control request; see docs/simulator.md")),
    }
}

/// The whole ledger, or with `?reference=` only that notice or that client reference's notices.
fn ledger(site: &Site, query: &str) -> Ledger {
    let mut ledger = site.ledger();
    if let Some(wanted) = parameter(query, "reference") {
        ledger.notices.retain(|notice| notice.reference == wanted || notice.client_reference == wanted);
    }
    ledger
}

fn notice(site: &Site, reference: &str) -> Answered {
    let place = site.find(reference).map_err(|problem| refused(&problem))?;
    Ok(site.book.with(place, |notice| Answer::json(200, notice)))
}

fn faults(site: &Site, method: &Method, id: &str, body: &[u8]) -> Answered {
    match (method.as_str(), id) {
        ("GET", "") => {}
        ("PUT", "") => site.rules.replace(rules(body)?),
        ("POST", "") => {
            for rule in rules(body)? {
                site.rules.add(rule);
            }
        }
        ("DELETE", "") => site.rules.clear(),
        ("DELETE", id) => {
            if !id.parse().is_ok_and(|id| site.rules.remove(id)) {
                return Err(failed(404, "no fault rule with this id"));
            }
        }
        _ => return Err(failed(405, "faults take GET, PUT, POST and DELETE")),
    }
    Ok(Answer::json(200, &json!({ "rules": site.rules.list() })))
}

/// One rule or an array of rules.
fn rules(body: &[u8]) -> Result<Vec<Rule>, Answer> {
    let value: Value = read(body)?;
    let rules = match value {
        Value::Array(rules) => rules,
        rule => vec![rule],
    };
    rules
        .into_iter()
        .map(|rule| Rule::try_from(rule).map_err(|error| failed(400, &error.to_string())))
        .collect()
}

/// The body of `down`; all of it may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Down {
    #[serde(default = "reset")]
    how: Outage,
    for_ms: Option<u64>,
}

fn reset() -> Outage {
    Outage::Reset
}

fn down(site: &Arc<Site>, body: &[u8]) -> Answered {
    let Down { how, for_ms } =
        if body.is_empty() { Down { how: reset(), for_ms: None } } else { read(body)? };
    if how == Outage::Refuse && for_ms.is_none() {
        return Err(failed(400, "`refuse` closes this control API too, so it needs `for_ms`"));
    }
    site.down(how, for_ms.map(Duration::from_millis));
    Ok(Answer::empty(204))
}

/// Settings as the control API shows them.
#[derive(Serialize)]
struct ShownSettings {
    latency_ms: u64,
    latency_max_ms: u64,
    idle_close_ms: Option<u64>,
    pay_share: f64,
    pay_after_ms: u64,
    pay_after_max_ms: u64,
    cancel_share: f64,
    on_duplicate: OnDuplicate,
    on_repeated_cancel: OnRepeatedCancel,
    outage: Option<Outage>,
}

impl ShownSettings {
    fn of(settings: Settings) -> Self {
        let taxpayers = settings.taxpayers;
        Self {
            latency_ms: ms(settings.latency.min),
            latency_max_ms: ms(settings.latency.max),
            idle_close_ms: settings.idle_close.map(ms),
            pay_share: taxpayers.pay_share,
            pay_after_ms: ms(taxpayers.pay_after.min),
            pay_after_max_ms: ms(taxpayers.pay_after.max),
            cancel_share: taxpayers.cancel_share,
            on_duplicate: settings.on_duplicate,
            on_repeated_cancel: settings.on_repeated_cancel,
            outage: settings.outage,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is to change; what is left out stays. `idle_close_ms` 0: never close.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsChange {
    latency_ms: Option<u64>,
    latency_max_ms: Option<u64>,
    idle_close_ms: Option<u64>,
    pay_share: Option<f64>,
    pay_after_ms: Option<u64>,
    pay_after_max_ms: Option<u64>,
    cancel_share: Option<f64>,
    on_duplicate: Option<OnDuplicate>,
    on_repeated_cancel: Option<OnRepeatedCancel>,
}

impl SettingsChange {
    fn apply(self, settings: &mut Settings) {
        change_delay(&mut settings.latency, self.latency_ms, self.latency_max_ms);
        change_delay(&mut settings.taxpayers.pay_after, self.pay_after_ms, self.pay_after_max_ms);
        if let Some(limit) = self.idle_close_ms {
            settings.idle_close = (limit > 0).then(|| Duration::from_millis(limit));
        }
        set(&mut settings.taxpayers.pay_share, self.pay_share);
        set(&mut settings.taxpayers.cancel_share, self.cancel_share);
        set(&mut settings.on_duplicate, self.on_duplicate);
        set(&mut settings.on_repeated_cancel, self.on_repeated_cancel);
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// A new shortest delay alone is also the longest.
fn change_delay(delay: &mut Delay, min: Option<u64>, max: Option<u64>) {
    if let Some(min) = min {
        *delay = Duration::from_millis(min).into();
    }
    if let Some(max) = max {
        delay.max = Duration::from_millis(max).max(delay.min);
    }
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|error| failed(400, &error.to_string()))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn refused(problem: &Problem) -> Answer {
    failed(if problem.status() == 404 { 404 } else { 409 }, problem.title())
}

fn failed(status: u16, error: &str) -> Answer {
    Answer::json(status, &json!({ "error": error }))
}
