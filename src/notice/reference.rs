//! The reference that TresorPay gives a notice: untrusted text until it has passed here.

use std::fmt;

/// Longest TresorPay reference that is believed, in characters.
const MAX_CHARACTERS: usize = 128;

/// TresorPay's own reference of a notice, e.g. `TP20241231.1048.AR3`: 1 to 128 characters, not blank, no control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TresorPayReference(String);

/// Why a text is no TresorPay reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Nothing, or blanks only.
    #[error("the reference is blank")]
    Blank,
    /// More than 128 characters.
    #[error("the reference is longer than {MAX_CHARACTERS} characters")]
    TooLong,
    /// A control character could forge a log line or a header.
    #[error("the reference holds a control character")]
    ControlCharacter,
}

impl TresorPayReference {
    /// Checks `text` as it came from TresorPay or an operator.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if text.trim().is_empty() {
            return Err(InvalidReference::Blank);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidReference::ControlCharacter);
        }
        if text.chars().nth(MAX_CHARACTERS).is_some() {
            return Err(InvalidReference::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TresorPayReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidReference, TresorPayReference};

    #[test]
    fn accepts_what_tresorpay_gives_and_refuses_the_unusable() {
        assert!(TresorPayReference::parse("TP20241231.1048.AR3").is_ok());
        assert!(TresorPayReference::parse(&"é".repeat(128)).is_ok());
        assert_eq!(TresorPayReference::parse(" \u{a0}"), Err(InvalidReference::Blank));
        assert_eq!(TresorPayReference::parse(&"x".repeat(129)), Err(InvalidReference::TooLong));
        assert_eq!(TresorPayReference::parse("TP\n1"), Err(InvalidReference::ControlCharacter));
        assert_eq!(TresorPayReference::parse("TP\u{85}1"), Err(InvalidReference::ControlCharacter));
    }
}
