//! `/readyz`: ready if the database takes writes and has room for them, a token is held and no breaker is open; else what
//! is not so, a line each. The database is asked by a transaction of the writer's own that changes nothing. An idle daemon
//! lets its token expire: whoever asks whether it is ready has it ask for a new one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{
    View,
    gate::{Admission, Gate},
    view::Pings,
};
use crate::{auth::TokenState, lang::Lang, tresorpay::ErrorCode, verdict::disk};

/// What was found is told for so long.
const FRESH: Duration = Duration::from_secs(1);
/// The database should take a transaction within this.
const WRITE_TIME: Duration = Duration::from_secs(2);
/// The token endpoint should answer within this.
const TOKEN_TIME: Duration = Duration::from_secs(3);
/// The database takes no transaction, and the writer does not know why yet.
const BUSY: &str = "database_locked";

/// Something that keeps the daemon from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unready {
    /// A stable word, for everybody.
    code: &'static str,
    /// What was said, for who may read.
    detail: String,
}

/// Answers `/readyz`. Without the token, if there is one, only the words are told.
pub(super) async fn ready(State((view, gate)): State<(Arc<View>, Gate)>, headers: HeaderMap) -> Response {
    let told = gate.admission(&headers) == Admission::Admitted;
    let unready = view.unready().await;
    if unready.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = unready
        .iter()
        .map(|why| if told { format!("{}: {}\n", why.code, why.detail) } else { format!("{}\n", why.code) })
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

impl View {
    /// What keeps the daemon from being ready; empty: it is.
    pub(super) async fn unready(&self) -> Arc<[Unready]> {
        let mut pings = self.pings.lock().await;
        if let Some((at, judged)) = &pings.judged
            && at.elapsed() < FRESH
        {
            return Arc::clone(judged);
        }
        let (database, token) = tokio::join!(self.database(&mut pings), self.no_token());
        let room = self.no_room();
        // One word for one trouble, whether it is seen coming or was met.
        let database = database.filter(|why| room.as_ref().is_none_or(|room| room.code != why.code));
        let judged = room.into_iter().chain(database).chain(token).chain(self.breakers()).collect();
        pings.judged = Some((Instant::now(), Arc::clone(&judged)));
        judged
    }

    /// Whether the next commits may find no room: the transaction that is asked for writes nothing and would not tell.
    fn no_room(&self) -> Option<Unready> {
        let room = self.room()?;
        room.trouble().map(|code| Unready { code, detail: disk::words(room, Lang::En) })
    }

    /// Whether the database takes a transaction; one that is asked for waits in the queue until it does.
    async fn database(&self, pings: &mut Pings) -> Option<Unready> {
        let ping = pings.under_way.get_or_insert_with(|| {
            let writer = self.sources().writer.clone();
            Box::pin(async move { writer.ping().await })
        });
        let unready = match timeout(WRITE_TIME, ping).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Unready { code: "database_failing", detail: error.to_string() }),
            Err(_) => {
                let code = self.sources().writer.commits().trouble().unwrap_or(BUSY);
                let detail = "the database takes no writes; see the log, and docs/errors.md".to_owned();
                return Some(Unready { code, detail });
            }
        };
        pings.under_way = None;
        unready
    }

    async fn no_token(&self) -> Option<Unready> {
        let auth = &self.sources().auth;
        if auth.holds_token() {
            return None;
        }
        // What it answers is told by the state.
        let _ = timeout(TOKEN_TIME, auth.token_when_allowed()).await;
        if auth.holds_token() {
            return None;
        }
        let detail = match self.token() {
            TokenState::Failing { code, .. } => code,
            TokenState::None | TokenState::Held { .. } => "the token endpoint has not answered yet",
        };
        Some(Unready { code: ErrorCode::NoToken.as_str(), detail: detail.to_owned() })
    }

    fn breakers(&self) -> Vec<Unready> {
        let held = self.sources().pace.held().borrow().clone();
        let open = held.sides.into_iter().filter(|side| side.since.is_some());
        open.filter_map(|side| {
            let code = match side.side.as_str() {
                "emit" => "breaker_emit",
                "status" => "breaker_status",
                "token" => "breaker_token",
                _ => return None,
            };
            Some(Unready { code, detail: side.error })
        })
        .collect()
    }
}
