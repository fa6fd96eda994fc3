//! What is known now: one fact a question, in the order of the questions. A question that nobody answered is a fact too.

use serde::Serialize;

/// Every question, with its words for people.
pub(super) const QUESTIONS: &[(&str, &str)] = &[
    ("token.body", "token, secret in the form"),
    ("token.basic", "token, secret by HTTP Basic"),
    ("token.without_grant_type", "token as the quick start asks for it, without grant_type"),
    ("token.scope", "scope"),
    ("token.lifetime", "expires_in"),
    ("path.unknown", "a path that does not exist"),
    ("status.unknown", "status of an unknown reference"),
    ("emit", "an emission"),
    ("phone.missing", "no phone number"),
    ("phone.national", "phone number, 8 national digits"),
    ("phone.international", "phone number, +223 and 8 digits"),
    ("phone.foreign", "phone number of another country"),
    ("status.live", "status of one notice"),
    ("batch.known", "status of two in one request"),
    ("batch.unknown", "the same with an unknown reference among them"),
    ("confirm.unpaid", "verified-notice-recette of what is not paid"),
    ("receipt.unpaid", "receipt of what is not paid"),
    ("emit.repeated", "the same client reference again, while the notice is live"),
    ("cancel.live", "cancel of a live notice"),
    ("cancel.two", "which notice a cancel hits, of two with one client reference"),
    ("cancel.repeated", "cancel of a canceled notice"),
    ("cancel.unknown", "cancel of a client reference that was never emitted"),
    ("emit.after_cancel", "the same client reference again, after its cancel"),
    ("emit.bad_code", "an emission with an unknown codeClient"),
];

/// One answered question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The stable name of the question: `emit.repeated`.
    pub question: &'static str,
    /// The question for people.
    pub words: &'static str,
    /// The stable word of what was found; `None`: unknown.
    pub found: Option<&'static str>,
    /// What was seen; of an unknown, why.
    pub seen: String,
}

/// The facts so far.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

/// A word and what was seen, or why nothing is known.
pub(super) type Finding = Result<(&'static str, String), String>;

impl Facts {
    /// Answers a question; a later answer takes the place of an earlier one.
    pub(super) fn set(&mut self, question: &'static str, finding: Finding) {
        let words = QUESTIONS.iter().find(|(name, _)| *name == question).map_or("", |(_, words)| words);
        let (found, seen) = match finding {
            Ok((found, seen)) => (Some(found), seen),
            Err(why) => (None, why),
        };
        self.0.retain(|fact| fact.question != question);
        self.0.push(Fact { question, words, found, seen });
    }

    /// What was found.
    pub(super) fn found(&self, question: &str) -> Option<&'static str> {
        self.0.iter().find(|fact| fact.question == question)?.found
    }

    /// What was seen, or why it is unknown.
    pub(super) fn seen(&self, question: &str) -> &str {
        self.0.iter().find(|fact| fact.question == question).map_or("it was not asked", |fact| &fact.seen)
    }

    /// All of them in the order of the questions; what was not asked is unknown.
    pub(super) fn all(mut self) -> Vec<Fact> {
        let unasked: Vec<&'static str> = QUESTIONS
            .iter()
            .map(|(question, _)| *question)
            .filter(|question| !self.0.iter().any(|fact| fact.question == *question))
            .collect();
        for question in unasked {
            self.set(question, Err("not asked: what it builds on is unknown".to_owned()));
        }
        let place = |fact: &Fact| QUESTIONS.iter().position(|(question, _)| *question == fact.question);
        self.0.sort_by_key(place);
        self.0
    }
}
