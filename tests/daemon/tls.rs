//! Certificates that must not be believed: nothing leaves, each is named for what it is, and rows go on by themselves once
//! the server shows a good one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};

use crate::{
    harness::{World, case, each, holds_for, until},
    raw::{RawPeer, good},
    rows::bulk,
};

/// An issuer of certificates for 127.0.0.1.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let text = STANDARD.encode(certificate.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server with a certificate for `name` that is valid for these years.
    fn server(&self, name: &str, years: (i32, i32)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn ca_file(&self, world: &World) -> PathBuf {
        let path = world.dir.path().join("ca.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }
}

const GOOD_YEARS: (i32, i32) = (2020, 4000);

/// The server's certificate is bad for a while after a token was granted, or from the start.
async fn refused(bad: TlsAcceptor, authority: &Authority, code: &str, token_first: bool) {
    let mut world = World::new().await;
    let ca_file = authority.ca_file(&world);
    world.set("api.ca_file", ca_file.to_str().unwrap());
    let right = authority.server("127.0.0.1", GOOD_YEARS);
    let first = if token_first { right.clone() } else { bad.clone() };
    let peer = RawPeer::start_tls(&mut world, first, good).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    if token_first {
        app.insert(&[crate::rows::NewRow::new("FIRST")]).await;
        until("a token is held", async || app.count("PAID").await == 1).await;
        peer.set_tls(bad);
        // The connections that are kept alive are let go.
        let idle = std::time::Instant::now();
        until("they are closed", async || idle.elapsed() > Duration::from_millis(600)).await;
    }
    let sent = peer.asked("emit");
    app.insert(&bulk(20)).await;
    until("its code is in the log", async || daemon.log().contains(&format!("{code}: "))).await;
    holds_for(Duration::from_secs(1), "all wait", async || app.waiting().await == 20).await;
    assert_eq!(peer.asked("emit"), sent, "nothing leaves");
    let others = format!(
        "SELECT count(*) FROM attempt WHERE outcome NOT IN ('ok', '{code}') OR phase = 'sent' AND outcome IS NOT NULL"
    );
    assert_eq!(app.number(&others).await, 0, "{:?}", app.attempts().await);
    if token_first {
        let named = format!("SELECT count(*) FROM outbox WHERE last_error LIKE '{code}: %' AND attempts = 0");
        assert!(app.number(&named).await > 0);
    } else {
        assert_eq!(app.attempts().await.len(), 0, "without a token nothing is claimed");
    }
    peer.set_tls(right);
    let paid = if token_first { 21 } else { 20 };
    until("all are emitted and paid", async || app.count("PAID").await == paid).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_that_must_not_be_believed_is_named_and_nothing_leaves() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let bad = |name, years| authority.server(name, years);
    each([
        case("expired", refused(bad("127.0.0.1", (2020, 2021)), &authority, "certificate_expired", true)),
        case("early", refused(bad("127.0.0.1", (3990, 4000)), &authority, "certificate_not_yet_valid", true)),
        case(
            "another's name",
            refused(bad("127.0.0.2", GOOD_YEARS), &authority, "certificate_refused", true),
        ),
        case(
            "a stranger's",
            refused(stranger.server("127.0.0.1", GOOD_YEARS), &authority, "certificate_refused", true),
        ),
        case(
            "expired at the token endpoint too",
            refused(bad("127.0.0.1", (2020, 2021)), &authority, "certificate_expired", false),
        ),
    ])
    .await;
}
