//! Validates what lies beyond this host: the environment, the API, the token endpoint and the account.

use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::Need;
use super::choice::Environment;
use super::model::{Api, Auth, Credentials};
use super::reader::{Noted, Read, Reader};
use super::{location, secrets, web};

const MOMENT: Duration = Duration::from_millis(1);
const MAX_CONNECT: Duration = Duration::from_mins(5);
const MAX_REQUEST: Duration = Duration::from_mins(10);
const MAX_RETRY_DELAY: Duration = Duration::from_hours(24);
const MAX_CONCURRENCY: u32 = 256;
const MAX_REQUESTS_PER_SECOND: u32 = 10_000;
const MAX_BREAKER_FAILURES: u32 = 1_000;

/// Below the API's origin, where nothing says otherwise.
const PAYMENT_PAGE_PATH: &str = "/public/init-paiement";

/// The URLs that go with an environment.
pub(super) struct Endpoints {
    base_url: &'static str,
    token_url: &'static str,
    payment_page: &'static str,
}

const SANDBOX: Endpoints = Endpoints {
    base_url: "https://recette.tresorpay.finances.ml/api/public/v1",
    token_url: "https://recette.auth.finances.ml/realms/tresorpay/protocol/openid-connect/token",
    payment_page: "https://recette.tresorpay.finances.ml/public/init-paiement",
};

const PRODUCTION: Endpoints = Endpoints {
    base_url: "https://tresorpay.ml/api/public/v1",
    token_url: "https://auth.finances.ml/realms/tresorpay/protocol/openid-connect/token",
    payment_page: "https://tresorpay.ml/public/init-paiement",
};

/// Whether the URL leads to a host of the production platform, in whatever environment it is set.
pub fn is_production(url: &Url) -> bool {
    let host = |text: &str| Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
    [PRODUCTION.base_url, PRODUCTION.token_url]
        .into_iter()
        .any(|production| host(production).as_deref() == url.host_str())
}

/// `None` for `custom`, which has no URLs of its own.
fn endpoints(environment: Environment) -> Option<Endpoints> {
    match environment {
        Environment::Sandbox => Some(SANDBOX),
        Environment::Production => Some(PRODUCTION),
        Environment::Custom => None,
    }
}

/// Reads `[api]`. `environment` is none when it could not be read; then no URL is taken to be missing.
pub(super) fn api(reader: &mut Reader<'_>, environment: Option<Environment>, need: Need) -> Read<Api> {
    let known = environment.and_then(endpoints);
    let base_url = own_or(reader, "api.base_url", environment, known.as_ref().map(|known| known.base_url));
    let payment_page = payment_page(reader, base_url.as_ref().ok(), known.as_ref());
    let connect_timeout = reader.duration("api.connect_timeout", MOMENT..=MAX_CONNECT);
    let request_timeout = reader.duration("api.request_timeout", MOMENT..=MAX_REQUEST);
    let proxy = reader.optional("api.proxy", web::proxy);
    let ca_file = reader.optional("api.ca_file", |path| match need {
        Need::Everything => location::readable(path),
        Need::Database => location::absolute(path),
    });
    let max_concurrency = reader.number("api.max_concurrency", 1..=MAX_CONCURRENCY);
    let requests_per_second = reader.number("api.requests_per_second", 0..=MAX_REQUESTS_PER_SECOND);
    let retry_first_delay = reader.duration("api.retry_first_delay", MOMENT..=MAX_RETRY_DELAY);
    let retry_max_delay = reader.duration("api.retry_max_delay", MOMENT..=MAX_RETRY_DELAY);
    let breaker_failures = reader.number("api.breaker_failures", 1..=MAX_BREAKER_FAILURES);
    // The default gives way to a short request_timeout; one that is given is compared with it.
    let connect_timeout = if reader.is_default("api.connect_timeout") {
        connect_timeout?.min(*request_timeout.as_ref().unwrap_or(&MAX_REQUEST))
    } else {
        connect_timeout?
    };
    Ok(Api {
        base_url: base_url?,
        connect_timeout,
        request_timeout: request_timeout?,
        proxy: proxy?,
        ca_file: ca_file?,
        max_concurrency: usize::try_from(max_concurrency?).unwrap_or(usize::MAX),
        requests_per_second: NonZeroU32::new(requests_per_second?),
        retry_first_delay: retry_first_delay?,
        retry_max_delay: retry_max_delay?,
        breaker_failures: breaker_failures?,
        payment_page: payment_page?,
    })
}

/// Reads `[auth]`. The account is looked for only where everything is needed: a person who asks the database
/// something need not be allowed to read the secret.
pub(super) fn auth(reader: &mut Reader<'_>, environment: Option<Environment>, need: Need) -> Read<Auth> {
    let known = environment.and_then(endpoints).map(|known| known.token_url);
    let token_url = own_or(reader, "auth.token_url", environment, known);
    let scope = reader.optional("auth.scope", scope);
    let client_authentication = reader.choice("auth.client_authentication");
    let credentials = match need {
        Need::Everything => credentials(reader).map(Some),
        Need::Database => Ok(None),
    };
    Ok(Auth {
        token_url: token_url?,
        credentials: credentials?,
        scope: scope?,
        client_authentication: client_authentication?,
    })
}

/// The URL given for `key`, or the environment's. `sandbox` and `production` keep their origin: with another one
/// behind its name, an environment's rows would bill, or be called paid, where nobody expects it.
fn own_or(
    reader: &mut Reader<'_>,
    key: &'static str,
    environment: Option<Environment>,
    known: Option<&'static str>,
) -> Read<Url> {
    let given = reader.optional(key, web::endpoint)?;
    let known = known.and_then(|known| Url::parse(known).ok());
    let environment = environment.ok_or(Noted)?;
    match (given, known) {
        (Some(given), Some(known)) if given.origin() != known.origin() => {
            let message = format!(
                "{} is not the origin of environment = \"{environment}\", {}: for another TresorPay set environment = \"custom\"",
                given.origin().ascii_serialization(),
                known.origin().ascii_serialization()
            );
            Err(reader.problem(key, message))
        }
        (Some(url), _) | (None, Some(url)) => Ok(url),
        (None, None) => Err(reader.problem(key, format!("is required with environment = \"{environment}\""))),
    }
}

fn payment_page(reader: &mut Reader<'_>, base_url: Option<&Url>, known: Option<&Endpoints>) -> Read<Url> {
    let default = match known {
        Some(known) => Url::parse(known.payment_page).ok(),
        None => base_url.and_then(|base_url| base_url.join(PAYMENT_PAGE_PATH).ok()),
    };
    // Without a default, the base URL's own problem was noted already.
    reader.optional("api.payment_page", web::endpoint)?.or(default).ok_or(Noted)
}

/// RFC 6749 §3.3: words of printable ASCII, parted by one blank.
fn scope(text: &str) -> Result<String, String> {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
    };
    if text.split(' ').all(is_word) {
        Ok(text.to_owned())
    } else {
        Err("expected words parted by one blank, such as \"openid tresorpay\"".to_owned())
    }
}

fn credentials(reader: &mut Reader<'_>) -> Read<Credentials> {
    let client_id = if reader.is_given("auth.client_id") {
        reader.text("auth.client_id", secrets::credential)
    } else {
        Err(missing(reader, "auth.client_id", "client_id", "this key, or by TRESORPAYD__AUTH__CLIENT_ID"))
    };
    let client_secret = client_secret(reader);
    Ok(Credentials { client_id: client_id?, client_secret: SecretString::from(client_secret?) })
}

fn client_secret(reader: &mut Reader<'_>) -> Read<String> {
    const INLINE: &str = "auth.client_secret";
    const FILE: &str = "auth.client_secret_file";
    match (reader.is_given(INLINE), reader.is_given(FILE)) {
        (true, false) => reader.text(INLINE, secrets::credential),
        (false, true) => reader.text(FILE, secrets::credential_file),
        (true, true) => {
            let other = reader.origin(FILE).to_owned();
            let message = format!("is given, and so is {FILE} [{other}]: keep one, or set the other to \"\"");
            Err(reader.problem(INLINE, message))
        }
        (false, false) => {
            let others = "auth.client_secret_file, or by TRESORPAYD__AUTH__CLIENT_SECRET";
            Err(missing(reader, INLINE, "client_secret", others))
        }
    }
}

fn missing(reader: &mut Reader<'_>, key: &str, credential: &str, others: &str) -> Noted {
    if reader.is_noted(key) {
        return Noted;
    }
    reader.problem(key, format!("is required: give it by the systemd credential {credential}, by {others}"))
}
