//! `check` on the way to TresorPay: names, certificates, the clock, and a peer that never answers.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{TimeDelta, Utc};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};

use crate::{
    bench::Bench,
    check::{found, report},
};

/// A peer that shows a certificate, and the file of its authority.
struct Peer {
    port: u16,
    ca_file: PathBuf,
}

impl Peer {
    /// Certificates for `localhost` that end in this year; every answer is dated so many hours from now.
    async fn start(bench: &Bench, end: i32, hours: i64) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&authority_key).unwrap();
        let text = STANDARD.encode(certificate.der());
        let ca_file = bench.path("ca.pem");
        std::fs::write(&ca_file, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
            .unwrap();
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(end, 1, 1));
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(answer(listener, TlsAcceptor::from(Arc::new(config)), hours));
        Self { port, ca_file }
    }

    fn configure(&self, bench: &Bench, with_authority: bool) {
        let base = format!("\"https://localhost:{}/api\"", self.port);
        let token = format!("\"https://localhost:{}/token\"", self.port);
        let ca_file = format!("{:?}", self.ca_file.to_str().unwrap());
        let mut keys = vec![("api.base_url", base.as_str()), ("auth.token_url", token.as_str())];
        if with_authority {
            keys.push(("api.ca_file", &ca_file));
        }
        bench.configure(&keys);
    }
}

/// One answer a connection: the API's own refusal.
async fn answer(listener: TcpListener, tls: TlsAcceptor, hours: i64) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let _ = stream.read(&mut [0; 4096]).await;
            let body = r#"{"type":"t","title":"Inconnu","status":404,"message":"error.NOTICE_NOT_FOUND"}"#;
            let date = (Utc::now() + TimeDelta::hours(hours)).format("%a, %d %b %Y %H:%M:%S GMT");
            let head = format!(
                "HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_looked_at_and_the_clock_compared() {
    let bench = Bench::bare().await;
    let good = Peer::start(&bench, 3000, 0).await;
    good.configure(&bench, true);
    let json = report(&bench, 1);
    assert_eq!(found(&json, "dns").0, "ok", "{json:#}");
    assert!(found(&json, "dns").1.starts_with("localhost is "), "{json:#}");
    let (result, detail) = found(&json, "tls");
    assert_eq!(result, "ok", "{json:#}");
    assert!(
        detail.starts_with("localhost: valid until 3000-01-01, ") && detail.contains(" issued by CN="),
        "{detail}"
    );
    assert_eq!(found(&json, "clock").0, "ok", "{json:#}");
    assert_eq!(found(&json, "token").0, "fail", "it is no token endpoint");
    good.configure(&bench, false);
    let ran = bench.run(&["check"]).exits(1);
    let tls =
        ran.out.lines().find(|line| line.starts_with("FAIL  tls ")).unwrap_or_else(|| panic!("{}", ran.out));
    assert!(tls.contains("UnknownIssuer") && tls.contains("set api.ca_file"), "{tls}");
    ran.prints("skip  clock");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_and_a_wrong_clock() {
    let bench = Bench::bare().await;
    Peer::start(&bench, 2021, 0).await.configure(&bench, true);
    let json = report(&bench, 1);
    assert!(found(&json, "tls").1.contains("certificate_expired: "), "{json:#}");
    Peer::start(&bench, 3000, -3).await.configure(&bench, true);
    let json = report(&bench, 1);
    assert_eq!(found(&json, "clock").0, "warn");
    assert!(found(&json, "clock").1.contains("3 h ahead of TresorPay's"), "{json:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_is_not_waited_for_long() {
    let bench = Bench::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("\"http://{}/api\"", silent.local_addr().unwrap());
    bench.configure(&[
        ("api.base_url", &url),
        ("auth.token_url", &url),
        ("api.request_timeout", "\"1s\""),
        ("api.connect_timeout", "\"1s\""),
    ]);
    let start = Instant::now();
    let json = report(&bench, 78);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(found(&json, "api").1.contains("does not answer within"), "{json:#}");
    assert_eq!(found(&json, "token").0, "fail", "{json:#}");
    assert_eq!(found(&json, "clock"), ("skip", "no answer told the time"));
}
