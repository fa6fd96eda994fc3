//! The token in a row's callback URL: unguessable, the same after every restart, and tied to the row and its reference.
//!
//! It is `outbox.id`, a digest of the row's own reference, and an HMAC-SHA256 over both, by a random key that `meta` keeps.
//! So a forged one is known without a look at the database, none is stored, and one of a notice that an old copy of the
//! database knows nothing of fits no other row that got the same id since.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    error::Unspecified,
    hmac::{self, HMAC_SHA256, Key},
    rand::{SecureRandom, SystemRandom},
};
use url::Url;

/// Bytes of the key.
const KEY: usize = 32;
/// Bytes of `outbox.id`, of the reference's digest, and of the whole token.
const ID: usize = 8;
const DIGEST: usize = 16;
const TOKEN: usize = ID + DIGEST + KEY;
/// What is authenticated is told apart by its first word.
const OF_REFERENCE: &[u8] = b"reference\0";
const OF_TOKEN: &[u8] = b"token\0";

/// A new random key, as `meta` keeps it.
pub fn new_key() -> Result<String, Unspecified> {
    let mut key = [0; KEY];
    SystemRandom::new().fill(&mut key)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(key))
}

/// Makes and knows the tokens of one database; cheap to clone.
#[derive(Debug, Clone)]
pub struct CallbackTokens {
    key: Key,
}

/// What a genuine token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bearer {
    /// `outbox.id`.
    pub outbox_id: i64,
    digest: [u8; DIGEST],
}

impl CallbackTokens {
    /// By the key that `meta` keeps; `None` if that is no key.
    pub fn new(key: &str) -> Option<Self> {
        let key = BASE64_URL_SAFE_NO_PAD.decode(key).ok().filter(|key| key.len() == KEY)?;
        Some(Self { key: Key::new(HMAC_SHA256, &key) })
    }

    /// The token of a row, for a segment of a URL.
    pub fn token(&self, outbox_id: i64, reference: &str) -> String {
        let mut token = Vec::with_capacity(TOKEN);
        token.extend(outbox_id.to_be_bytes());
        token.extend(self.digest(reference));
        let tag = hmac::sign(&self.key, &[OF_TOKEN, &token].concat());
        token.extend(tag.as_ref());
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// Whose token it is; `None` if it was not made here. In constant time.
    pub fn read(&self, token: &str) -> Option<Bearer> {
        // Nothing longer is decoded.
        let token = Some(token).filter(|token| token.len() <= TOKEN * 2)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == TOKEN)?;
        let (said, tag) = bytes.split_at(ID + DIGEST);
        hmac::verify(&self.key, &[OF_TOKEN, said].concat(), tag).ok()?;
        let (id, digest) = said.split_at(ID);
        Some(Bearer { outbox_id: i64::from_be_bytes(id.try_into().ok()?), digest: digest.try_into().ok()? })
    }

    /// Whether the row that has the token's id has its reference too.
    pub fn fits(&self, bearer: &Bearer, reference: &str) -> bool {
        bearer.digest == self.digest(reference)
    }

    fn digest(&self, reference: &str) -> [u8; DIGEST] {
        let tag = hmac::sign(&self.key, &[OF_REFERENCE, reference.as_bytes()].concat());
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&tag.as_ref()[..DIGEST]);
        digest
    }
}

/// The URL that TresorPay is told to call for a row.
#[derive(Debug, Clone)]
pub struct CallbackAddress {
    public_url: Url,
    tokens: CallbackTokens,
}

impl CallbackAddress {
    /// Below `callback.public_url`.
    pub fn new(public_url: Url, tokens: CallbackTokens) -> Self {
        Self { public_url, tokens }
    }

    /// For one row; the same however often it is sent.
    pub fn url(&self, outbox_id: i64, reference: &str) -> String {
        let mut url = self.public_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(&self.tokens.token(outbox_id, reference));
        }
        url.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tokens() -> CallbackTokens {
        CallbackTokens::new(&new_key().unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_its_rows_alone() {
        let tokens = tokens();
        let bearer = tokens.read(&tokens.token(7, "A-7")).unwrap();
        assert_eq!(bearer.outbox_id, 7);
        assert!(tokens.fits(&bearer, "A-7"));
        assert!(!tokens.fits(&bearer, "A-8"), "another row that got this id");
        assert_ne!(tokens.token(7, "A-7"), tokens.token(8, "A-7"));
    }

    #[test]
    fn no_bit_of_a_token_may_change_and_no_other_key_makes_it() {
        let (ours, others) = (tokens(), tokens());
        let token = ours.token(1, "A-1");
        assert_eq!(token.len(), 75);
        assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{token}");
        assert_eq!(others.read(&token), None);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ours.read(&BASE64_URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit}");
        }
        for other in
            ["", "favicon.ico", &token[1..], &format!("{token}A"), &"A".repeat(75), &"A".repeat(9000)]
        {
            assert_eq!(ours.read(other), None);
        }
    }

    #[test]
    fn the_url_is_below_the_public_one_and_the_same_each_time() {
        let key = new_key().unwrap();
        let address = |url: &str| {
            CallbackAddress::new(Url::parse(url).unwrap(), CallbackTokens::new(&key).unwrap()).url(1, "A-1")
        };
        let token = CallbackTokens::new(&key).unwrap().token(1, "A-1");
        assert_eq!(
            address("https://pay.example/tresorpay"),
            format!("https://pay.example/tresorpay/{token}")
        );
        assert_eq!(address("https://pay.example/"), format!("https://pay.example/{token}"));
    }
}
