//! Cancels, judged by the very rule that the daemon settles doubts by; and the last of them, after which nothing is live.

use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::{
    Account,
    answer::Reply,
    facts::{Facts, Finding},
    polls,
    session::Session,
};
use crate::{
    notice::RemoteStatus,
    tresorpay::{CancelVerdict, cancel_verdict},
};

/// Cancels of one client reference at the end, one for each notice that it may have.
const MAX_CANCELS: usize = 4;

/// A notice that may be live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The client reference.
    pub client_reference: String,
    /// TresorPay's own references, as far as they are known.
    pub tresorpay_references: Vec<String>,
    /// Why it could not be canceled.
    pub why: String,
}

/// What was emitted, or may have been.
pub(super) struct Notices {
    prefix: String,
    count: usize,
    tracked: Vec<Tracked>,
}

struct Tracked {
    client: String,
    code: String,
    references: Vec<String>,
    /// Emissions of which nobody knows what they came to.
    in_doubt: u32,
}

impl Notices {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), count: 0, tracked: Vec::new() }
    }

    /// A client reference that was never used.
    pub(super) fn reference(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.prefix, self.count)
    }

    /// An emission is about to leave.
    pub(super) fn may_exist(&mut self, client: &str, code: &str) {
        match self.find(client) {
            Some(tracked) => tracked.in_doubt += 1,
            None => self.tracked.push(Tracked {
                client: client.to_owned(),
                code: code.to_owned(),
                references: Vec::new(),
                in_doubt: 1,
            }),
        }
    }

    /// It was answered with this notice.
    pub(super) fn exists(&mut self, client: &str, reference: &str) {
        if let Some(tracked) = self.find(client) {
            tracked.in_doubt = tracked.in_doubt.saturating_sub(1);
            if !tracked.references.iter().any(|known| known == reference) {
                tracked.references.push(reference.to_owned());
            }
        }
    }

    /// It was refused, or never left: it made no notice.
    pub(super) fn made_none(&mut self, client: &str) {
        if let Some(tracked) = self.find(client) {
            tracked.in_doubt = tracked.in_doubt.saturating_sub(1);
        }
    }

    fn find(&mut self, client: &str) -> Option<&mut Tracked> {
        self.tracked.iter_mut().find(|tracked| tracked.client == client)
    }

    /// Cancels everything that may be live; what could not be.
    pub(super) async fn cancel_all(self, session: &mut Session, account: &Account) -> Vec<Left> {
        session.turn_to_cancels();
        let mut left = Vec::new();
        for tracked in
            self.tracked.iter().filter(|tracked| tracked.in_doubt > 0 || !tracked.references.is_empty())
        {
            if let Err(why) = tracked.cancel(session, account).await {
                left.push(Left {
                    client_reference: tracked.client.clone(),
                    tresorpay_references: tracked.references.clone(),
                    why,
                });
            }
        }
        left
    }
}

impl Tracked {
    /// Until each known notice says that it is canceled, and an unanswered one is proven to be.
    async fn cancel(&self, session: &mut Session, account: &Account) -> Result<(), String> {
        // A cancel may hit a known notice before one that nobody knows of: so many must be told canceled.
        let known = u32::from(!self.references.is_empty());
        let mut doubts = if self.in_doubt > 0 { self.in_doubt + known } else { 0 };
        let mut why = String::new();
        for _ in 0..MAX_CANCELS {
            let live = self.live(session).await;
            if doubts == 0 && matches!(&live, Ok(live) if live.is_empty()) {
                return Ok(());
            }
            let reply = cancel(session, "cancel", &self.client, &self.code, &account.code_structure).await;
            match verdict(&reply, &self.code, &account.code_structure) {
                CancelVerdict::Canceled => doubts = doubts.saturating_sub(1),
                CancelVerdict::NothingLive => doubts = 0,
                _ => why = reply.shown(),
            }
        }
        match self.live(session).await {
            Ok(live) if live.is_empty() && doubts == 0 => Ok(()),
            Ok(live) if live.is_empty() => {
                Err(format!("its emission was not answered, and no cancel proves anything: {why}"))
            }
            Ok(live) => Err(format!("{} is not canceled: {why}", live.join(", "))),
            Err(error) => Err(format!("its status is unknown: {error}")),
        }
    }

    /// Its notices that do not say that they are canceled.
    async fn live(&self, session: &mut Session) -> Result<Vec<String>, String> {
        let mut live = Vec::new();
        for reference in &self.references {
            if polls::status(session, "cancel", reference).await? != RemoteStatus::Canceled {
                live.push(reference.clone());
            }
        }
        Ok(live)
    }
}

/// Everything that is asked by canceling the first notice, and a second one with its client reference if there is one.
pub(super) async fn ask_about(
    session: &mut Session,
    account: &Account,
    facts: &mut Facts,
    (client, first, second): (&str, &str, Option<&str>),
) {
    let (code, structure) = (account.code_client.as_str(), account.code_structure.as_str());
    let reply = cancel(session, "cancel.live", client, code, structure).await;
    facts.set("cancel.live", proof(&reply, account));
    if let Some(second) = second {
        facts.set("cancel.two", which(session, first, second).await);
        cancel(session, "cancel.two", client, code, structure).await;
    } else if facts.found("emit.repeated").is_some() {
        facts
            .set("cancel.two", Ok(("never-two", "a client reference never has two live notices".to_owned())));
    }
    let reply = cancel(session, "cancel.repeated", client, code, structure).await;
    facts.set("cancel.repeated", proof(&reply, account));
    let unknown = format!("{client}-NEVER");
    let reply = cancel(session, "cancel.unknown", &unknown, code, structure).await;
    facts.set("cancel.unknown", proof(&reply, account));
}

async fn cancel(
    session: &mut Session,
    question: &'static str,
    client: &str,
    code: &str,
    structure: &str,
) -> Reply {
    let body = json!({ "referenceClient": client, "codeClient": code, "codeStructure": structure });
    session.call(question, Method::POST, &["payment", "cancel-notice-recette"], Some(body)).await
}

fn verdict(reply: &Reply, code: &str, structure: &str) -> CancelVerdict {
    cancel_verdict(&reply.exchange, [code, structure])
}

/// What the daemon would conclude.
fn proof(reply: &Reply, account: &Account) -> Finding {
    let seen = reply.shown();
    match verdict(reply, &account.code_client, &account.code_structure) {
        CancelVerdict::Canceled => Ok(("says-canceled", seen)),
        CancelVerdict::NothingLive => Ok(("says-unknown", seen)),
        CancelVerdict::Exists => {
            Ok(("names-a-notice", format!("{seen}, and does not say that it is canceled")))
        }
        CancelVerdict::NothingProven => Ok(("proves-nothing", seen)),
        CancelVerdict::NotCarriedOut | CancelVerdict::Unanswered => Err(seen),
    }
}

async fn which(session: &mut Session, first: &str, second: &str) -> Finding {
    let first = polls::status(session, "cancel.two", first).await?;
    let second = polls::status(session, "cancel.two", second).await?;
    match (first == RemoteStatus::Canceled, second == RemoteStatus::Canceled) {
        (true, true) => Ok(("both", "both are canceled by one cancel".to_owned())),
        (true, false) => Ok(("first", "the first one; the second stays live".to_owned())),
        (false, true) => Ok(("second", "the second one; the first stays live".to_owned())),
        (false, false) => Ok(("none", "neither, though the cancel was answered".to_owned())),
    }
}
