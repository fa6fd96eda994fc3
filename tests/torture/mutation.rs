//! How bytes are spoilt: a handful of small changes, some of which know JSON.

use crate::corpus::WORDS;

/// Longest input that grows further.
const MAX_LENGTH: usize = 4_096;
/// Changes to one input, at the most.
const MAX_CHANGES: u32 = 6;

/// One of `seeds`, spoilt; one in eight is left as it is.
pub(crate) fn spoilt(rng: &mut fastrand::Rng, seeds: &[&[u8]], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(seeds[rng.usize(0..seeds.len())]);
    for _ in 0..rng.u32(0..=MAX_CHANGES + 1).min(MAX_CHANGES) {
        change(rng, seeds, out);
    }
}

fn change(rng: &mut fastrand::Rng, seeds: &[&[u8]], bytes: &mut Vec<u8>) {
    let at = rng.usize(0..=bytes.len());
    let end = at + rng.usize(0..=(bytes.len() - at).min(40));
    match rng.u32(0..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.u32(0..8),
        1 if at < bytes.len() => bytes[at] = rng.u8(..),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 if bytes.len() < MAX_LENGTH => {
            let piece = bytes[at..end].to_vec();
            insert(bytes, at, &piece);
        }
        5 if bytes.len() < MAX_LENGTH => {
            let other = seeds[rng.usize(0..seeds.len())];
            insert(bytes, at, &other[rng.usize(0..=other.len())..]);
        }
        // In place of something, so that what surrounds it stays whole.
        6 => {
            bytes.splice(at..end, WORDS[rng.usize(0..WORDS.len())].iter().copied());
        }
        7 => replace_value(rng, bytes),
        _ if bytes.len() < MAX_LENGTH => insert(bytes, at, WORDS[rng.usize(0..WORDS.len())]),
        _ => {}
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// What stands between a colon and the next comma or bracket becomes something else: still JSON, often.
fn replace_value(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    let colons: Vec<_> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':').collect();
    if colons.is_empty() {
        return;
    }
    let (colon, _) = colons[rng.usize(0..colons.len())];
    let rest = &bytes[colon + 1..];
    let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(rest.len());
    bytes.splice(colon + 1..=colon + length, WORDS[rng.usize(0..WORDS.len())].iter().copied());
}
