//! The server that TresorPay calls: 204 to everything. Nothing that a stranger sends is logged or kept.

use std::{convert::Infallible, future::ready, net::SocketAddr, time::Duration};

use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::{CallbackTokens, Hint};
use crate::{
    listen::{self, Bounds},
    notice::TresorPayReference,
};

const BOUNDS: Bounds = Bounds { name: "callback.listen", connections: 128, time: Duration::from_secs(10) };

/// Listens on `callback.listen`.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Puts hints on the queue until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    tokens: CallbackTokens,
    hints: mpsc::Sender<Hint>,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        if let Some(hint) = read(&tokens, request.uri().path(), request.uri().query().unwrap_or_default()) {
            // A full queue drops it: polling finds the payment.
            let _ = hints.try_send(hint);
        }
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        ready(Ok::<_, Infallible>(response))
    });
    listen::serve(&listener, BOUNDS, service, shutdown).await;
}

/// The hint of a request whose path ends with a genuine token. Its `status` and `provider` are not even read.
fn read(tokens: &CallbackTokens, path: &str, query: &str) -> Option<Hint> {
    let bearer = tokens.read(path.trim_end_matches('/').rsplit('/').next()?)?;
    let field = |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    let notice = field("id").and_then(|(_, id)| TresorPayReference::parse(&id).ok());
    let amount = field("amount").and_then(|(_, amount)| whole(&amount));
    Some(Hint { bearer, notice, amount, tries: 0 })
}

/// `1000`, also written `1000.0` or `1000.00`; `None`: it is no whole number.
fn whole(amount: &str) -> Option<i64> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    fraction.chars().all(|c| c == '0').then(|| whole.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::callback::new_key;

    #[test]
    fn a_request_is_read_leniently_and_its_token_strictly() {
        let tokens = CallbackTokens::new(&new_key().unwrap()).unwrap();
        let token = tokens.token(7, "A-7");
        let hint = |path: &str, query: &str| read(&tokens, path, query);
        let full = hint(&format!("/a/b/{token}/"), "status=PAID&id=TP1.AR%201&amount=1000.00&provider=WAVE")
            .unwrap();
        assert_eq!(full.bearer.outbox_id, 7);
        assert_eq!(
            (full.notice.as_ref().map(TresorPayReference::as_str), full.amount),
            (Some("TP1.AR 1"), Some(1000))
        );
        let bare = hint(&format!("/{token}"), "id=%00&amount=many").unwrap();
        assert_eq!((bare.notice, bare.amount), (None, None));
        for path in ["/", "", "//", "/a/b", &format!("/{token}/x"), &format!("/{}", &token[1..])] {
            assert_eq!(hint(path, "id=TP1.AR1"), None, "{path}");
        }
    }

    #[test]
    fn amounts_are_whole() {
        for (text, amount) in [
            ("1000", Some(1000)),
            ("1000.0", Some(1000)),
            ("1000.5", None),
            ("1e3", None),
            ("", None),
            ("9".repeat(30).as_str(), None),
        ] {
            assert_eq!(whole(text), amount, "{text}");
        }
    }
}
