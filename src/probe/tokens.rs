//! Questions to the token endpoint. The token of the first form that works is the one that the API is then asked with.

use serde_json::Value;

use super::{
    answer::{Reply, text},
    facts::{Facts, Finding},
    session::{Session, TokenForm},
};
use crate::{
    settings::ClientAuthentication::{Basic, Body},
    tresorpay::Exchange,
};

const GRANTED: &str = "granted";
const REFUSED: &str = "refused";

/// Asks in every form; whether a token is held.
pub(super) async fn ask(session: &mut Session, facts: &mut Facts) -> bool {
    let forms = [("token.body", Body), ("token.basic", Basic)];
    let mut with_scope = session.scope().is_some();
    let mut held = false;
    for (question, authentication) in forms {
        let form = TokenForm { authentication, with_scope, with_grant_type: true };
        let mut reply = session.token(question, form).await;
        let mut form = form;
        if with_scope && oauth_error(&reply).as_deref() == Some("invalid_scope") {
            facts.set("token.scope", Ok((REFUSED, error_words(&reply))));
            with_scope = false;
            form.with_scope = false;
            reply = session.token(question, form).await;
        }
        let finding = finding(&reply);
        let granted = matches!(finding, Ok((GRANTED, _)));
        facts.set(question, finding);
        if granted && !held {
            held = take(session, facts, form, &reply);
            if form.with_scope {
                let scope = session.scope().unwrap_or_default().to_owned();
                facts.set("token.scope", Ok(("accepted", format!("scope {scope} is accepted"))));
            }
        }
    }
    let quick_start = TokenForm { authentication: Body, with_scope: false, with_grant_type: false };
    let reply = session.token("token.without_grant_type", quick_start).await;
    facts.set("token.without_grant_type", finding(&reply));
    held
}

/// Holds the token, and says how long it lives.
fn take(session: &mut Session, facts: &mut Facts, form: TokenForm, reply: &Reply) -> bool {
    let Some(json) = reply.json() else { return false };
    let lifetime = match json.get("expires_in") {
        Some(Value::Number(seconds)) => Ok(("number", format!("{seconds} s"))),
        Some(Value::String(seconds)) => Ok(("text", format!("{seconds:?}, as text"))),
        None | Some(Value::Null) => Ok(("missing", "the answer does not say".to_owned())),
        Some(_) => Err("it is neither a number nor a text".to_owned()),
    };
    facts.set("token.lifetime", lifetime);
    let Some(token) = text(&json, "access_token") else { return false };
    match session.hold(form, &token) {
        Ok(()) => true,
        Err(why) => {
            facts.set("token.body", Err(why));
            false
        }
    }
}

fn finding(reply: &Reply) -> Finding {
    let Exchange::Answered(answer) = &reply.exchange else { return Err(reply.shown()) };
    let status = answer.status;
    let Some(json) = reply.json() else { return Err(format!("HTTP {status} without an OAuth2 answer")) };
    match (status, text(&json, "access_token")) {
        (200..=299, Some(token)) if !token.is_empty() => {
            let kind = text(&json, "token_type").unwrap_or_else(|| "no token_type".to_owned());
            let refresh = if json.get("refresh_token").is_some() { ", with a refresh_token" } else { "" };
            Ok((GRANTED, format!("HTTP {status}, {kind}{refresh}")))
        }
        (400..=499, _) if oauth_error(reply).is_some() => Ok((REFUSED, error_words(reply))),
        _ => Err(format!("HTTP {status} without an OAuth2 answer")),
    }
}

fn oauth_error(reply: &Reply) -> Option<String> {
    text(&reply.json()?, "error")
}

fn error_words(reply: &Reply) -> String {
    let Exchange::Answered(answer) = &reply.exchange else { return reply.shown() };
    let json = reply.json().unwrap_or_default();
    let words: Vec<String> =
        ["error", "error_description"].iter().filter_map(|field| text(&json, field)).collect();
    reply.secrets.scrub(&format!("HTTP {}, {}", answer.status, words.join(": ")))
}
