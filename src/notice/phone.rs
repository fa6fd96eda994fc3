//! Phone numbers in the form the API takes: the 8 national digits. No digit is ever cut.

use crate::settings::OtherPhoneNumbers;

/// National digits of a Malian number.
const NATIONAL_DIGITS: usize = 8;

/// The number to put on the wire, or `None` to leave the field out.
///
/// Blanks, dots, dashes and brackets are dropped; `+223`, `00223` or `223` before exactly 8 digits is dropped; if 8
/// digits starting with 6 to 9 remain, those are sent. Anything else follows `others`, exactly as it came.
pub fn wire_phone_number(given: &str, others: OtherPhoneNumbers) -> Option<String> {
    if let Some(national) = malian_digits(given) {
        return Some(national);
    }
    match others {
        OtherPhoneNumbers::Send if !given.trim().is_empty() => Some(given.to_owned()),
        OtherPhoneNumbers::Send | OtherPhoneNumbers::Omit => None,
    }
}

fn malian_digits(given: &str) -> Option<String> {
    let compact: String = given.chars().filter(|c| !is_separator(*c)).collect();
    let national = ["+223", "00223", "223"]
        .iter()
        .filter_map(|prefix| compact.strip_prefix(prefix))
        .find(|rest| rest.len() == NATIONAL_DIGITS)
        .unwrap_or(&compact);
    let malian = national.len() == NATIONAL_DIGITS
        && national.bytes().all(|b| b.is_ascii_digit())
        && matches!(national.as_bytes()[0], b'6'..=b'9');
    malian.then(|| national.to_owned())
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '.' | '-' | '(' | ')' | '[' | ']' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::wire_phone_number;
    use crate::settings::OtherPhoneNumbers;

    #[test]
    fn malian_numbers_become_their_eight_digits() {
        for given in [
            "70123456",
            "+22370123456",
            "+223 70 12 34 56",
            "0022370123456",
            "22370123456",
            "70.12.34.56",
            "(+223) 70-12-34-56",
            "70\u{a0}12\u{202f}34 56",
        ] {
            assert_eq!(
                wire_phone_number(given, OtherPhoneNumbers::Omit).as_deref(),
                Some("70123456"),
                "{given}"
            );
        }
        // 8 digits that begin like the country code are a whole number, not a short one.
        assert_eq!(wire_phone_number("22312345", OtherPhoneNumbers::Omit), None);
    }

    #[test]
    fn other_numbers_are_sent_as_they_came_or_left_out() {
        for given in [
            "20212223",
            "+33612345678",
            "7012345",
            "701234567",
            "+2237012345",
            "+223701234567",
            "call me",
            "٧٠١٢٣٤٥٦",
        ] {
            assert_eq!(wire_phone_number(given, OtherPhoneNumbers::Send).as_deref(), Some(given));
            assert_eq!(wire_phone_number(given, OtherPhoneNumbers::Omit), None, "{given}");
        }
        assert_eq!(wire_phone_number("  ", OtherPhoneNumbers::Send), None);
    }

    proptest! {
        #[test]
        fn no_digit_is_ever_cut(given in "[ +()0-9.-]{0,20}") {
            if let Some(sent) = wire_phone_number(&given, OtherPhoneNumbers::Send) {
                let digits = |s: &str| s.chars().filter(char::is_ascii_digit).collect::<String>();
                let (before, after) = (digits(&given), digits(&sent));
                let kept = before == after || [format!("223{after}"), format!("00223{after}")].contains(&before);
                prop_assert!(kept, "{} became {}", given, sent);
            }
        }
    }
}
