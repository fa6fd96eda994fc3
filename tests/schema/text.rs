//! The UTF-8 check, which SQLite has no function for, against Rust's own.

use std::cell::RefCell;

use proptest::prelude::*;

use crate::fixtures::Database;

/// Pieces of text, sound and broken: ASCII, accents, three and four bytes, Latin-1, cut, overlong, surrogates, beyond
/// the last character.
const PIECES: &[&[u8]] = &[
    b"a",
    b"Bamako ",
    "é".as_bytes(),
    "ÿ".as_bytes(),
    "ߒ".as_bytes(),
    "’".as_bytes(),
    "€".as_bytes(),
    "😀".as_bytes(),
    b"\xE9",
    b"\xB0",
    b"\xC3",
    b"\xE3\xA9",
    b"\xE2\x82",
    b"\xF0\x9F\x98",
    b"\xC0\xAF",
    b"\xE0\x83\xA9",
    b"\xED\xA0\x80",
    b"\xF4\x90\x80\x80",
    b"\xFF",
    b"\xA9",
];

/// Text around the lengths at which the check looks at the next piece.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop::sample::select(&PIECES[..8]);
    let any = prop::sample::select(PIECES);
    (prop::collection::vec(sound, 0..230), prop::collection::vec(any, 0..4), prop::bool::ANY).prop_map(
        |(sound, any, swap)| {
            let (sound, any) = (sound.concat(), any.concat());
            if swap { [any, sound].concat() } else { [sound, any].concat() }
        },
    )
}

#[test]
fn is_accepted_if_it_is_utf8() {
    let database = RefCell::new(Database::new());
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in text())| {
        let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
        let sql = format!(
            "INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (hex(randomblob(16)), 1, \
             '{{\"name\":\"a' || CAST(x'{hex}' AS TEXT) || '\"}}', '[{{\"quantity\":1,\"unitPrice\":1}}]')"
        );
        let expected = match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Vec::new()),
            Err(_) => Err("outbox: tax_payer must be text (UTF-8, no NUL) of at most 10000 characters: a JSON object".to_owned()),
        };
        prop_assert_eq!(database.borrow_mut().execute(&sql), expected);
    });
}
