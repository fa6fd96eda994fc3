//! Questions that change nothing: statuses, and what is refused because nobody has paid. The confirmation is asked of a
//! notice of the probe's own, which nobody pays.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Account,
    answer::{Reply, Said, text},
    facts::{Facts, Finding},
    session::Session,
};
use crate::{notice::RemoteStatus, tresorpay::Exchange};

/// A TresorPay reference that no notice has: the date does not exist.
const NO_NOTICE: &str = "TP00000000.0000.PROBE";
const NO_PATH: &str = "no-path";
const REFUSED: &str = "refused";

/// What can be asked without a notice.
pub(super) async fn ask_the_unknown(session: &mut Session, facts: &mut Facts) {
    let reply = session.call("path.unknown", Method::GET, &["tresorpayd-probe", "no-such-path"], None).await;
    facts.set("path.unknown", path(&reply));
    let reply =
        session.call("status.unknown", Method::GET, &["notice-recette", "status", NO_NOTICE], None).await;
    let finding = match reply.said() {
        Said::Success(_) => Ok(("answered", reply.shown())),
        Said::Refused(..) => Ok((REFUSED, reply.shown())),
        Said::NoPath(why) => Ok((NO_PATH, why)),
        Said::Unknown(why) => Err(why),
    };
    facts.set("status.unknown", finding);
}

/// Tells a wrong base URL from an unknown notice.
fn path(reply: &Reply) -> Finding {
    let kind = reply.content_type.as_deref().unwrap_or("no content type");
    match reply.said() {
        Said::NoPath(why) => Ok(("framework-problem", format!("{why} ({kind})"))),
        Said::Refused(..) => Ok(("problem", format!("{} ({kind})", reply.shown()))),
        Said::Success(_) => Ok(("answered", format!("{} ({kind})", reply.shown()))),
        Said::Unknown(why) => match &reply.exchange {
            Exchange::Answered(answer) if (400..=499).contains(&answer.status) => {
                Ok(("no-problem", format!("HTTP {} without a problem document ({kind})", answer.status)))
            }
            _ => Err(why),
        },
    }
}

/// The status of one notice, as the daemon reads it.
pub(super) async fn status(
    session: &mut Session,
    question: &'static str,
    reference: &str,
) -> Result<RemoteStatus, String> {
    let reply = session.call(question, Method::GET, &["notice-recette", "status", reference], None).await;
    match reply.said() {
        Said::Success(json) if text(&json, "reference").as_deref() == Some(reference) => {
            text(&json, "status")
                .map(|word| RemoteStatus::from_word(&word))
                .ok_or_else(|| "the answer has no status".to_owned())
        }
        Said::Success(_) => Err("the answer is about another notice".to_owned()),
        _ => Err(reply.shown()),
    }
}

/// Everything that is asked about two live notices.
pub(super) async fn ask_about(
    session: &mut Session,
    account: &Account,
    facts: &mut Facts,
    references: &[String],
) {
    let [first, others @ ..] = references else { return };
    let finding = match status(session, "status.live", first).await {
        Ok(RemoteStatus::Live) => Ok(("live", "it is live, as it should be".to_owned())),
        Ok(RemoteStatus::Unknown(word)) => {
            Ok(("unknown-word", format!("the word {word:?}, which nobody knows")))
        }
        Ok(other) => Ok(("other", format!("{other:?}, though it was just emitted"))),
        Err(why) => Err(why),
    };
    facts.set("status.live", finding);
    let two: Vec<&str> = std::iter::once(first).chain(others.first()).map(String::as_str).collect();
    let known = batch(session, "batch.known", &two).await;
    let finding = match known {
        Ok(told) if two.iter().all(|reference| told.iter().any(|one| one == reference)) => {
            Ok(("answered", format!("each of {} is answered", two.len())))
        }
        Ok(told) => Ok(("incomplete", format!("{} of {} are answered", told.len(), two.len()))),
        Err(finding) => finding,
    };
    facts.set("batch.known", finding);
    if facts.found("batch.known") == Some("answered") {
        facts.set("batch.unknown", mixed(session, &two).await);
    }
    facts.set("confirm.unpaid", confirm(session, account, first).await);
    facts.set("receipt.unpaid", receipt(session, first).await);
}

/// The known ones with an unknown one among them.
async fn mixed(session: &mut Session, known: &[&str]) -> Finding {
    let mut all = known.to_vec();
    all.insert(1, NO_NOTICE);
    match batch(session, "batch.unknown", &all).await {
        Ok(told) if known.iter().all(|reference| told.iter().any(|one| one == reference)) => {
            if told.len() > known.len() {
                Ok(("entry", "the known ones are answered, and the unknown one has an entry too".to_owned()))
            } else {
                Ok(("omitted", "the known ones are answered, the unknown one is left out".to_owned()))
            }
        }
        Ok(told) => {
            Ok(("incomplete", format!("only {} of {} known ones are answered", told.len(), known.len())))
        }
        Err(Ok((REFUSED, seen))) => Ok(("refuses-all", seen)),
        Err(finding) => finding,
    }
}

/// The references that are answered, or what is answered in place of them.
async fn batch(
    session: &mut Session,
    question: &'static str,
    references: &[&str],
) -> Result<Vec<String>, Finding> {
    let reply = session
        .call(question, Method::POST, &["notice-recette", "status", "references"], Some(json!(references)))
        .await;
    match reply.said() {
        Said::Success(Value::Array(told)) => {
            Ok(told.iter().map(|one| text(one, "reference").unwrap_or_default()).collect())
        }
        Said::Success(_) => Err(Ok(("no-array", "HTTP 2xx, and no array".to_owned()))),
        Said::Refused(..) => Err(Ok((REFUSED, reply.shown()))),
        Said::NoPath(why) => Err(Ok((NO_PATH, why))),
        Said::Unknown(why) => Err(Err(why)),
    }
}

async fn confirm(session: &mut Session, account: &Account, reference: &str) -> Finding {
    let body = json!({
        "reference": reference,
        "codeClient": account.code_client,
        "codeStructure": account.code_structure,
    });
    let path = ["payment", "verified-notice-recette"];
    let reply = session.call("confirm.unpaid", Method::POST, &path, Some(body)).await;
    accepted_or_refused(&reply)
}

async fn receipt(session: &mut Session, reference: &str) -> Finding {
    let path = ["documents", "receipt", "download", reference];
    let reply = session.call("receipt.unpaid", Method::GET, &path, None).await;
    match (&reply.exchange, &reply.content_type) {
        (Exchange::Answered(answer), Some(kind)) if (200..=299).contains(&answer.status) => {
            Ok(("answered", format!("HTTP {}, {kind}, though nobody has paid", answer.status)))
        }
        _ => accepted_or_refused(&reply),
    }
}

fn accepted_or_refused(reply: &Reply) -> Finding {
    match reply.said() {
        Said::Success(json) => {
            let word = text(&json, "status").unwrap_or_else(|| "no status".to_owned());
            Ok(("accepted", format!("{}, {word}", reply.shown())))
        }
        Said::Refused(..) => Ok((REFUSED, reply.shown())),
        Said::NoPath(why) => Ok((NO_PATH, why)),
        Said::Unknown(why) => Err(why),
    }
}
