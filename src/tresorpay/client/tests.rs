//! The client against connections that misbehave.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    auth::AuthOptions,
    pace::{Backoff, Pace},
    settings::ClientAuthentication,
};

/// The token is shown to the origin of `api.base_url` only: scheme, host and port.
#[test]
fn a_cancel_goes_to_no_other_origin() {
    let options = HttpOptions {
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
        proxy: None,
        ca_file: None,
        loopback: true,
        max_idle: 1,
    };
    let http = http_client(&options).unwrap();
    let second = Duration::from_secs(1);
    let (auth, _actor) = Auth::new(
        http.clone(),
        AuthOptions {
            token_url: Url::parse("http://127.0.0.1:9/token").unwrap(),
            client_id: "id".to_owned(),
            client_secret: "secret".to_owned().into(),
            scope: None,
            client_authentication: ClientAuthentication::Body,
        },
        Pace::new(1, None, Backoff { first: second, max: second }, 5),
    );
    let base_url = Url::parse("http://127.0.0.1:8089/api/v1").unwrap();
    let api = TresorPay::new(http, auth, base_url, OtherPhoneNumbers::Send);
    let address = |base_url: &str| api.cancel_address(base_url, "A-1", "C", "S");
    for (base_url, path) in
        [("http://127.0.0.1:8089/api/v1", "/api/v1"), ("http://127.0.0.1:8089/old/", "/old")]
    {
        let url = address(base_url).unwrap().url;
        assert_eq!(url.as_str(), format!("http://127.0.0.1:8089{path}/payment/cancel-notice-recette"));
    }
    for elsewhere in [
        "http://127.0.0.1:8090/api/v1",
        "https://127.0.0.1:8089/api/v1",
        "http://127.0.0.2:8089/api/v1",
        "http://127.0.0.1:8089@example.ml/api/v1",
        "data:text/plain,x",
        "",
    ] {
        let refused = address(elsewhere).unwrap_err();
        assert_eq!((&*refused.at, &*refused.ours), (elsewhere, "http://127.0.0.1:8089"));
    }
}
