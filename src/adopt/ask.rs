//! What TresorPay says of the notices: asked as reconciliation asks, at a quarter of the rate, so that a daemon that runs
//! beside has the rest.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::{
    auth::{Auth, AuthOptions},
    notice::TresorPayReference,
    pace::{Allowance, Backoff, Pace, Side},
    poll::{Asking, Said, Urgency},
    settings::Settings,
    tresorpay::{HttpClientError, HttpOptions, StatusReport, TresorPay, http_client},
};

/// For so long TresorPay may tell nothing at all before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why TresorPay could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The HTTP client.
    #[error(transparent)]
    Http(#[from] HttpClientError),
    /// No credentials.
    #[error("auth.client_id and auth.client_secret are not set")]
    NoCredentials,
    /// No path.
    #[error("TresorPay knows no path for the status of a notice: check api.base_url")]
    NoPath,
    /// No answer.
    #[error("TresorPay tells nothing: {0}. Nothing was changed; try again later")]
    Silent(String),
}

/// Asks.
pub struct Platform {
    asking: Asking,
    pace: Pace,
    batch: usize,
    retry: Duration,
    patience: Duration,
    actor: JoinHandle<()>,
}

impl Platform {
    /// As the settings say. Within a runtime.
    pub fn new(settings: &Settings) -> Result<Self, AskError> {
        let credentials = settings.auth.credentials.clone().ok_or(AskError::NoCredentials)?;
        let http = http_client(&HttpOptions::new(settings, 1))?;
        let backoff = Backoff { first: settings.api.retry_first_delay, max: settings.api.retry_max_delay };
        let pace = Pace::new(1, settings.api.requests_per_second, backoff, settings.api.breaker_failures);
        let options = AuthOptions {
            token_url: settings.auth.token_url.clone(),
            client_id: credentials.client_id,
            client_secret: credentials.client_secret,
            scope: settings.auth.scope.clone(),
            client_authentication: settings.auth.client_authentication,
        };
        let (auth, actor) = Auth::new(http.clone(), options, pace.clone());
        let phones = settings.notice.other_phone_numbers;
        let api = TresorPay::new(http, auth, settings.api.base_url.clone(), phones);
        Ok(Self {
            asking: Asking::new(api, pace.clone()),
            pace,
            batch: usize::try_from(settings.poll.batch_size).unwrap_or(usize::MAX),
            retry: settings.api.retry_first_delay,
            patience: PATIENCE.max(settings.api.request_timeout * 2),
            actor: tokio::spawn(actor),
        })
    }

    /// What it says of each notice, in order: its status, or why it does not know it. `told` hears how many are done.
    pub async fn statuses(
        &self,
        notices: &[TresorPayReference],
        told: impl Fn(usize),
    ) -> Result<Vec<Result<StatusReport, String>>, AskError> {
        let mut answers: Vec<Option<Result<StatusReport, String>>> = vec![None; notices.len()];
        let mut left: Vec<usize> = (0..notices.len()).collect();
        let mut heard = Instant::now();
        while !left.is_empty() {
            let now = Instant::now();
            let batch = match self.pace.allowance(Side::Status, now) {
                Allowance::Open => self.batch,
                Allowance::Probe => 1,
                Allowance::NotBefore(at) if at < heard + self.patience => {
                    tokio::time::sleep_until(at.into()).await;
                    continue;
                }
                Allowance::NotBefore(_) => return Err(AskError::Silent(self.why())),
                Allowance::ProbeUnderWay => {
                    tokio::time::sleep(self.retry).await;
                    continue;
                }
            };
            let places: Vec<usize> = left.iter().copied().take(batch).collect();
            let asked: Vec<TresorPayReference> = places.iter().map(|place| notices[*place].clone()).collect();
            let said = self.asking.ask(&asked, Urgency::Background).await;
            if said.is_empty() {
                if heard.elapsed() > self.patience {
                    return Err(AskError::Silent(self.why()));
                }
                tokio::time::sleep(self.retry).await;
                continue;
            }
            heard = Instant::now();
            for (place, said) in said {
                answers[places[place]] = Some(match said {
                    Said::Report(report) => Ok(report),
                    Said::Refused(why) => Err(why),
                    Said::NoPath => return Err(AskError::NoPath),
                });
            }
            left.retain(|place| answers[*place].is_none());
            told(notices.len() - left.len());
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// What holds requests back.
    fn why(&self) -> String {
        let held = self.pace.held();
        let sides = held.borrow();
        let error = sides.sides.iter().map(|side| side.error.as_str()).find(|error| !error.is_empty());
        error.unwrap_or("no answer that can be used").to_owned()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.actor.abort();
    }
}
