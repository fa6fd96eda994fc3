//! Money: whole XOF, because FCFA has no minor unit and a fraction would be a lie.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in whole XOF. The database guarantees 0 to 2^53 - 1, which every JSON reader holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub i64);

impl fmt::Display for Amount {
    /// `1 250 000`: groups of three, as amounts are written in Mali.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
        if self.0 < 0 {
            text.push('-');
        }
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(' ');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn groups_digits_by_three() {
        for (amount, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1 000"),
            (1_250_000, "1 250 000"),
            (-12_345, "-12 345"),
            (i64::MIN, "-9 223 372 036 854 775 808"),
        ] {
            assert_eq!(Amount(amount).to_string(), text);
        }
    }
}
