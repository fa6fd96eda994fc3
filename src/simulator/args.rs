//! `tresorpayd simulator`: the command line of the simulator alone, and what it tells its user at the start.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{Timelike, Utc};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{
    Config, Delay, ExpiresIn, OnDuplicate, OnRepeatedCancel, PhoneNumbers, ProblemType, Taxpayers,
};
use super::handle::{Simulator, start};
use super::ledger::{Ledger, NoticeStatus};
use super::rule::Rule;
use super::unknown::{AcceptedAuthentication, OnCanceled, OnUnknownCancel, UnknownInBatch};

/// The secret that may be shown, because everybody knows it.
const DEMO_SECRET: &str = "demo-secret";

/// Run a simulated TresorPay on this machine, for an application's own integration tests
#[derive(Clone, clap::Args)]
pub struct SimulatorArgs {
    /// Loopback address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8089")]
    pub listen: SocketAddr,

    /// OAuth2 client that the token endpoint knows
    #[arg(long, value_name = "ID", default_value = "demo-client")]
    pub client_id: String,

    /// Its secret; better given in the environment, where other users of this machine do not see it
    #[arg(
        long,
        value_name = "SECRET",
        default_value = DEMO_SECRET,
        env = "TRESORPAYD_SIMULATOR_SECRET",
        hide_env_values = true
    )]
    pub client_secret: String,

    /// Code of the registered application
    #[arg(long, value_name = "CODE", default_value = "APP-DEMO")]
    pub code_client: String,

    /// Code of the structure it is registered in
    #[arg(long, value_name = "CODE", default_value = "STR-DEMO")]
    pub code_structure: String,

    /// Another registered application and its structure; may be repeated
    #[arg(long, value_name = "CLIENT:STRUCTURE", value_parser = codes)]
    pub codes: Vec<(String, String)>,

    /// Decides what each taxpayer does: the same seed, the same payments
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,

    /// Number in the first reference; by default from the clock, so that a restart gives no reference twice
    #[arg(long, value_name = "NUMBER")]
    pub first_number: Option<u64>,

    /// How late every answer is: 20ms, or a range 20ms..200ms
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = delay)]
    pub latency: Delay,

    /// Share of notices that get paid
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub pay_share: f64,

    /// How long after the emission they are paid
    #[arg(long, value_name = "TIME", default_value = "2s..10s", value_parser = delay)]
    pub pay_after: Delay,

    /// Share of notices that are canceled at TresorPay
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub cancel_share: f64,

    /// How long after the emission they are canceled
    #[arg(long, value_name = "TIME", default_value = "2s..10s", value_parser = delay)]
    pub cancel_after: Delay,

    /// What a second emission of a live client reference is answered
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    pub on_duplicate: OnDuplicate,

    /// What a second cancellation is answered
    #[arg(long, value_name = "WHAT", default_value = "answer")]
    pub on_repeated_cancel: OnRepeatedCancel,

    /// What an emission of a canceled client reference is answered
    #[arg(long, value_name = "WHAT", default_value = "create")]
    pub on_canceled: OnCanceled,

    /// What a cancellation of a client reference that was never emitted is answered
    #[arg(long, value_name = "WHAT", default_value = "not-found")]
    pub on_unknown_cancel: OnUnknownCancel,

    /// What becomes of unknown references in a request for many statuses
    #[arg(long, value_name = "WHAT", default_value = "omit")]
    pub unknown_in_batch: UnknownInBatch,

    /// How the token endpoint's client may show its secret
    #[arg(long, value_name = "HOW", default_value = "any")]
    pub client_authentication: AcceptedAuthentication,

    /// Which phone numbers are accepted
    #[arg(long, value_name = "WHICH", default_value = "national")]
    pub phone_numbers: PhoneNumbers,

    /// How long an access token is accepted
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub token_lifetime: Duration,

    /// How the token answer states its lifetime
    #[arg(long, value_name = "HOW", default_value = "number")]
    pub expires_in: ExpiresIn,

    /// Content type of problem documents
    #[arg(long, value_name = "TYPE", default_value = "problem-json")]
    pub problem_type: ProblemType,

    /// Close kept-alive connections that have been idle so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub idle_close: Option<Duration>,

    /// A fault rule, such as operation=emit,fault=lost,times=1; may be repeated
    #[arg(long, value_name = "RULE")]
    pub fault: Vec<Rule>,

    /// A JSON file with an array of fault rules
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,

    /// Print the addresses as one line of JSON, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Leaves the secret out.
impl fmt::Debug for SimulatorArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatorArgs")
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl SimulatorArgs {
    /// The configuration that the command line asks for; reads the file of fault rules.
    pub fn config(self) -> anyhow::Result<Config> {
        let mut faults = match &self.faults {
            None => Vec::new(),
            Some(path) => {
                let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&text).with_context(|| format!("in {}", path.display()))?
            }
        };
        faults.extend(self.fault);
        Ok(Config {
            listen: self.listen,
            client_id: self.client_id,
            client_secret: self.client_secret,
            code_client: self.code_client,
            code_structure: self.code_structure,
            other_codes: self.codes,
            seed: self.seed,
            first_number: self.first_number.unwrap_or_else(number_by_clock),
            latency: self.latency,
            taxpayers: Taxpayers {
                pay_share: self.pay_share,
                pay_after: self.pay_after,
                cancel_share: self.cancel_share,
                cancel_after: self.cancel_after,
            },
            on_duplicate: self.on_duplicate,
            on_repeated_cancel: self.on_repeated_cancel,
            on_canceled: self.on_canceled,
            on_unknown_cancel: self.on_unknown_cancel,
            unknown_in_batch: self.unknown_in_batch,
            client_authentication: self.client_authentication,
            phone_numbers: self.phone_numbers,
            token_lifetime: self.token_lifetime,
            expires_in: self.expires_in,
            problem_type: self.problem_type,
            idle_close: self.idle_close,
            faults,
        })
    }
}

/// Runs the simulator until SIGINT or SIGTERM.
pub async fn run(args: SimulatorArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let simulator = start(args.config()?).await?;
    anstream::println!("{}", if json { addresses(&simulator) } else { welcome(&simulator) });
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    let ledger = simulator.ledger();
    simulator.shutdown().await;
    if !json {
        anstream::println!("{}", farewell(&ledger));
    }
    Ok(ExitCode::SUCCESS)
}

/// The number of milliseconds into this minute: references hold the minute, so a simulator that is started again
/// within it goes on above the numbers it gave before, at any rate of emission a person can cause.
fn number_by_clock() -> u64 {
    let now = Utc::now();
    u64::from(now.second()) * 1000 + u64::from(now.timestamp_subsec_millis() % 1000) + 1
}

fn addresses(simulator: &Simulator) -> String {
    json!({
        "base_url": simulator.base_url(),
        "token_url": simulator.token_url(),
        "payment_page": simulator.payment_page(),
        "control_url": simulator.control_url(),
    })
    .to_string()
}

/// Settings for tresorpayd and requests to try, both ready to be copied.
pub fn welcome(simulator: &Simulator) -> String {
    let config = simulator.config();
    let (base, token, control) = (simulator.base_url(), simulator.token_url(), simulator.control_url());
    let secret = if config.client_secret == DEMO_SECRET { DEMO_SECRET } else { "(the one you gave)" };
    let mut text =
        format!("# Simulated TresorPay on {}, in memory; stop it with Ctrl-C\n", simulator.origin());
    let _ = write!(
        text,
        "\n\
         environment = \"custom\"\n\
         [api]\n\
         base_url = {base:?}\n\
         payment_page = {:?}\n\
         [auth]\n\
         token_url = {token:?}\n\
         client_id = {:?}\n\
         client_secret = {secret:?}\n\
         [notice]\n\
         code_client = {:?}\n\
         code_structure = {:?}\n\
         \n\
         # See what it knows, pay a notice, lose the answer of the next emission:\n\
         #   curl {control}/ledger\n\
         #   curl -X POST {control}/pay/REFERENCE\n\
         #   curl -X POST {control}/faults -d '{{\"operation\":\"emit\",\"fault\":\"lost\",\"times\":1}}'\n\
         # Ask it for a token, as an application does:\n\
         #   curl {token} -d grant_type=client_credentials -d client_id={} -d client_secret={}\n",
        simulator.payment_page(),
        config.client_id,
        config.code_client,
        config.code_structure,
        config.client_id,
        if secret == DEMO_SECRET { DEMO_SECRET } else { "..." },
    );
    text
}

/// What was left when it ended.
fn farewell(ledger: &Ledger) -> String {
    let count = |status| ledger.notices.iter().filter(|notice| notice.status == status).count();
    let mut text = format!(
        "# {} notices: {} paid, {} canceled, {} open",
        ledger.notices.len(),
        count(NoticeStatus::Paid),
        count(NoticeStatus::Canceled),
        count(NoticeStatus::Emitted)
    );
    let twice = ledger.billed_twice();
    if !twice.is_empty() {
        let _ = write!(text, "; billed twice: {}", twice.join(", "));
    }
    text
}

fn codes(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((client, structure)) if !client.is_empty() && !structure.is_empty() => {
            Ok((client.to_owned(), structure.to_owned()))
        }
        _ => Err("write CLIENT:STRUCTURE".to_owned()),
    }
}

fn delay(text: &str) -> anyhow::Result<Delay> {
    let Some((min, max)) = text.split_once("..") else { return Ok(duration(text)?.into()) };
    let (min, max) = (duration(min)?, duration(max)?);
    if max < min {
        bail!("the range ends before it begins");
    }
    Ok(Delay { min, max })
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => bail!("write a number and its unit (ms, s, m or h), as in 20ms or 1.5s"),
    };
    let number: f64 = number.trim().parse().context("not a number")?;
    Duration::try_from_secs_f64(number * unit_ms / 1000.0).context("out of range")
}
