//! Takes a row's personal data and the secrets out of what TresorPay echoes, before it is kept or shown.

use crate::{
    notice::{Notice, wire_phone_number},
    settings::OtherPhoneNumbers,
};

/// What stands in place of what was taken out.
const REDACTED: &str = "[redacted]";
/// Texts shorter than this are taken out as whole words only: `Ba` is a name, and the start of `Bamako`.
const MIN_SUBSTRING: usize = 5;

/// The last segment of a callback that is as long as this may be a token.
const TOKEN_LIKE: usize = 32;

/// Longest text kept, in characters: it ends in the database and in a log line.
const MAX_TEXT: usize = 1000;

/// The texts of one row that must not be kept.
#[derive(Clone, Default)]
pub struct Scrubber {
    /// Lower case, longest first.
    texts: Vec<String>,
}

impl Scrubber {
    /// Everything personal in `notice`: payer, payment and card numbers, item names and descriptions; and the end of its
    /// callback.
    pub fn for_notice(notice: &Notice) -> Self {
        let phone = notice
            .tax_payer
            .phone_number
            .as_deref()
            .and_then(|given| wire_phone_number(given, OtherPhoneNumbers::Omit));
        let items = notice.items.iter().flat_map(|item| [&item.name, &item.description]);
        let modes =
            notice.payment_modes.iter().flatten().flat_map(|mode| [&mode.payment_number, &mode.card_number]);
        // Its last segment may be a token.
        let segment = notice.callback.as_deref().and_then(|url| url.rsplit('/').next());
        let callback = segment.filter(|segment| segment.len() >= TOKEN_LIKE);
        let others = items.chain(modes).filter_map(Option::as_deref).chain(callback);
        let mut scrubber = Self::default();
        for text in notice.tax_payer.personal_texts().chain(others).chain(phone.as_deref()) {
            scrubber.add(text);
        }
        scrubber
    }

    /// One more text to take out.
    pub fn add(&mut self, text: &str) {
        let text = text.trim().to_lowercase();
        if text.chars().any(char::is_alphanumeric) {
            self.texts.push(text);
            self.texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
    }

    /// `text` with every personal text replaced, whatever its case, and then cut to a readable length.
    pub fn scrub(&self, text: &str) -> String {
        let scrubbed = self.texts.iter().fold(text.to_owned(), |text, personal| replace(&text, personal));
        match scrubbed.char_indices().nth(MAX_TEXT) {
            Some((end, _)) => format!("{}…", &scrubbed[..end]),
            None => scrubbed,
        }
    }
}

fn replace(text: &str, personal: &str) -> String {
    // Lower-casing may change lengths, so positions are found by comparing from each character on.
    let whole_words = personal.chars().count() < MIN_SUBSTRING;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before: Option<char> = None;
    while let Some(first) = rest.chars().next() {
        let end = prefix_ignoring_case(rest, personal).filter(|end| {
            let after = rest[*end..].chars().next();
            !whole_words || !(is_word(before) || is_word(after))
        });
        if let Some(end) = end {
            out.push_str(REDACTED);
            before = rest[..end].chars().next_back();
            rest = &rest[end..];
        } else {
            out.push(first);
            before = Some(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(char::is_alphanumeric)
}

/// Bytes of `text` that equal `lower` when lower-cased, from the start.
fn prefix_ignoring_case(text: &str, lower: &str) -> Option<usize> {
    let mut wanted = lower.chars();
    let mut end = 0;
    for c in text.chars() {
        for l in c.to_lowercase() {
            match wanted.next() {
                None => return Some(end),
                Some(w) if w == l => {}
                Some(_) => return None,
            }
        }
        end += c.len_utf8();
    }
    wanted.next().is_none().then_some(end)
}

#[cfg(test)]
mod tests {
    use super::Scrubber;

    fn scrub(personal: &[&str], text: &str) -> String {
        let mut scrubber = Scrubber::default();
        for text in personal {
            scrubber.add(text);
        }
        scrubber.scrub(text)
    }

    #[test]
    fn takes_out_names_in_any_case_and_short_ones_as_words() {
        assert_eq!(
            scrub(&["Traoré", "Ba"], "TRAORÉ ba, Bamako: traoré!"),
            "[redacted] [redacted], Bamako: [redacted]!"
        );
        assert_eq!(scrub(&["70123456"], "numéro +22370123456 refusé"), "numéro +223[redacted] refusé");
        assert_eq!(scrub(&["", " - "], "a - b"), "a - b");
        assert_eq!(scrub(&["Diallo"], "Diallo"), "[redacted]");
        assert_eq!(scrub(&["İstanbul"], "İSTANBUL x"), "[redacted] x");
    }
}
