//! Checks of TresorPay: a token is really asked for, and the API is asked for the status of a notice that cannot exist.

use std::time::{Duration, Instant};

use reqwest::{Client, header::AUTHORIZATION};
use url::Url;

use super::{Finding, network, within};
use crate::{
    auth::{AccessToken, Auth, AuthError, AuthOptions},
    pace::{Backoff, Pace},
    settings::{Credentials, Settings},
    tresorpay::{
        Answer, Body, CLOCK_OFF, Exchange, NoAnswer, Offset, Problem, ServerClock, Unsent, http_client,
        offset_words, send,
    },
};

/// A TresorPay reference that no notice has: the date does not exist.
const NO_NOTICE: &str = "TP00000000.0000.CHECK";
/// Most of the answer that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Names and certificates; token, API and clock.
pub(super) async fn network_and_platform(settings: &Settings) -> (Vec<Finding>, Vec<Finding>) {
    let clock = ServerClock::default();
    tokio::join!(network::check(settings, &clock), check(settings, &clock))
}

/// Token, API and clock, or why nothing can be asked.
async fn check(settings: &Settings, clock: &ServerClock) -> Vec<Finding> {
    let http = match http_client(&network::bounded(settings)) {
        Ok(http) => http,
        Err(error) => return vec![Finding::error("token", &error)],
    };
    let (finding, token) = match settings.auth.credentials.clone() {
        Some(credentials) => {
            let asked = Instant::now();
            let token = token(http.clone(), credentials, settings).await;
            (token_finding(settings, token.as_ref().err(), asked.elapsed()), token.ok())
        }
        None => (Finding::skip("token", "not asked for: there is no account"), None),
    };
    let api = api(&http, settings, token.as_ref(), clock).await;
    [finding, api].into_iter().chain([clock_finding(clock.offset())]).collect()
}

fn clock_finding(offset: Offset) -> Finding {
    match offset {
        Offset::Unknown => Finding::skip("clock", "no answer told the time"),
        Offset::Right => Finding::ok("clock", "within a minute of TresorPay's"),
        Offset::Off(seconds) => Finding::warn(
            "clock",
            format!("{CLOCK_OFF}: this machine is {} TresorPay's", offset_words(seconds)),
            "set it, and let NTP keep it: `timedatectl set-ntp true`",
        ),
    }
}

async fn token(
    http: Client,
    credentials: Credentials,
    settings: &Settings,
) -> Result<AccessToken, AuthError> {
    let backoff = Backoff { first: settings.api.retry_first_delay, max: settings.api.retry_max_delay };
    let (auth, actor) = Auth::new(
        http,
        AuthOptions {
            token_url: settings.auth.token_url.clone(),
            client_id: credentials.client_id,
            client_secret: credentials.client_secret,
            scope: settings.auth.scope.clone(),
            client_authentication: settings.auth.client_authentication,
        },
        Pace::new(1, None, backoff, 1),
    );
    let actor = tokio::spawn(actor);
    let token = auth.token().await;
    actor.abort();
    token
}

fn token_finding(settings: &Settings, error: Option<&AuthError>, took: Duration) -> Finding {
    let url = settings.auth.token_url.as_str();
    match error {
        None => Finding::ok("token", format!("granted by {url} in {} ms", took.as_millis())),
        Some(error @ AuthError::Refused { .. }) => Finding::fail(
            "token",
            format!("{url}: {error}"),
            "check auth.client_id, the client secret, auth.scope and auth.client_authentication",
        ),
        Some(error) => Finding::fail(
            "token",
            format!("{url}: {error}"),
            "check auth.token_url, the network, api.proxy and api.ca_file",
        ),
    }
}

/// Without a token the API is still asked whether it is there.
async fn api(
    http: &Client,
    settings: &Settings,
    token: Option<&AccessToken>,
    clock: &ServerClock,
) -> Finding {
    let mut request = http.get(status_url(&settings.api.base_url));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token.header());
    }
    let asked = Instant::now();
    let exchange = send(request, MAX_BODY, clock).await;
    judge(&exchange, settings.api.base_url.as_str(), token.is_some(), asked.elapsed())
}

fn status_url(base_url: &Url) -> Url {
    let mut url = base_url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["notice-recette", "status", NO_NOTICE]);
    }
    url
}

/// Any answer of the API itself, a refusal too, says that it is reachable.
fn judge(exchange: &Exchange, base_url: &str, with_token: bool, took: Duration) -> Finding {
    const NETWORK: &str = "check api.base_url, the network, api.proxy and api.ca_file";
    let answer = match exchange {
        Exchange::Answered(answer) => answer,
        Exchange::Unsent(Unsent::Unreachable(why) | Unsent::NoToken(why)) => {
            return Finding::fail("api", format!("{base_url} cannot be reached: {why}"), NETWORK);
        }
        Exchange::Unsent(Unsent::Certificate(code, why)) => {
            return Finding::fail("api", format!("{base_url}: {}: {why}", code.as_str()), NETWORK);
        }
        Exchange::Unsent(Unsent::ShuttingDown) => return Finding::fail("api", "not asked", "try again"),
        Exchange::NoAnswer(NoAnswer::TimedOut) => {
            return Finding::fail(
                "api",
                format!(
                    "{base_url} does not answer {}, or within api.request_timeout if that is shorter",
                    within(network::LIMIT)
                ),
                NETWORK,
            );
        }
        Exchange::NoAnswer(NoAnswer::Lost(why)) => {
            return Finding::fail("api", format!("{base_url} gives no answer: {why}"), NETWORK);
        }
    };
    let said = format!("{base_url} answers HTTP {} in {} ms", answer.status, took.as_millis());
    let problem = problem(answer);
    match (answer.status, &problem) {
        (401, _) if !with_token => Finding::ok("api", format!("{said}, for want of a token")),
        (401, _) => Finding::fail(
            "api",
            format!("{said}: it does not accept the token"),
            "are api.base_url and auth.token_url of the same environment, and auth.scope right?",
        ),
        (403, _) => Finding::fail(
            "api",
            format!("{said}: this client or this address has no right"),
            "ask TresorPay whether the client is registered for this API",
        ),
        (429, _) => {
            Finding::warn("api", format!("{said}: too many requests"), "lower api.requests_per_second")
        }
        (200..=299, _) if is_json(answer) => Finding::ok("api", said),
        (404 | 405 | 406 | 415, Some(problem)) if problem.is_about_the_path() => Finding::warn(
            "api",
            format!("{said}: {}", problem.summary()),
            "it says so of an unknown notice or of an unknown path: make sure of api.base_url",
        ),
        (400..=499, Some(problem)) => {
            Finding::ok("api", format!("{said}, as it should: {}", problem.summary()))
        }
        (500.., Some(problem)) => Finding::warn(
            "api",
            format!("{said}: {}", problem.summary()),
            "it is reachable and has an error of its own; if this lasts, tell TresorPay",
        ),
        _ => Finding::fail(
            "api",
            format!("{said}, which is not an answer of the API"),
            "check api.base_url, and whether a proxy or portal stands in between",
        ),
    }
}

fn problem(answer: &Answer) -> Option<Problem> {
    match &answer.body {
        Body::Whole(bytes) => Problem::parse(answer.status, bytes),
        Body::Cut(_) => None,
    }
}

fn is_json(answer: &Answer) -> bool {
    match &answer.body {
        Body::Whole(bytes) => {
            serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|json| json.is_object())
        }
        Body::Cut(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn level(status: u16, body: &str, with_token: bool) -> Level {
        let body = Body::Whole(body.as_bytes().to_vec());
        let exchange = Exchange::Answered(Answer { status, retry_after: None, body });
        judge(&exchange, "https://api.invalid/v1", with_token, Duration::ZERO).result
    }

    fn problem(status: u16, message: &str) -> String {
        format!(r#"{{"type":"t","title":"T","status":{status},"message":"{message}"}}"#)
    }

    #[test]
    fn only_the_api_itself_counts_as_reachable() {
        for (status, body, wanted) in [
            (200, r#"{"reference":"x","status":"EMITTED"}"#.to_owned(), Level::Ok),
            (200, "<html>portal</html>".to_owned(), Level::Fail),
            (404, problem(404, "error.NOTICE_NOT_FOUND"), Level::Ok),
            (400, problem(400, "error.NOTICE_NOT_FOUND"), Level::Ok),
            (404, problem(404, "error.http.404"), Level::Warn),
            (404, "<html>nginx</html>".to_owned(), Level::Fail),
            (500, problem(500, "error.http.500"), Level::Warn),
            (502, "<html>nginx</html>".to_owned(), Level::Fail),
            (301, String::new(), Level::Fail),
            (401, problem(401, "error.http.401"), Level::Fail),
            (403, problem(403, "error.http.403"), Level::Fail),
            (429, String::new(), Level::Warn),
        ] {
            assert_eq!(level(status, &body, true), wanted, "{status} {body}");
        }
        assert_eq!(level(401, "", false), Level::Ok);
    }
}
