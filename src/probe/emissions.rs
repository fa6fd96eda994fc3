//! Emissions in every form that the daemon may come to send. Each is noted before it leaves, so that the end of the probe
//! knows what to cancel, answered or not.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    AMOUNT, Account, TAX_PAYER,
    answer::{Reply, Said, text},
    cancels::{self, Notices},
    facts::{Facts, Finding},
    polls,
    session::Session,
};
use crate::{notice::RemoteStatus, tresorpay::Exchange};

/// A code that no application has.
const BAD_CODE: &str = "TRESORPAYD-PROBE-UNKNOWN";
/// A number of another country, of the range that France keeps for fiction.
const FOREIGN_PHONE: &str = "+33639980000";
const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";

/// Who emits, for whom, and what was emitted.
pub(super) struct Desk<'a> {
    pub(super) session: &'a mut Session,
    pub(super) account: &'a Account,
    pub(super) notices: &'a mut Notices,
}

/// What an emission came to.
pub(super) enum Emitted {
    /// A notice, under this reference of TresorPay's.
    Notice(String),
    /// One that is canceled already.
    Canceled(String),
    /// The API's own refusal.
    Refused,
    /// Nobody knows.
    Unknown(String),
}

/// Everything that takes an emission.
pub(super) async fn ask(desk: &mut Desk<'_>, facts: &mut Facts) {
    let forms = phone_forms(&desk.account.options.phone);
    let mut accepted: Vec<(String, String, Option<String>)> = Vec::new();
    for (question, phone) in forms {
        let client = desk.notices.reference();
        let (emitted, reply) = desk.emit(question, &client, phone.as_deref(), None).await;
        let finding = match emitted {
            Emitted::Notice(reference) => {
                accepted.push((client, reference, phone));
                Ok((ACCEPTED, "the notice is emitted".to_owned()))
            }
            Emitted::Canceled(_) => Err("the notice is canceled already, says the answer".to_owned()),
            Emitted::Refused => Ok((REFUSED, reply.shown())),
            Emitted::Unknown(why) => Err(why),
        };
        facts.set(question, finding);
    }
    let Some((client, reference, phone)) = accepted.first().cloned() else {
        facts.set("emit", no_emission(facts));
        return;
    };
    facts.set("emit", Ok((ACCEPTED, format!("{reference}, {AMOUNT} XOF"))));
    let references: Vec<String> = accepted.iter().map(|(_, reference, _)| reference.clone()).collect();
    polls::ask_about(desk.session, desk.account, facts, &references).await;
    let second = repeat(desk, facts, (&client, &reference), phone.as_deref()).await;
    cancels::ask_about(desk.session, desk.account, facts, (&client, &reference, second.as_deref())).await;
    again(desk, facts, (&client, &reference), phone.as_deref()).await;
    bad_code(desk, facts, phone.as_deref()).await;
}

/// The base form is the first that is accepted: a notice without a number, if that may be.
fn phone_forms(national: &str) -> [(&'static str, Option<String>); 4] {
    [
        ("phone.missing", None),
        ("phone.national", Some(national.to_owned())),
        ("phone.international", Some(format!("+223{national}"))),
        ("phone.foreign", Some(FOREIGN_PHONE.to_owned())),
    ]
}

fn no_emission(facts: &Facts) -> Finding {
    let refused = ["phone.missing", "phone.national", "phone.international"];
    let all_refused = refused.iter().all(|question| facts.found(question) == Some(REFUSED));
    let seen = facts.seen("phone.national").to_owned();
    if all_refused { Ok((REFUSED, seen)) } else { Err(seen) }
}

/// The same reference while the first notice lives; the second notice, if there is one now.
async fn repeat(
    desk: &mut Desk<'_>,
    facts: &mut Facts,
    (client, first): (&str, &str),
    phone: Option<&str>,
) -> Option<String> {
    let (emitted, reply) = desk.emit("emit.repeated", client, phone, None).await;
    let (finding, second) = match emitted {
        Emitted::Notice(reference) if reference == first => {
            (Ok(("first-notice", format!("{reference} again: one notice"))), None)
        }
        Emitted::Notice(reference) => {
            (Ok(("second-notice", format!("{first} and {reference}: billed twice"))), Some(reference))
        }
        Emitted::Canceled(reference) => (Ok(("canceled-notice", format!("{reference}, canceled"))), None),
        Emitted::Refused => (Ok((REFUSED, reply.shown())), None),
        Emitted::Unknown(why) => (Err(why), None),
    };
    facts.set("emit.repeated", finding);
    second
}

/// The same reference once its notice is canceled.
async fn again(desk: &mut Desk<'_>, facts: &mut Facts, (client, first): (&str, &str), phone: Option<&str>) {
    match polls::status(desk.session, "emit.after_cancel", first).await {
        Ok(RemoteStatus::Canceled) => {}
        Ok(_) => {
            return facts
                .set("emit.after_cancel", Err("not asked: the first notice is not canceled".to_owned()));
        }
        Err(why) => {
            return facts.set(
                "emit.after_cancel",
                Err(format!("not asked: the status of the first is unknown: {why}")),
            );
        }
    }
    let (emitted, reply) = desk.emit("emit.after_cancel", client, phone, None).await;
    let finding = match emitted {
        Emitted::Notice(reference) if reference != first => {
            Ok(("new-notice", format!("{reference}, after {first}")))
        }
        Emitted::Notice(reference) => Ok(("revived", format!("{reference} again, and not canceled"))),
        Emitted::Canceled(reference) => Ok(("canceled-notice", format!("{reference}, canceled"))),
        Emitted::Refused => Ok((REFUSED, reply.shown())),
        Emitted::Unknown(why) => Err(why),
    };
    facts.set("emit.after_cancel", finding);
}

async fn bad_code(desk: &mut Desk<'_>, facts: &mut Facts, phone: Option<&str>) {
    let client = desk.notices.reference();
    let (emitted, reply) = desk.emit("emit.bad_code", &client, phone, Some(BAD_CODE)).await;
    let finding = match emitted {
        Emitted::Notice(reference) | Emitted::Canceled(reference) => {
            Ok((ACCEPTED, format!("{reference}: the code is not looked at")))
        }
        Emitted::Refused => Ok((REFUSED, reply.shown())),
        Emitted::Unknown(why) => Err(why),
    };
    facts.set("emit.bad_code", finding);
}

impl Desk<'_> {
    /// Emits, and notes what there is to cancel.
    async fn emit(
        &mut self,
        question: &'static str,
        client: &str,
        phone: Option<&str>,
        code: Option<&str>,
    ) -> (Emitted, Reply) {
        let code = code.unwrap_or(&self.account.code_client);
        self.notices.may_exist(client, code);
        let body = body(self.account, client, code, phone);
        let reply = self
            .session
            .call(question, Method::POST, &["payment", "create-notice-recette"], Some(body))
            .await;
        let emitted = match reply.said() {
            Said::Success(json) => match (text(&json, "reference"), text(&json, "status")) {
                (Some(reference), _) if reference.trim().is_empty() => {
                    Emitted::Unknown("its reference is blank".to_owned())
                }
                (Some(reference), Some(word)) if RemoteStatus::from_word(&word) == RemoteStatus::Canceled => {
                    Emitted::Canceled(reference)
                }
                (Some(reference), _) => Emitted::Notice(reference),
                (None, _) => Emitted::Unknown(format!("{} without a reference", reply.shown())),
            },
            Said::Refused(..) => Emitted::Refused,
            Said::NoPath(why) | Said::Unknown(why) => Emitted::Unknown(why),
        };
        match &emitted {
            Emitted::Notice(reference) => self.notices.exists(client, reference),
            Emitted::Refused => self.notices.made_none(client),
            Emitted::Unknown(_) if matches!(reply.exchange, Exchange::Unsent(_)) => {
                self.notices.made_none(client);
            }
            Emitted::Canceled(_) | Emitted::Unknown(_) => {}
        }
        (emitted, reply)
    }
}

/// As the daemon sends it.
fn body(account: &Account, client: &str, code: &str, phone: Option<&str>) -> Value {
    let mut tax_payer = json!({ "name": TAX_PAYER });
    if let Some(phone) = phone {
        tax_payer["phoneNumber"] = json!(phone);
    }
    json!({
        "reference": client,
        "codeClient": code,
        "codeStructure": account.code_structure,
        "netTotal": AMOUNT,
        "taxPayer": tax_payer,
        "items": [{
            "name": TAX_PAYER,
            "quantity": 1,
            "unitPrice": AMOUNT,
            "codeNatureRecette": account.options.nature,
        }],
    })
}
