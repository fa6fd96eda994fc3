//! The rules for URLs: which may carry a token or a taxpayer's data, and in which form they are kept.

use url::{Host, Url};

/// The longest URL that is taken.
const MAX_URL_CHARS: usize = 2_048;

/// What an endpoint must look like.
const ENDPOINT: &str =
    "expected https://…, or http://… to a loopback address (127.0.0.0/8, [::1], localhost)";

/// A URL that requests are sent to, or that taxpayers are sent to: https, or http to loopback; no userinfo, no
/// query, no fragment. Kept without a slash at the end.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let mut url = web_url(text)?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(ENDPOINT.to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected a URL without a query (?) and without a fragment (#)".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// A URL that is handed on as it was given: http or https, any host, no userinfo.
pub(super) fn handed_on(text: &str) -> Result<String, String> {
    web_url(text).map(|_| text.to_owned())
}

/// An HTTP proxy: scheme, host and port, with or without user and password.
pub(super) fn proxy(text: &str) -> Result<Url, String> {
    let expected = || "expected a proxy such as http://proxy.example:3128".to_owned();
    let url = parse(text).ok_or_else(expected)?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if bare { Ok(url) } else { Err(expected()) }
}

/// Whether the URL's host is this machine: 127.0.0.0/8, `[::1]` or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn web_url(text: &str) -> Result<Url, String> {
    let url = parse(text).ok_or("expected a URL such as https://host.example/path")?;
    if url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err("expected a URL without user and password".to_owned())
    }
}

/// An absolute http or https URL. The parser of browsers would also take `https:host`, `https:\\host` and drop
/// line breaks; what looks like one host and means another is refused.
fn parse(text: &str) -> Option<Url> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    let authority = text.split_once("://").map(|(_, rest)| rest)?;
    if text.contains(odd) || authority.starts_with('/') || text.chars().count() > MAX_URL_CHARS {
        return None;
    }
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_kept_without_the_last_slash() {
        for (text, kept) in [
            ("https://tresorpay.ml/api/public/v1", "https://tresorpay.ml/api/public/v1"),
            ("https://tresorpay.ml/api/public/v1//", "https://tresorpay.ml/api/public/v1"),
            ("HTTPS://TresorPay.ml:443", "https://tresorpay.ml/"),
            ("http://127.9.9.9:8080/x/", "http://127.9.9.9:8080/x"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
            ("http://localhost/x", "http://localhost/x"),
        ] {
            assert_eq!(endpoint(text).map(String::from), Ok(kept.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_could_leak_or_mislead_is_no_endpoint() {
        for text in [
            "",
            "tresorpay.ml",
            "http://tresorpay.ml/api",
            "http://localhost.evil.ml",
            "http://128.0.0.1",
            "http://[::ffff:127.0.0.1]",
            "ftp://127.0.0.1",
            "https://user@tresorpay.ml",
            "https://user:pass@tresorpay.ml",
            "https://tresorpay.ml?x=1",
            "https://tresorpay.ml#x",
            "https:tresorpay.ml",
            "https:///tresorpay.ml",
            "https://tresorpay.ml\\@evil.ml",
            " https://tresorpay.ml",
            "https://tresorpay.ml/a\nb",
            "https://",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_may_have_userinfo_but_no_path() {
        assert!(proxy("http://u:p@proxy.example:3128").is_ok());
        assert!(proxy("http://proxy.example:3128/").is_ok());
        for text in ["proxy:3128", "socks5://proxy:1080", "http://proxy/path", "http://proxy?x", ""] {
            assert!(proxy(text).is_err(), "{text}");
        }
    }
}
