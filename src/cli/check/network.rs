//! On the way to TresorPay: names, and certificates. Each step has its own time limit, and none needs an account.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use reqwest::{Client, tls::TlsInfo};
use url::{Host, Url};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Finding, within};
use crate::{
    settings::Settings,
    tresorpay::{HttpOptions, ServerClock, http_builder, observe_date, unreachable},
};

/// How long a step may take, however patient `api.request_timeout` is.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// A certificate that ends sooner is told of.
const SOON: i64 = 21;

/// Each host once: its name, then its certificate. Answers tell `clock` the time.
pub(super) async fn check(settings: &Settings, clock: &ServerClock) -> Vec<Finding> {
    let urls = [&settings.api.base_url, &settings.auth.token_url];
    let names = names(settings, urls);
    let mut findings = join_all(names.iter().map(|name| lookup(name))).await;
    let mut seen = BTreeSet::new();
    let urls = urls.into_iter().filter(|url| seen.insert(url.origin().ascii_serialization()));
    let secure: Vec<&Url> = urls.filter(|url| url.scheme() == "https").collect();
    if secure.is_empty() {
        findings.push(Finding::ok("tls", "not used: http to this machine only"));
        return findings;
    }
    match client(settings) {
        Ok(client) => {
            findings.extend(join_all(secure.into_iter().map(|url| certificate(&client, url, clock))).await);
        }
        Err(why) => findings.push(Finding::fail("tls", why, "set api.ca_file to a PEM file of certificates")),
    }
    findings
}

/// The names that this machine itself has to look up: the proxy's, where one is set.
fn names(settings: &Settings, urls: [&Url; 2]) -> BTreeSet<String> {
    let urls = settings.api.proxy.as_ref().map_or(urls.to_vec(), |proxy| vec![proxy]);
    urls.into_iter()
        .filter_map(|url| match url.host()? {
            Host::Domain(name) => Some(name.to_owned()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        })
        .collect()
}

async fn lookup(name: &str) -> Finding {
    const REMEDY: &str = "check /etc/resolv.conf and the name; behind a proxy set api.proxy";
    match tokio::time::timeout(LIMIT, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(addresses)) => {
            let addresses: BTreeSet<String> = addresses.map(|address| address.ip().to_string()).collect();
            match addresses.into_iter().collect::<Vec<_>>() {
                none if none.is_empty() => Finding::fail("dns", format!("{name} has no address"), REMEDY),
                some => Finding::ok("dns", format!("{name} is {}", some.join(", "))),
            }
        }
        Ok(Err(error)) => Finding::fail("dns", format!("{name}: {error}"), REMEDY),
        Err(_) => Finding::fail("dns", format!("{name}: no answer {}", within(LIMIT)), REMEDY),
    }
}

fn client(settings: &Settings) -> Result<Client, String> {
    let options = bounded(settings);
    let builder = http_builder(&options).map_err(|error| error.to_string())?;
    builder.tls_info(true).build().map_err(|error| unreachable(&error))
}

/// Connections as the daemon makes them, but none that takes too long for somebody who waits.
pub(super) fn bounded(settings: &Settings) -> HttpOptions {
    let options = HttpOptions::new(settings, 1);
    HttpOptions { request_timeout: options.request_timeout.min(LIMIT), ..options }
}

/// Whatever is answered: the certificate was shown before.
async fn certificate(client: &Client, url: &Url, clock: &ServerClock) -> Finding {
    let host = url.host_str().unwrap_or_default();
    let sent_at = crate::clock::Timestamp::now();
    let response = match client.get(url.clone()).send().await {
        Ok(response) => response,
        Err(error) => return refused(host, &unreachable(&error)),
    };
    observe_date(response.headers(), clock, sent_at);
    let der = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
    match der.map(X509Certificate::from_der) {
        Some(Ok((_, certificate))) => {
            let ends = DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0);
            judge(host, ends, &certificate.issuer().to_string(), Utc::now())
        }
        Some(Err(error)) => {
            Finding::skip("tls", format!("{host}: accepted, and its certificate cannot be read: {error}"))
        }
        None => Finding::skip("tls", format!("{host}: accepted; the certificate was not shown")),
    }
}

fn judge(host: &str, ends: Option<DateTime<Utc>>, issuer: &str, now: DateTime<Utc>) -> Finding {
    let Some(ends) = ends else {
        return Finding::skip("tls", format!("{host}: accepted, and its end is no date"));
    };
    let days = (ends - now).num_days();
    let detail = format!("{host}: valid until {}, {days} days, issued by {issuer}", ends.format("%Y-%m-%d"));
    if days < SOON {
        return Finding::warn(
            "tls",
            detail,
            "who runs the server, or the proxy that opens TLS, has to renew it in time",
        );
    }
    Finding::ok("tls", detail)
}

fn refused(host: &str, why: &str) -> Finding {
    let remedy = if why.contains("UnknownIssuer") {
        "an authority that this machine does not know: is it a proxy that opens TLS? Put that authority's certificate \
         (PEM) into a file and set api.ca_file; on Debian `apt install ca-certificates` brings the public ones"
    } else if why.starts_with("certificate_") {
        "see docs/errors.md; compare this machine's clock first"
    } else {
        "check the network, api.proxy, and whether a firewall lets port 443 out"
    };
    Finding::fail("tls", format!("{host}: {why}"), remedy)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{super::Level, *};

    #[test]
    fn a_certificate_that_ends_soon_is_told_of() {
        let now = Utc::now();
        let of = |days| judge("h", Some(now + TimeDelta::days(days) + TimeDelta::hours(1)), "CN=X", now);
        assert_eq!(of(90).result, Level::Ok);
        assert_eq!(of(20).result, Level::Warn);
        assert!(of(20).detail.contains("20 days, issued by CN=X"), "{:?}", of(20));
    }

    #[test]
    fn an_unknown_issuer_is_told_apart() {
        let remedy = |why| refused("h", why).remedy.unwrap_or_default();
        assert!(
            remedy("certificate_refused: … invalid peer certificate: UnknownIssuer; check")
                .contains("api.ca_file")
        );
        assert!(remedy("certificate_expired: the server's certificate expired").contains("clock"));
        assert!(remedy("tcp connect error").contains("firewall"));
    }
}
