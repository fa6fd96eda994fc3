//! How things stand: what needs attention, what waits and since when, what is in doubt and what to do about it.

use maud::{Markup, html};

use super::{
    address,
    words::{class, from_now, meaning, moment},
};
use crate::{
    clock::Timestamp,
    http::{
        View,
        view::{Money, Snapshot},
    },
    lang::Lang,
    notice::Status,
    publish,
    store::{NextDue, inspect::StatusCount},
    verdict::{
        Reason, State, state_of,
        words::{counted, duration, size},
    },
};

/// The worst there is, and every reason.
pub(super) fn state(reasons: &[Reason], lang: Lang) -> Markup {
    let state = state_of(reasons);
    let class = state_class(state);
    html! {
        section.state.(class) aria-label=(lang.pick("State", "État")) {
            h2 { (state_word(state, lang)) }
            @if reasons.is_empty() {
                p { (lang.pick("Nothing needs attention.", "Rien à signaler.")) }
            } @else {
                ul {
                    @for reason in reasons {
                        li.(state_class(reason.severity)) { bdi { (reason.text) } }
                    }
                }
            }
        }
    }
}

/// The state, for the heading and the title.
pub(super) const fn state_word(state: State, lang: Lang) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Warning => lang.pick("WARNING", "ATTENTION"),
        State::Critical => lang.pick("CRITICAL", "CRITIQUE"),
    }
}

const fn state_class(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Critical => "critical",
    }
}

/// Rows and amounts by status, and what happens next.
pub(super) fn waiting(
    view: &View,
    snapshot: &Snapshot,
    money: Option<&Money>,
    requests: &publish::State,
    lang: Lang,
) -> Markup {
    let amount = |count: &StatusCount| {
        let amounts = money.map(|money| money.amounts.as_slice()).unwrap_or_default();
        let (_, rows, amount) = amounts.iter().find(|(status, ..)| *status == count.status)?;
        // Of a moment ago, where there are many.
        let about = if *rows == count.rows { "" } else { "≈ " };
        Some(format!("{about}{}", lang.amount(amount.0)))
    };
    html! {
        section {
            h2 { (lang.pick("What waits", "Ce qui attend")) }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            th scope="col" { (lang.pick("Status", "Statut")) }
                            th.wide scope="col" { (lang.pick("Meaning", "Signification")) }
                            th.number scope="col" { (lang.pick("Notices", "Avis")) }
                            th.number scope="col" { (lang.pick("Amount", "Montant")) }
                        }
                    }
                    tbody {
                        @for count in &snapshot.figures.summary.statuses {
                            tr.none[count.rows == 0] {
                                th scope="row" { span.status.(class(count.status)) { (count.status) } }
                                td.wide { (meaning(lang, count.status)) }
                                td.number { (lang.number(count.rows)) }
                                td.number { (amount(count).unwrap_or_else(|| "–".to_owned())) }
                            }
                        }
                    }
                }
            }
            dl {
                @for (name, text) in facts(view, snapshot, requests, lang) {
                    div { dt { (name) } dd { bdi { (text) } } }
                }
            }
        }
    }
}

fn facts(
    view: &View,
    snapshot: &Snapshot,
    requests: &publish::State,
    lang: Lang,
) -> Vec<(&'static str, String)> {
    let (summary, now) = (&snapshot.figures.summary, snapshot.now);
    let mut facts = vec![(lang.pick("Emission", "Émission"), emission(snapshot, lang))];
    if let Some(waiting) = &summary.oldest_waiting {
        let since =
            Timestamp::parse(&waiting.since).map_or_else(String::new, |at| duration(lang, now.since(at)));
        facts.push((
            lang.pick("Longest due", "Le plus ancien"),
            match lang {
                Lang::En => format!("{}, for {since}", waiting.reference),
                Lang::Fr => format!("{}, depuis {since}", waiting.reference),
            },
        ));
    }
    let poll = summary.next_poll.as_deref();
    facts.push((
        lang.pick("Status requests", "Consultations"),
        poll.map_or_else(
            || lang.pick("no notice to ask about", "aucun avis à consulter").to_owned(),
            |at| match (lang, Timestamp::parse(at).is_some_and(|at| at > now)) {
                (Lang::En, true) => format!("next {}", from_now(lang, at, now)),
                (Lang::Fr, true) => format!("prochaine {}", from_now(lang, at, now)),
                (Lang::En, false) => format!("due, {}", from_now(lang, at, now)),
                (Lang::Fr, false) => format!("à faire, {}", from_now(lang, at, now)),
            },
        ),
    ));
    facts.extend(requests.held.sides.iter().map(|side| {
        let probe = from_now(lang, &side.next_probe, now);
        let text = match lang {
            Lang::En => format!("{} held back: {}; next probe {probe}", side.side, side.error),
            Lang::Fr => format!("{} retenu : {} ; prochain essai {probe}", side.side, side.error),
        };
        (lang.pick("Requests", "Requêtes"), text)
    }));
    if summary.open_commands > 0 {
        let open = counted(
            lang,
            summary.open_commands,
            lang.pick("open command", "commande ouverte"),
            lang.pick("open commands", "commandes ouvertes"),
        );
        facts.push((lang.pick("Commands", "Commandes"), open));
    }
    facts.push((lang.pick("Token", "Jeton d'accès"), token(view, lang)));
    let (database, wal) = (size(lang, snapshot.figures.sizes.0), size(lang, snapshot.figures.sizes.1));
    let free = view.room().map_or_else(String::new, |room| {
        format!(", {} {}", size(lang, room.free), lang.pick("free", "libres"))
    });
    facts.push((lang.pick("Database", "Base de données"), format!("{database}, WAL {wal}{free}")));
    let started = moment(lang, &view.started_at().to_string());
    facts.push((
        lang.pick("Running since", "En marche depuis"),
        format!("{started} UTC ({})", duration(lang, view.uptime())),
    ));
    facts
}

fn emission(snapshot: &Snapshot, lang: Lang) -> String {
    let (summary, now) = (&snapshot.figures.summary, snapshot.now);
    if let Some(pause) = &summary.paused {
        let since = pause.since.as_deref().map_or_else(String::new, |at| from_now(lang, at, now));
        return match lang {
            Lang::En => format!("paused {since}; `tresorpayd resume` ends it"),
            Lang::Fr => format!("suspendue {since} ; `tresorpayd resume` la reprend"),
        };
    }
    match summary.next_emission {
        NextDue::Never => lang.pick("nothing waits", "rien n'attend").to_owned(),
        NextDue::Now => lang.pick("rows are due now", "des avis sont à émettre").to_owned(),
        NextDue::At(at) => match lang {
            Lang::En => format!("next {}", from_now(lang, &at.to_string(), now)),
            Lang::Fr => format!("prochaine {}", from_now(lang, &at.to_string(), now)),
        },
    }
}

fn token(view: &View, lang: Lang) -> String {
    use crate::auth::TokenState;
    let now = std::time::Instant::now();
    let state = view.token();
    let left = state.usable_until().filter(|until| now < *until).map(|until| duration(lang, until - now));
    match (state, left) {
        (TokenState::Failing { code, .. }, None) => match lang {
            Lang::En => format!("none: {code}"),
            Lang::Fr => format!("aucun : {code}"),
        },
        (_, Some(left)) => match lang {
            Lang::En => format!("held, for another {left}"),
            Lang::Fr => format!("détenu, encore {left}"),
        },
        (TokenState::None | TokenState::Held { .. }, None) => {
            lang.pick("none, none is needed now", "aucun, aucun n'est nécessaire pour l'instant").to_owned()
        }
    }
}

/// The oldest doubts, and how one is ended.
pub(super) fn doubts(snapshot: &Snapshot, lang: Lang) -> Markup {
    let (summary, now) = (&snapshot.figures.summary, snapshot.now);
    let rows =
        summary.statuses.iter().find(|count| count.status == Status::Uncertain).map_or(0, |count| count.rows);
    let named = i64::try_from(summary.doubts.len()).unwrap_or(i64::MAX);
    html! {
        section.doubts {
            h2 { (lang.pick("In doubt", "En doute")) }
            p {
                (lang.pick(
                    "A request left and no answer says what became of it. Nothing in doubt is sent again by itself: \
                     that could bill twice.",
                    "Une demande est partie et aucune réponse ne dit ce qu'elle est devenue. Rien de ce qui est en doute \
                     n'est renvoyé sans preuve : l'usager pourrait être facturé deux fois.",
                ))
            }
            ul.plain {
                @for doubt in &summary.doubts {
                    li {
                        a href=(address(lang, Some(&doubt.reference), false)) { bdi { (doubt.reference) } }
                        @if let Some(since) = &doubt.updated_at { " · " (from_now(lang, since, now)) }
                        " · "
                        @match &doubt.next_attempt_at {
                            Some(at) => {
                                (lang.pick("the daemon settles it ", "le service le règle "))
                                (from_now(lang, at, now))
                            }
                            None => strong { (lang.pick("somebody has to decide", "une décision est nécessaire")) }
                        }
                    }
                }
                @if rows > named {
                    li {
                        (counted(lang, rows - named, lang.pick("more", "autre"), lang.pick("more", "autres")))
                        ": " code { "tresorpayd list --status UNCERTAIN" }
                    }
                }
            }
            p { (lang.pick("Ask TresorPay whether the notice exists, then:", "Demandez à TresorPay si l'avis existe, puis :")) }
            dl.todo {
                div {
                    dt { (lang.pick("it exists", "il existe")) }
                    dd { code { "tresorpayd resolve REFERENCE --emitted TRESORPAY_REFERENCE" } }
                }
                div {
                    dt { (lang.pick("it surely does not", "il n'existe pas, c'est certain")) }
                    dd { code { "tresorpayd resolve REFERENCE --not-emitted" } }
                }
                div {
                    dt { (lang.pick("it is no longer wanted", "il n'est plus voulu")) }
                    dd { code { "tresorpayd cancel REFERENCE" } }
                }
            }
        }
    }
}
