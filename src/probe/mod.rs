//! Asks a sandbox what the documentation leaves unknown: emits notices of a small amount, repeats, cancels and polls them in
//! every way that the daemon may have to, and says what it saw and which settings follow. It leaves nothing live.
//!
//! It knows no database. Data walks one way: `session` (one request, paced and recorded) → `answer` (what it says) → the
//! questions (`tokens`, `emissions`, `polls`, `cancels`) → `facts` → `advice` (settings).

mod advice; // facts -> settings
mod answer; // what one answer says
mod cancels; // cancels, and the last of them: nothing is left
mod emissions; // emissions in every form
mod facts; // what is known now
mod polls; // statuses, confirmation, receipt
mod record; // requests and answers as they may be kept
mod session; // one request after another
mod tokens; // the token endpoint

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use advice::Advice;
pub use cancels::Left;
pub use facts::Fact;
pub use record::Recorded;

use crate::{
    settings::{Environment, Settings, is_production},
    tresorpay::HttpClientError,
};
use session::Session;

/// What a notice of the probe comes to, in whole XOF.
pub const AMOUNT: i64 = 100;
/// What the taxpayer of every notice is called.
pub const TAX_PAYER: &str = "Essai tresorpayd";
/// Most requests of a whole run.
pub const MAX_REQUESTS: usize = 150;
/// Notices that a run emits when everything is accepted.
pub const USUAL_NOTICES: usize = 9;

/// What the command line says beside the settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// `codeNatureRecette` of the one item.
    pub nature: String,
    /// Eight national digits.
    pub phone: String,
}

/// Why nothing was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Notices there bill.
    #[error(
        "{url} is the production platform: what is emitted there bills. The probe is for the sandbox, or for a `custom` \
         platform of your own"
    )]
    Production {
        /// Where it would have gone.
        url: String,
    },
    /// The settings name no application or no structure.
    #[error("{0} is not set: a notice needs it")]
    NoCode(&'static str),
    /// The settings have no account.
    #[error("there is no account: set auth.client_id and auth.client_secret")]
    NoAccount,
    /// No connection can be made at all.
    #[error(transparent)]
    Http(#[from] HttpClientError),
}

/// Everything that was learnt.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Where it was asked.
    pub base_url: String,
    /// What every client reference of this run starts with.
    pub prefix: String,
    /// When it began.
    pub started_at: String,
    /// One a question.
    pub facts: Vec<Fact>,
    /// The settings that follow.
    pub settings: Vec<Advice>,
    /// Notices that may be live and could not be canceled.
    pub left: Vec<Left>,
    /// Every request and its answer, without secrets.
    pub exchanges: Vec<Recorded>,
}

/// What is asked about, and on whose behalf.
#[derive(Debug, Clone)]
struct Account {
    code_client: String,
    code_structure: String,
    options: Options,
}

/// Refuses what must not be probed.
pub fn check(settings: &Settings) -> Result<(), ProbeError> {
    let urls = [&settings.api.base_url, &settings.auth.token_url];
    let production =
        urls.into_iter().find(|url| settings.environment == Environment::Production || is_production(url));
    if let Some(url) = production {
        return Err(ProbeError::Production { url: url.to_string() });
    }
    account(settings, None)?;
    if settings.auth.credentials.is_none() {
        return Err(ProbeError::NoAccount);
    }
    Ok(())
}

/// Asks everything, cancels what it emitted, and says what it saw. At most [`MAX_REQUESTS`] requests, each with a time
/// limit; where nobody answers, a fact is unknown and says why. Told to `stop`, it asks nothing more and goes on to the cancels.
pub async fn run(
    settings: &Settings,
    options: Options,
    stop: CancellationToken,
) -> Result<Findings, ProbeError> {
    check(settings)?;
    let account = account(settings, Some(options))?;
    let mut session = Session::new(settings, stop)?;
    let started_at = crate::clock::Timestamp::now();
    let prefix = format!("PROBE-{}-{:04x}", started_at.to_chrono().format("%Y%m%d%H%M%S"), fastrand::u16(..));
    let mut facts = facts::Facts::default();
    let mut notices = cancels::Notices::new(&prefix);
    if tokens::ask(&mut session, &mut facts).await {
        polls::ask_the_unknown(&mut session, &mut facts).await;
        let mut desk = emissions::Desk { session: &mut session, account: &account, notices: &mut notices };
        emissions::ask(&mut desk, &mut facts).await;
    }
    let left = notices.cancel_all(&mut session, &account).await;
    Ok(Findings {
        base_url: session.base_url().to_owned(),
        prefix,
        started_at: started_at.to_string(),
        settings: advice::conclude(&facts),
        facts: facts.all(),
        left,
        exchanges: session.into_record(),
    })
}

fn account(settings: &Settings, options: Option<Options>) -> Result<Account, ProbeError> {
    let options = options.unwrap_or(Options { nature: String::new(), phone: String::new() });
    let code = |key, code: &Option<String>| code.clone().ok_or(ProbeError::NoCode(key));
    Ok(Account {
        code_client: code("notice.code_client", &settings.notice.code_client)?,
        code_structure: code("notice.code_structure", &settings.notice.code_structure)?,
        options,
    })
}
