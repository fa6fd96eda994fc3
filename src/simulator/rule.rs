//! When a fault strikes. A rule has one JSON form, for the control API and for a file, which the command line also
//! takes as `key=value,...`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fault::{Fault, Operation};

/// One fault and the requests that it strikes. The first rule in order that matches strikes; `latency` rules add up
/// and let the next rules strike too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Rule {
    /// Which requests.
    pub operation: Operation,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// Only requests about this client reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// So many matching requests pass untouched first.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// Strikes so many times, then never again; `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Strikes a matching request with this probability, 0 to 1; `None`: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Rule {
    /// A rule that strikes every request of `operation`.
    pub fn always(operation: Operation, fault: Fault) -> Self {
        Self { operation, fault, reference: None, skip: 0, times: None, probability: None }
    }

    /// A rule that strikes the next request of `operation`, once.
    pub fn once(operation: Operation, fault: Fault) -> Self {
        Self::always(operation, fault).times(1)
    }

    /// Strikes so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes with this probability.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability);
        self
    }

    /// Strikes only requests about this client reference.
    #[must_use]
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    fn check(&self) -> Result<(), RuleError> {
        let bad = |what: &str| Err(RuleError(what.to_owned()));
        match self.probability {
            Some(p) if !(0.0..=1.0).contains(&p) => return bad("`probability` must be 0 to 1"),
            _ => {}
        }
        match &self.fault {
            Fault::Status { code, .. } if !(200..=599).contains(code) => bad("`code` must be 200 to 599"),
            Fault::Redirect { code, .. } if !matches!(code, 301 | 302 | 303 | 307 | 308) => {
                bad("`code` must be 301, 302, 303, 307 or 308")
            }
            Fault::SlowDrip { bytes: 0, .. } => bad("`bytes` must be 1 or more"),
            Fault::Omit if !matches!(self.operation, Operation::Batch) => {
                bad("`omit` needs `\"operation\":\"batch\"`")
            }
            _ if self.operation == Operation::Page => bad("no fault applies to the payment page"),
            _ => Ok(()),
        }
    }
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault rule: {0}")]
pub struct RuleError(String);

/// The same fields as `Rule`, as serde reads them.
#[derive(Deserialize)]
struct RuleFields {
    #[serde(default = "any")]
    operation: Operation,
    #[serde(flatten)]
    fault: Fault,
    reference: Option<String>,
    #[serde(default)]
    skip: u64,
    times: Option<u64>,
    probability: Option<f64>,
}

fn any() -> Operation {
    Operation::Any
}

impl TryFrom<Value> for Rule {
    type Error = RuleError;

    /// Reads a rule and refuses a key that has no meaning for its fault: a misspelt key would otherwise make a test
    /// pass for the wrong reason.
    fn try_from(value: Value) -> Result<Self, RuleError> {
        let Value::Object(mut given) = value else { return Err(RuleError("not a JSON object".to_owned())) };
        given.retain(|_, value| !value.is_null());
        let fields: RuleFields = serde_json::from_value(Value::Object(given.clone()))
            .map_err(|error| RuleError(error.to_string()))?;
        let RuleFields { operation, fault, reference, skip, times, probability } = fields;
        let rule = Self { operation, fault, reference, skip, times, probability };
        let known = serde_json::to_value(&rule).map_err(|error| RuleError(error.to_string()))?;
        if let Some(unknown) = given.keys().find(|key| known.get(key).is_none() && *key != "skip") {
            return Err(RuleError(format!("`{unknown}` means nothing for `{}`", rule.fault.name())));
        }
        rule.check().map(|()| rule)
    }
}

/// Keys whose value is text even if it looks like a number.
const TEXT_KEYS: [&str; 6] = ["reference", "retry_after", "location", "word", "message", "title"];

impl FromStr for Rule {
    type Err = RuleError;

    /// `operation=emit,fault=status,code=503,processed=true,times=1`, or the same as JSON.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.trim_start().starts_with('{') {
            let value = serde_json::from_str(text).map_err(|error| RuleError(error.to_string()))?;
            return Self::try_from(Value::Object(value));
        }
        let mut fields = Map::new();
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(RuleError(format!("`{pair}` is not key=value")));
            };
            let (key, value) = (key.trim(), value.trim());
            let value = match serde_json::from_str(value) {
                Ok(scalar @ (Value::Number(_) | Value::Bool(_))) if !TEXT_KEYS.contains(&key) => scalar,
                _ => Value::String(value.to_owned()),
            };
            if fields.insert(key.to_owned(), value).is_some() {
                return Err(RuleError(format!("`{key}` is there twice")));
            }
        }
        Self::try_from(Value::Object(fields))
    }
}
