//! The taxpayer's payment page: shows a notice, and really pays or cancels it.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::header::LOCATION;
use url::form_urlencoded;

use super::answer::Answer;
use super::ledger::{Actor, Notice, NoticeStatus};
use super::site::Site;
use super::wire::PROVIDERS;

/// Answers a request for the payment page (`query` holds `id`) or one of its buttons (`form` holds `action`).
pub(super) fn serve(site: &Arc<Site>, query: &str, form: &[u8], posted: bool) -> Answer {
    let mut fields: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    if posted {
        fields.extend(form_urlencoded::parse(form));
    }
    let field = |name: &str| fields.get(name).map(AsRef::as_ref);
    let Some(place) = field("id").and_then(|id| site.book.find(id)) else {
        return Answer::html(404, document("Avis de recette introuvable", "<p>Vérifiez la référence.</p>"));
    };
    if posted {
        let offered = |provider| site.book.with(place, |notice| providers(notice).contains(&provider));
        if field("provider").is_some_and(|provider| !offered(provider)) {
            return Answer::html(400, document("Mode de paiement non autorisé", ""));
        }
        let done = match field("action") {
            Some("pay") => site.pay(place, field("provider"), Actor::Page).map(drop),
            Some("cancel") => site.book.cancel(place, Actor::Page),
            _ => return Answer::html(400, document("Action inconnue", "")),
        };
        let redirect = site.book.with(place, |notice| notice.redirect_url.clone());
        match (done, field("action"), redirect) {
            (Ok(()), Some("pay"), Some(url)) => return Answer::empty(303).with(LOCATION, &url),
            (Ok(()), ..) => {}
            (Err(problem), ..) => {
                let text = format!("<p>{}</p>", escaped(problem.title()));
                return Answer::html(409, document("Impossible", &text));
            }
        }
    }
    Answer::html(200, site.book.with(place, |notice| show(notice)))
}

fn show(notice: &Notice) -> String {
    let reference = escaped(&notice.reference);
    let mut body = format!(
        "<p>{} : <b>{} XOF</b></p><p>{}</p>",
        escaped(&notice.client_reference),
        notice.net_total,
        match notice.status {
            NoticeStatus::Emitted => "À payer",
            NoticeStatus::Paid => "Payé",
            NoticeStatus::Canceled => "Annulé",
        }
    );
    if notice.status == NoticeStatus::Emitted {
        body.push_str("<form method=\"post\"><select name=\"provider\">");
        for provider in providers(notice) {
            body.push_str("<option>");
            body.push_str(&escaped(provider));
            body.push_str("</option>");
        }
        body.push_str("</select> <button name=\"action\" value=\"pay\">Payer</button> ");
        body.push_str("<button name=\"action\" value=\"cancel\">Annuler l'avis</button></form>");
    }
    document(&format!("Avis de recette {reference}"), &body)
}

/// Authorised providers, else all.
fn providers(notice: &Notice) -> Vec<&str> {
    let modes = notice.authorized_payment_modes.as_deref().unwrap_or_default();
    let authorised: Vec<&str> = modes.iter().filter_map(|mode| mode.code_provider.as_deref()).collect();
    if authorised.is_empty() { PROVIDERS.to_vec() } else { authorised }
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"fr\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n{body}\n<p><small>Simulateur : aucun paiement réel.</small></p></body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
