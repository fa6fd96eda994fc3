//! One request from its head to its answer: outage, faults, the work itself, then how the answer arrives.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{LOCATION, RETRY_AFTER};
use hyper::{Request, Response};
use tokio::time::sleep;

use super::answer::{Answer, Reply};
use super::call::{BrokenOff, Call};
use super::counting::Outcome;
use super::fault::{Ending, ErrorBody, Fault, Meanwhile, Operation};
use super::perform::perform;
use super::problem::{Problem, reason};
use super::rules::Plan;
use super::server::Wire;
use super::site::{CONTROL, Outage, Site};
use super::{control, keycloak, spoil};

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection dropped on purpose")]
pub(super) struct Dropped;

/// How the answer of a request reaches the client.
enum Delivery {
    Whole(Answer),
    Truncated(Answer, Option<usize>),
    Dripped(Answer, usize, Duration),
    Silence,
    End(Ending),
}

/// Serves one request of a connection.
pub(super) async fn serve(
    site: Arc<Site>,
    wire: Arc<Wire>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Dropped> {
    let busy = wire.busy();
    if request.uri().path().starts_with(CONTROL) {
        return Ok(control::serve(&site, request).await.whole());
    }
    let _under_way = site.counting.under_way();
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(BrokenOff) => return Err(Dropped),
    };
    let operation = call.operation;
    let mut plan = site.rules.plan(operation, || call.client_references(&site));
    site.counting.struck(&plan.struck);
    let delay = plan.delay + if operation == Operation::Page { Duration::ZERO } else { site.latency() };
    let (delivery, outcome) = match site.settings().outage {
        Some(Outage::Reset | Outage::Refuse) => (Delivery::End(Ending::Rst), Outcome::Unanswered("down")),
        Some(Outage::Unavailable) => whole(Answer::proxy(503)),
        None => match plan.fault.take() {
            None => whole(perform(&site, call)),
            Some(fault) => strike(&site, call, fault, &plan),
        },
    };
    site.counting.ended(operation, outcome);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    match delivery {
        Delivery::Whole(answer) => Ok(answer.whole()),
        Delivery::Truncated(answer, keep) => {
            wire.end_by(Ending::Close);
            Ok(answer.truncated(keep, busy))
        }
        Delivery::Dripped(answer, bytes, gap) => Ok(answer.dripped(bytes, gap, busy)),
        Delivery::Silence => pending().await,
        Delivery::End(ending) => {
            wire.end_by(ending);
            Err(Dropped)
        }
    }
}

fn whole(answer: Answer) -> (Delivery, Outcome) {
    let outcome = Outcome::Answered(answer.status);
    (Delivery::Whole(answer), outcome)
}

fn unanswered(fault: &Fault, delivery: Delivery) -> (Delivery, Outcome) {
    (delivery, Outcome::Unanswered(fault.name()))
}

/// Carries a request out, or not, and spoils its answer as `fault` says.
fn strike(site: &Arc<Site>, call: Call, fault: Fault, plan: &Plan) -> (Delivery, Outcome) {
    let operation = call.operation;
    match fault {
        Fault::Latency { .. } => whole(perform(site, call)),
        Fault::Lost { processed } => {
            if processed {
                perform(site, call);
            }
            unanswered(&fault, Delivery::Silence)
        }
        Fault::ResetBefore { by } => unanswered(&fault, Delivery::End(by)),
        Fault::ResetAfter { by } => {
            perform(site, call);
            unanswered(&fault, Delivery::End(by))
        }
        Fault::TooLate { ms, meanwhile } => {
            let late = Arc::clone(site);
            site.in_background(async move {
                sleep(Duration::from_millis(ms)).await;
                perform(&late, call);
            });
            let delivery = match meanwhile {
                Meanwhile::Silent => Delivery::Silence,
                Meanwhile::Rst => Delivery::End(Ending::Rst),
            };
            unanswered(&fault, delivery)
        }
        Fault::Truncated { keep } => unanswered(&fault, Delivery::Truncated(perform(site, call), keep)),
        Fault::SlowDrip { ms, bytes } => {
            let answer = perform(site, call);
            let outcome = Outcome::Answered(answer.status);
            (Delivery::Dripped(answer, bytes, Duration::from_millis(ms)), outcome)
        }
        Fault::Garbage { body, processed } => {
            let answer = if processed { perform(site, call) } else { spoil::made_up(site, &call) };
            whole(spoil::garbage(site, operation, body, answer))
        }
        Fault::UnknownStatus { word } => whole(spoil::unknown_status(perform(site, call), &word)),
        Fault::Omit => whole(spoil::omit(site, perform(site, call), plan.about.as_deref())),
        Fault::DuplicateKeys => whole(spoil::duplicate_keys(site, perform(site, call))),
        Fault::RevokedToken => {
            site.tokens.revoke_all();
            whole(perform(site, call))
        }
        Fault::NoEndpoint => whole(Problem::http(404, None).answer(&call.path, site.config.problem_type)),
        Fault::Status { .. } | Fault::Redirect { .. } => whole(instead(site, call, fault)),
    }
}

/// Another answer than the right one.
fn instead(site: &Arc<Site>, call: Call, fault: Fault) -> Answer {
    let (path, operation) = (call.path.clone(), call.operation);
    match fault {
        Fault::Redirect { code, location, processed } => {
            if processed {
                perform(site, call);
            }
            let elsewhere = || format!("{}/elsewhere", site.origin);
            Answer::empty(code).with(LOCATION, &location.unwrap_or_else(elsewhere))
        }
        Fault::Status { code, processed, retry_after, body, message, title } => {
            if processed {
                perform(site, call);
            }
            let answer = match body {
                ErrorBody::Html => Answer::proxy(code),
                ErrorBody::Empty => Answer::empty(code),
                ErrorBody::Problem if operation == Operation::Token => {
                    let error = message.as_deref().unwrap_or("temporarily_unavailable");
                    keycloak::refuse(code, error, title.as_deref().unwrap_or(reason(code)))
                }
                ErrorBody::Problem => Problem::http(code, None)
                    .worded(message.as_deref(), title.as_deref())
                    .answer(&path, site.config.problem_type),
            };
            match retry_after {
                Some(when) => answer.with(RETRY_AFTER, &when),
                None => answer,
            }
        }
        _ => perform(site, call),
    }
}
