//! What one answer says: a success, the API's own refusal, a path that does not exist, or nothing that can be used.

use serde_json::Value;

use super::record::failure;
use crate::tresorpay::{Answer, Body, Exchange, Problem, Scrubber};

/// An answer, or none.
pub(super) struct Reply {
    pub(super) exchange: Exchange,
    pub(super) content_type: Option<String>,
    /// What must not be shown of it.
    pub(super) secrets: Scrubber,
}

/// What an answer of the API says.
#[derive(Debug)]
pub(super) enum Said {
    /// 2xx and JSON.
    Success(Value),
    /// Its own refusal: status and document.
    Refused(u16, Problem),
    /// There is no such path.
    NoPath(String),
    /// Nothing that can be used; why.
    Unknown(String),
}

impl Reply {
    /// What it says.
    pub(super) fn said(&self) -> Said {
        let answer = match &self.exchange {
            Exchange::Answered(answer) => answer,
            other => return Said::Unknown(self.secrets.scrub(&failure(other))),
        };
        let status = answer.status;
        let bytes = match &answer.body {
            Body::Whole(bytes) => bytes,
            Body::Cut(why) => return Said::Unknown(format!("HTTP {status}, {}", self.secrets.scrub(why))),
        };
        match (status, Problem::parse(status, bytes)) {
            (200..=299, _) => match self.json() {
                Some(json) => Said::Success(json),
                None => Said::Unknown(format!("HTTP {status} without JSON")),
            },
            (401 | 403 | 408 | 429 | 500.., problem) => {
                let words = problem.map_or_else(String::new, |problem| format!(": {}", self.words(&problem)));
                Said::Unknown(format!("HTTP {status}{words}"))
            }
            (_, Some(problem)) if problem.is_about_the_path() => {
                Said::NoPath(format!("HTTP {status}, {}", self.words(&problem)))
            }
            (400..=499, Some(problem)) => Said::Refused(status, problem),
            _ => Said::Unknown(format!("HTTP {status}, which is not the API's own answer")),
        }
    }

    /// The HTTP status and the problem's words, if it is one; else why there is nothing.
    pub(super) fn shown(&self) -> String {
        match self.said() {
            Said::Success(_) => match &self.exchange {
                Exchange::Answered(answer) => format!("HTTP {}", answer.status),
                _ => String::new(),
            },
            Said::Refused(status, problem) => format!("HTTP {status}, {}", self.words(&problem)),
            Said::NoPath(why) | Said::Unknown(why) => why,
        }
    }

    /// The whole body as JSON.
    pub(super) fn json(&self) -> Option<Value> {
        match &self.exchange {
            Exchange::Answered(Answer { body: Body::Whole(bytes), .. }) => serde_json::from_slice(bytes).ok(),
            _ => None,
        }
    }

    fn words(&self, problem: &Problem) -> String {
        self.secrets.scrub(&problem.summary())
    }
}

/// A text field of a JSON object.
pub(super) fn text(json: &Value, field: &str) -> Option<String> {
    json.get(field)?.as_str().map(str::to_owned)
}
