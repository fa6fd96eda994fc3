//! The server that TresorPay calls: 204 to everything, within bounds of connections, bytes and time. Nothing that a
//! stranger sends is logged or kept.

use std::{convert::Infallible, future::ready, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::{CallbackTokens, Hint};
use crate::notice::TresorPayReference;

/// Connections at once; further ones wait in the system's queue.
const CONNECTIONS: usize = 128;
/// For the head of the request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For a whole connection, which carries one request.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and its headers.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// After a connection that could not be accepted: most often, too many files are open.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

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
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        loop {
            // Never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = answer(stream, tokens.clone(), hints.clone(), slot);
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move { shutdown.run_until_cancelled(connection).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to callback.listen was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await;
}

/// One connection, one request.
async fn answer(
    stream: TcpStream,
    tokens: CallbackTokens,
    hints: mpsc::Sender<Hint>,
    _slot: OwnedSemaphorePermit,
) {
    let service = service_fn(|request: Request<Incoming>| {
        if let Some(hint) = read(&tokens, request.uri().path(), request.uri().query().unwrap_or_default()) {
            // A full queue drops it: polling finds the payment.
            let _ = hints.try_send(hint);
        }
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What a stranger does to his connection is nothing to tell.
    let _ = timeout(CONNECTION_TIME, connection).await;
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
