//! Carries out what a request asks, with TresorPay's answers. No fault is known here.

use std::sync::Arc;

use hyper::header::{CONTENT_DISPOSITION, WWW_AUTHENTICATE};

use super::answer::Answer;
use super::book::Place;
use super::call::{Ask, Call};
use super::fault::Operation;
use super::ledger::{Notice, NoticeStatus};
use super::problem::Problem;
use super::site::{REALM, Site};
use super::unknown::{OnUnknownCancel, UnknownInBatch};
use super::validate::{self, Check};
use super::wire::{CancelBody, EmitBody, NoticeAnswer, StatusAnswer, VerifyBody};
use super::{keycloak, page, receipt};

/// Most references of one batch.
const MAX_BATCH: usize = 1000;

/// Carries out a request at once and says what the answer is.
pub(super) fn perform(site: &Arc<Site>, call: Call) -> Answer {
    let Call { operation, path, authorization, ask } = call;
    if let Ask::TooLarge = ask {
        return Answer::proxy(413);
    }
    match operation {
        Operation::Token => token(site, ask, authorization.as_deref()),
        Operation::Page => match ask {
            Ask::Page { query, form, posted } => page::serve(site, &query, &form, posted),
            Ask::Refused(problem) => Answer::proxy(problem.status()),
            _ => Answer::proxy(404),
        },
        _ => {
            let answered = match authorised(site, authorization.as_deref()) {
                Ok(()) => carry_out(site, ask),
                Err(challenge) => {
                    return Problem::http(401, Some(CHALLENGE_DETAIL.to_owned()))
                        .answer(&path, site.config.problem_type)
                        .with(WWW_AUTHENTICATE, challenge);
                }
            };
            answered.unwrap_or_else(|problem| problem.answer(&path, site.config.problem_type))
        }
    }
}

const CHALLENGE_DETAIL: &str = "Full authentication is required to access this resource";

fn authorised(site: &Site, authorization: Option<&str>) -> Result<(), &'static str> {
    match authorization.and_then(|header| header.strip_prefix("Bearer ")) {
        None => Err("Bearer"),
        Some(token) if site.tokens.accepts(token) => Ok(()),
        Some(_) => Err("Bearer error=\"invalid_token\", error_description=\"The token is not active\""),
    }
}

fn token(site: &Site, ask: Ask, authorization: Option<&str>) -> Answer {
    match ask {
        Ask::Token { form } => {
            let issuer = format!("{}{REALM}", site.origin);
            let answer = keycloak::grant(&site.config, &site.tokens, &issuer, &form, authorization);
            if answer.status == 200 {
                site.counting.token_issued();
            }
            answer
        }
        Ask::Refused(problem) => keycloak::http_error(problem.status()),
        _ => keycloak::http_error(400),
    }
}

fn carry_out(site: &Site, ask: Ask) -> Result<Answer, Problem> {
    match ask {
        Ask::Emit(body) => emit(site, *body),
        Ask::Status(reference) => Ok(Answer::json(200, &status(site, &reference)?)),
        Ask::Batch(references) => batch(site, &references),
        Ask::Cancel(body) => cancel(site, body),
        Ask::Verify(body) => verify(site, body),
        Ask::Receipt(reference) => download(site, &reference),
        Ask::Refused(problem) => Err(problem),
        Ask::Token { .. } | Ask::Page { .. } | Ask::TooLarge => Err(Problem::http(404, None)),
    }
}

fn emit(site: &Site, body: EmitBody) -> Result<Answer, Problem> {
    let emitted = site.emit(validate::order(&site.config, body)?)?;
    Ok(notice_answer(&emitted.reference, emitted.status))
}

fn cancel(site: &Site, body: CancelBody) -> Result<Answer, Problem> {
    let mut check = Check::of("cancelNoticeRecette");
    let client_reference = check.text("referenceClient", body.reference_client);
    let code_client = check.text("codeClient", body.code_client);
    let code_structure = check.text("codeStructure", body.code_structure);
    check.done()?;
    validate::codes(&site.config, &code_client, &code_structure)?;
    if site.book.newest(&client_reference).is_none() {
        return Err(match site.config.on_unknown_cancel {
            OnUnknownCancel::NotFound => Problem::notice_not_found(),
            OnUnknownCancel::NoEndpoint => Problem::http(404, None),
            OnUnknownCancel::Refuse => Problem::service_client_not_found(),
        });
    }
    let policy = site.settings().on_repeated_cancel;
    let reference = site.book.cancel_by_client(&client_reference, &code_client, &code_structure, policy)?;
    Ok(notice_answer(&reference, NoticeStatus::Canceled))
}

fn verify(site: &Site, body: VerifyBody) -> Result<Answer, Problem> {
    let mut check = Check::of("verifiedNoticeRecette");
    let reference = check.text("reference", body.reference);
    let code_client = check.text("codeClient", body.code_client);
    let code_structure = check.text("codeStructure", body.code_structure);
    check.done()?;
    validate::codes(&site.config, &code_client, &code_structure)?;
    let place = find(site, &reference)?;
    let same =
        |notice: &mut Notice| notice.code_client == code_client && notice.code_structure == code_structure;
    if !site.book.with(place, same) {
        return Err(Problem::notice_not_found());
    }
    let status = site.book.verify(place)?;
    Ok(notice_answer(&reference, status))
}

/// Answers in the order of emission, not in the order asked; what is unknown is left out, or refuses all.
fn batch(site: &Site, references: &[String]) -> Result<Answer, Problem> {
    if references.len() > MAX_BATCH {
        return Err(Problem::http(400, Some(format!("more than {MAX_BATCH} references"))));
    }
    let mut places: Vec<Place> =
        references.iter().filter_map(|reference| site.book.find(reference)).collect();
    if places.len() < references.len() && site.config.unknown_in_batch == UnknownInBatch::Refuse {
        return Err(Problem::notice_not_found());
    }
    places.sort_unstable();
    places.dedup();
    let statuses: Vec<_> = places.into_iter().map(|place| status_of(site, place)).collect();
    Ok(Answer::json(200, &statuses))
}

fn status(site: &Site, reference: &str) -> Result<serde_json::Value, Problem> {
    Ok(status_of(site, find(site, reference)?))
}

fn status_of(site: &Site, place: Place) -> serde_json::Value {
    site.book.with(place, |notice| {
        let answer = StatusAnswer {
            reference: &notice.reference,
            provider: notice.provider.as_deref(),
            pay_date: notice.pay_date.as_deref(),
            status: notice.status.as_str(),
        };
        serde_json::to_value(answer).unwrap_or_default()
    })
}

fn download(site: &Site, reference: &str) -> Result<Answer, Problem> {
    let notice = site.book.receipt(find(site, reference)?)?;
    let disposition = format!("attachment; filename=\"recu-{reference}.pdf\"");
    Ok(Answer::of(200, "application/pdf", receipt::pdf(&notice)).with(CONTENT_DISPOSITION, &disposition))
}

fn find(site: &Site, reference: &str) -> Result<Place, Problem> {
    site.book.find(reference).ok_or_else(Problem::notice_not_found)
}

fn notice_answer(reference: &str, status: NoticeStatus) -> Answer {
    Answer::json(200, &NoticeAnswer { reference, status: status.as_str() })
}
