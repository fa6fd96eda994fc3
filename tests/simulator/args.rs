//! The command line of the simulator alone.

use std::io::Write;
use std::time::Duration;

use clap::Parser;
use tresorpayd::simulator::{
    Config, Delay, Fault, OnDuplicate, Operation, Rule, SimulatorArgs, start, welcome,
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    simulator: SimulatorArgs,
}

fn config(arguments: &str) -> anyhow::Result<Config> {
    let words = std::iter::once("simulator").chain(arguments.split_whitespace());
    Cli::try_parse_from(words)?.simulator.config()
}

fn range(min_ms: u64, max_ms: u64) -> Delay {
    Delay { min: Duration::from_millis(min_ms), max: Duration::from_millis(max_ms) }
}

#[test]
fn defaults() {
    let config = config("").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8089");
    assert_eq!((config.latency, config.taxpayers.pay_after), (range(20, 20), range(2000, 10_000)));
    assert!((1..=60_001).contains(&config.first_number), "{}", config.first_number);
    assert_eq!(config.client_secret, Config::default().client_secret);
}

#[test]
fn everything_given() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(br#"[{"fault": "latency", "ms": 5}]"#).unwrap();
    let config = config(&format!(
        "--listen [::1]:0 --latency 1ms..1.5s --pay-share 0.1 --cancel-share 0.2 --on-duplicate same --seed 9 \
         --first-number 7 --codes A:B --token-lifetime 1m --idle-close 2s --faults {} \
         --fault operation=emit,fault=lost,times=1",
        file.path().display()
    ))
    .unwrap();
    assert_eq!((config.latency, config.on_duplicate), (range(1, 1500), OnDuplicate::Same));
    assert_eq!((config.seed, config.first_number), (9, 7));
    assert_eq!(config.other_codes, [("A".to_owned(), "B".to_owned())]);
    assert_eq!(
        (config.token_lifetime, config.idle_close),
        (Duration::from_mins(1), Some(Duration::from_secs(2)))
    );
    let latency = Rule::always(Operation::Any, Fault::Latency { ms: 5, jitter_ms: 0 });
    let lost = Rule::once(Operation::Emit, Fault::Lost { processed: true });
    assert_eq!(config.faults, [latency, lost]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, says) in [
        ("--latency 20", "a number and its unit"),
        ("--latency -1s", "unexpected argument"),
        ("--latency=-1s", "out of range"),
        ("--latency 5s..2s", "ends before it begins"),
        ("--codes A", "CLIENT:STRUCTURE"),
        ("--fault fault=oops", "unknown variant `oops`"),
        ("--faults /nowhere/at/all.json", "cannot read /nowhere/at/all.json"),
    ] {
        let error = format!("{:#}", config(arguments).unwrap_err());
        assert!(error.contains(says), "{arguments}: {error}");
    }
}

#[tokio::test]
async fn the_welcome_is_a_configuration() {
    let simulator = start(Config::default()).await.unwrap();
    let text = welcome(&simulator);
    let settings = config::Config::builder()
        .add_source(config::File::from_str(&text, config::FileFormat::Toml))
        .build()
        .unwrap();
    for (key, value) in [
        ("environment", "custom"),
        ("api.base_url", &simulator.base_url()),
        ("api.payment_page", &simulator.payment_page()),
        ("auth.token_url", &simulator.token_url()),
        ("auth.client_id", "demo-client"),
        ("auth.client_secret", "demo-secret"),
        ("notice.code_client", "APP-DEMO"),
        ("notice.code_structure", "STR-DEMO"),
    ] {
        assert_eq!(settings.get_string(key).unwrap(), value, "{key}");
    }
    let own = start(Config { client_secret: "my-own-secret".to_owned(), ..Config::default() }).await.unwrap();
    assert!(!welcome(&own).contains("my-own-secret"));
    assert!(!format!("{:?}", own.config()).contains("my-own-secret"));
}
