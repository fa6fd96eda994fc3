//! The status page: what waits, what is in doubt and what to do, what was paid, and one notice's life. Read-only, in French
//! or English, without a script. It names references and amounts, and no person.

mod language; // which of the two
mod life; // one notice
mod money; // what was paid
mod overview; // what waits, and what is in doubt
mod words; // what a status means and what follows

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::View;
use crate::{
    lang::Lang,
    notice::Status,
    verdict::{self, state_of},
};

/// The longest reference that is looked for, in characters: an outbox has none longer, TresorPay's are up to 128.
const MAX_REFERENCE: usize = 128;
/// Seconds after which the page may be asked to read itself again.
const REFRESH: u32 = 30;
/// How long a browser keeps what never changes within a version, in seconds.
const KEEP: &str = "max-age=3600";

/// What the address asks for. Anything else in it is ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    lang: Option<String>,
    reference: Option<String>,
    refresh: Option<String>,
}

/// What is shown, and how.
struct Shown {
    lang: Lang,
    /// What is looked for.
    reference: Option<String>,
    refreshes: bool,
}

/// Answers `/style.css`.
pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, KEEP)], include_str!("style.css"))
        .into_response()
}

/// Answers `/icon.svg`.
pub(super) async fn icon() -> Response {
    ([(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, KEEP)], include_str!("icon.svg")).into_response()
}

/// Answers `/`.
pub(super) async fn page(
    State(view): State<Arc<View>>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let asked = asked.ok().map(|Query(asked)| asked);
    let field = |of: fn(&Asked) -> &Option<String>| asked.as_ref().and_then(|asked| of(asked).clone());
    let accepts = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let reference = field(|asked| &asked.reference)
        .map(|text| text.trim().chars().take(MAX_REFERENCE).collect::<String>())
        .filter(|text| !text.is_empty());
    let shown = Shown {
        lang: language::chosen(field(|asked| &asked.lang).as_deref(), accepts),
        refreshes: field(|asked| &asked.refresh).is_some() && reference.is_none(),
        reference,
    };
    let (status, markup) = render(&view, &shown).await;
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_LANGUAGE, shown.lang.tag()),
        (VARY, "Accept-Language"),
    ];
    (status, headers, markup.into_string()).into_response()
}

async fn render(view: &View, shown: &Shown) -> (StatusCode, Markup) {
    let lang = shown.lang;
    let life = match &shown.reference {
        Some(reference) => Some(view.life(reference).await),
        None => None,
    };
    let snapshot = match view.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let word = overview::state_word(verdict::State::Critical, lang);
            let body = html! {
                section.state.critical {
                    h2 { (word) }
                    p { (lang.pick("The outbox cannot be read: ", "La base de données ne peut pas être lue : ")) (error) }
                }
            };
            return (StatusCode::SERVICE_UNAVAILABLE, frame(view, shown, word, &body));
        }
    };
    let found = matches!(life, None | Some(Ok(Some(_))));
    let money = view.money(&snapshot).await;
    let requests = view.requests();
    let reasons = view.reasons(&snapshot, &requests, lang);
    let state = overview::state_word(state_of(&reasons), lang);
    let uncertain = snapshot
        .figures
        .summary
        .statuses
        .iter()
        .any(|count| count.status == Status::Uncertain && count.rows > 0);
    let body = html! {
        (overview::state(&reasons, lang))
        (search(shown))
        @if let (Some(life), Some(reference)) = (&life, &shown.reference) {
            (life::section(life, reference, &snapshot, lang))
        }
        (overview::waiting(view, &snapshot, money.as_deref(), &requests, lang))
        @if uncertain {
            (overview::doubts(&snapshot, lang))
        }
        (money::section(money.as_deref(), lang))
    };
    let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (status, frame(view, shown, state, &body))
}

fn search(shown: &Shown) -> Markup {
    let lang = shown.lang;
    html! {
        form.search role="search" action="/" method="get" {
            input type="hidden" name="lang" value=(lang.tag());
            label for="reference" { (lang.pick("Find a notice by its reference", "Chercher un avis par sa référence")) }
            div.field {
                input #reference type="search" name="reference" maxlength=(MAX_REFERENCE) required autocomplete="off"
                    spellcheck="false" value=[shown.reference.as_deref()];
                button type="submit" { (lang.pick("Find", "Chercher")) }
            }
        }
    }
}

/// What stands around every page.
fn frame(view: &View, shown: &Shown, state: &str, body: &Markup) -> Markup {
    let lang = shown.lang;
    let environment = view.options().environment;
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if shown.refreshes {
                    meta http-equiv="refresh" content=(REFRESH);
                }
                title { (state) " – tresorpayd" }
                link rel="stylesheet" href=(concat!("/style.css?", env!("CARGO_PKG_VERSION")));
                link rel="icon" type="image/svg+xml" href="/icon.svg";
            }
            body {
                header {
                    h1 { a href=(address(lang, None, false)) { "tresorpayd" } }
                    span.environment.production[environment == "production"] { (environment) }
                    nav aria-label=(lang.pick("Language", "Langue")) {
                        @for (other, name) in [(Lang::Fr, "Français"), (Lang::En, "English")] {
                            @if other == lang {
                                span aria-current="true" lang=(other.tag()) { (name) }
                            } @else {
                                a lang=(other.tag()) hreflang=(other.tag())
                                    href=(address(other, shown.reference.as_deref(), shown.refreshes)) { (name) }
                            }
                        }
                    }
                }
                main { (body) }
                footer {
                    p {
                        "tresorpayd " (env!("CARGO_PKG_VERSION")) " · "
                        (lang.moment(crate::clock::Timestamp::now().to_chrono())) " · "
                        @if shown.refreshes {
                            a href=(address(lang, None, false)) { (lang.pick("Stop refreshing", "Arrêter l'actualisation")) }
                        } @else {
                            a href=(address(lang, None, true)) {
                                (lang.pick("Refresh every 30 s", "Actualiser toutes les 30 s"))
                            }
                        }
                    }
                    p {
                        (lang.pick(
                            "Read-only. It shows references and amounts, and no taxpayer's data.",
                            "Lecture seule. Cette page montre des références et des montants, aucune donnée d'usager.",
                        ))
                    }
                }
            }
        }
    }
}

/// The address of this page, otherwise.
fn address(lang: Lang, reference: Option<&str>, refreshes: bool) -> String {
    let mut query = form_urlencoded::Serializer::for_suffix("/?".to_owned(), 2);
    query.append_pair("lang", lang.tag());
    if let Some(reference) = reference {
        query.append_pair("reference", reference);
    }
    if refreshes {
        query.append_pair("refresh", "on");
    }
    query.finish()
}
