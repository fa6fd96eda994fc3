//! One notice's life: what it is, what happens next, every change and every request. Nobody is named.

use maud::{Markup, html};

use super::{
    address,
    words::{class, from_now, meaning, moment, operation, phase, source, took},
};
use crate::{
    clock::Timestamp,
    http::view::Snapshot,
    lang::Lang,
    notice::Status,
    store::inspect::{AttemptRow, Life, TransitionRow},
};

/// What was found for `reference`.
pub(super) fn section(
    found: &Result<Option<Life>, String>,
    reference: &str,
    snapshot: &Snapshot,
    lang: Lang,
) -> Markup {
    html! {
        section.life {
            @match found {
                Ok(Some(life)) => (record(life, snapshot, lang)),
                Ok(None) => {
                    h2 { bdi { (reference) } }
                    p {
                        (lang.pick(
                            "No notice has this reference, neither the application's nor TresorPay's.",
                            "Aucun avis n'a cette référence, ni celle de l'application ni celle de TresorPay.",
                        ))
                    }
                }
                Err(error) => {
                    h2 { bdi { (reference) } }
                    p { (lang.pick("It could not be looked for: ", "La recherche a échoué : ")) (error) }
                }
            }
        }
    }
}

fn record(life: &Life, snapshot: &Snapshot, lang: Lang) -> Markup {
    let row = &life.row;
    let status: Option<Status> = row.status.parse().ok();
    html! {
        h2 {
            bdi { (row.reference) } " "
            @if let Some(status) = status { span.status.(class(status)) { (status) } }
        }
        @if let Some(status) = status {
            p { strong { (meaning(lang, status)) } " · " (next(life, status, snapshot, lang)) }
        }
        dl {
            @for (name, text) in facts(life, lang) {
                div { dt { (name) } dd { bdi { (text) } } }
            }
            @if let Some(replaced) = &row.replaces {
                div {
                    dt { (lang.pick("Replaces", "Remplace")) }
                    dd {
                        a href=(address(lang, Some(replaced), false)) { bdi { (replaced) } }
                        @if let Some(status) = &life.replaced_status { " (" (status) ")" }
                    }
                }
            }
        }
        (transitions(&life.transitions, lang))
        @if !life.attempts.is_empty() { (attempts(&life.attempts, lang)) }
        @if !life.commands.is_empty() {
            h3 { (lang.pick("Open commands", "Commandes ouvertes")) }
            ul.plain {
                @for command in &life.commands {
                    li {
                        (command.action) " · " (moment(lang, &command.requested_at))
                        @if let Some(detail) = &command.detail { " · " bdi { (detail) } }
                    }
                }
            }
        }
        @if life.cut {
            p { (lang.pick("Only the newest are shown. All: ", "Seuls les plus récents sont montrés. Tous : ")) code { "tresorpayd show" } }
        }
    }
}

fn facts(life: &Life, lang: Lang) -> Vec<(&'static str, String)> {
    let row = &life.row;
    let at = |text: &Option<String>| text.as_deref().map(|text| format!("{} UTC", moment(lang, text)));
    let facts = [
        (lang.pick("Amount", "Montant"), Some(lang.amount(row.net_total))),
        ("TresorPay", row.tresorpay_reference.clone()),
        (lang.pick("Paid by", "Payé par"), row.provider.clone()),
        (lang.pick("Created", "Créé"), at(&Some(row.created_at.clone()))),
        (lang.pick("Not before", "Pas avant"), at(&row.not_before)),
        (lang.pick("Emitted", "Émis"), at(&row.emitted_at)),
        (lang.pick("Paid", "Payé"), at(&row.paid_at)),
        (lang.pick("Canceled", "Annulé"), at(&row.canceled_at)),
        (lang.pick("Delivery confirmed", "Livraison confirmée"), at(&row.delivery_confirmed_at)),
        (
            lang.pick("Counted attempts", "Tentatives comptées"),
            (row.attempts > 0).then(|| row.attempts.to_string()),
        ),
        (lang.pick("Last error", "Dernière erreur"), row.last_error.clone()),
    ];
    facts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// What happens next, or what somebody has to do.
fn next(life: &Life, status: Status, snapshot: &Snapshot, lang: Lang) -> String {
    let (row, now) = (&life.row, snapshot.now);
    let due = row.next_attempt_at.as_deref();
    let later = |text: &str| Timestamp::parse(text).is_some_and(|at| at > now);
    if let Some(command) = life.commands.first() {
        return match lang {
            Lang::En => format!("the command `{}` is carried out", command.action),
            Lang::Fr => format!("la commande `{}` est en cours", command.action),
        };
    }
    let text = |en: &str, fr: &str| lang.pick(en, fr).to_owned();
    let when = |en: &str, fr: &str, at: &str| format!("{} {}", lang.pick(en, fr), from_now(lang, at, now));
    match (status, due) {
        (Status::Pending, _) if snapshot.figures.summary.paused.is_some() => {
            text("emitted once emission is resumed", "émis quand l'émission reprendra")
        }
        (Status::Pending, Some(at)) if later(at) => when("tried again", "nouvel essai", at),
        (Status::Pending, _) => match row.not_before.as_deref().filter(|at| later(at)) {
            Some(at) => when("emitted", "émis", at),
            None => text("emitted as soon as possible", "émis dès que possible"),
        },
        (Status::Emitting, _) => text("its answer is recorded", "la réponse est attendue"),
        (Status::Uncertain, Some(at)) => when("the daemon settles it", "le service le règle", at),
        (Status::Uncertain, None) => text(
            "held: ask TresorPay whether it exists, then `tresorpayd resolve` it",
            "retenu : demandez à TresorPay s'il existe, puis `tresorpayd resolve`",
        ),
        (Status::Rejected, _) => text(
            "not sent again unless it is corrected and `tresorpayd retry` asks",
            "renvoyé seulement une fois corrigé, par `tresorpayd retry`",
        ),
        (Status::Emitted, Some(at)) if later(at) => {
            when("TresorPay is asked about it", "TresorPay est consulté", at)
        }
        (Status::Emitted, Some(_)) => {
            text("TresorPay is asked about it now", "TresorPay est consulté maintenant")
        }
        (Status::Emitted, None) => text(
            "no longer asked about; `tresorpayd poll` asks",
            "n'est plus consulté ; `tresorpayd poll` le consulte",
        ),
        (Status::Paid, Some(_)) => {
            text("what is left after the payment is done", "il reste des suites du paiement à accomplir")
        }
        (Status::Paid | Status::Canceled, _) => text("finished", "terminé"),
    }
}

fn transitions(rows: &[TransitionRow], lang: Lang) -> Markup {
    html! {
        h3 { (lang.pick("History (UTC)", "Historique (UTC)")) }
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.pick("When", "Quand")) }
                        th scope="col" { (lang.pick("Status", "Statut")) }
                        th scope="col" { (lang.pick("By", "Par")) }
                        th scope="col" { (lang.pick("Why", "Motif")) }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            td.time { (moment(lang, &row.at)) }
                            td {
                                @match row.to_status.parse::<Status>() {
                                    Ok(status) => span.status.(class(status)) { (status) },
                                    Err(_) => (row.to_status),
                                }
                            }
                            td { (source(lang, &row.source)) }
                            td.words { bdi { (row.reason.as_deref().unwrap_or_default()) } }
                        }
                    }
                }
            }
        }
    }
}

fn attempts(rows: &[AttemptRow], lang: Lang) -> Markup {
    html! {
        h3 { (lang.pick("Requests (UTC)", "Requêtes (UTC)")) }
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.pick("Sent", "Envoyée")) }
                        th scope="col" { (lang.pick("Request", "Requête")) }
                        th scope="col" { (lang.pick("Answer", "Réponse")) }
                        th scope="col" { (lang.pick("Outcome", "Résultat")) }
                        th.number scope="col" { (lang.pick("Took", "Durée")) }
                        th scope="col" { (lang.pick("Detail", "Détail")) }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            td.time { (moment(lang, &row.started_at)) }
                            td { (operation(lang, &row.operation)) }
                            td {
                                @match row.http_status {
                                    Some(status) => { "HTTP " (status) }
                                    None => (phase(lang, &row.phase)),
                                }
                            }
                            td { (row.outcome.as_deref().unwrap_or(lang.pick("under way", "en cours"))) }
                            td.number { (row.duration_ms.map(|ms| took(lang, ms)).unwrap_or_default()) }
                            td.words {
                                bdi { (row.detail.as_deref().or(row.tresorpay_reference.as_deref()).unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
    }
}
