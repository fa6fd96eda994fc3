//! The faults that a seed comes to, all drawn before the first is made: the same seed and length are the same plan.

use std::{process::ExitCode, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::{
    options::{Options, Policy},
    proxy::Weather,
    storm,
};

/// Between two faults, in milliseconds.
const GAP: std::ops::Range<u64> = 150..1_500;
/// The clock is stepped at most so far from the true time, in seconds.
const MAX_STEP: i64 = 2 * 24 * 3600;

/// One fault and when it begins, in milliseconds from the start.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) act: Act,
}

/// What is done.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(crate) enum Act {
    /// SIGKILL; started again after the pause.
    Kill { pause_ms: u64 },
    /// SIGKILL, and once more so long after the start that follows.
    KillStarting { after_ms: u64 },
    /// SIGTERM, which must end in order; started again.
    Terminate,
    /// SIGSTOP; then SIGCONT, or SIGKILL without ever waking up.
    Freeze { ms: u64, killed: bool },
    /// The network between daemon and platform.
    Network { weather: Weather, ms: u64 },
    /// A fault of the platform.
    Storm { rule: Value, ms: u64 },
    /// The platform is out of order.
    Down { how: &'static str, ms: u64 },
    /// Every token so far is void.
    RevokeTokens,
    /// Somebody holds the database's write lock.
    Lock { ms: u64 },
    /// Somebody holds a snapshot, so that the write-ahead log cannot be emptied.
    Snapshot { ms: u64 },
    /// The application is killed in the middle of whatever it writes.
    KillApplication,
    /// The wall clock steps to so many seconds from the true time.
    StepClock { seconds: i64 },
}

impl Act {
    /// For the counts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "SIGKILL",
            Self::KillStarting { .. } => "SIGKILL while starting",
            Self::Terminate => "SIGTERM",
            Self::Freeze { killed: false, .. } => "SIGSTOP, SIGCONT",
            Self::Freeze { killed: true, .. } => "SIGSTOP, SIGKILL",
            Self::Network { weather, .. } => weather.name(),
            Self::Storm { .. } => "platform faults",
            Self::Down { .. } => "platform outages",
            Self::RevokeTokens => "token revocations",
            Self::Lock { .. } => "database locks",
            Self::Snapshot { .. } => "long readers",
            Self::KillApplication => "applications killed",
            Self::StepClock { .. } => "clock steps",
        }
    }

    fn draw(rng: &mut fastrand::Rng, policy: Policy) -> Self {
        let mut ms = |range: std::ops::RangeInclusive<u64>| rng.u64(range);
        let (short, long) = (ms(100..=1_500), ms(300..=4_000));
        match rng.u32(0..100) {
            0..14 => Self::Kill { pause_ms: if rng.bool() { 0 } else { short } },
            14..18 => Self::KillStarting { after_ms: rng.u64(0..250) },
            18..24 => Self::Terminate,
            24..30 => Self::Freeze { ms: long, killed: rng.u32(0..4) == 0 },
            30..50 => Self::Network { weather: Weather::draw(rng), ms: long },
            50..75 => Self::Storm { rule: storm::draw(rng, policy), ms: long },
            75..80 => Self::Down {
                how: rng.choice(["reset", "unavailable", "refuse"]).unwrap_or("reset"),
                ms: short,
            },
            80..84 => Self::RevokeTokens,
            84..90 => Self::Lock { ms: if rng.u32(0..4) == 0 { long + 3_000 } else { short } },
            90..93 => Self::Snapshot { ms: long },
            93..96 => Self::KillApplication,
            _ => Self::StepClock { seconds: step(rng) },
        }
    }
}

/// Mostly minutes, sometimes days, sometimes back to the truth.
fn step(rng: &mut fastrand::Rng) -> i64 {
    match rng.u32(0..4) {
        0 => 0,
        1 => rng.i64(-MAX_STEP..=MAX_STEP),
        _ => rng.i64(-300..=300),
    }
}

/// The plan of a seed.
pub(crate) fn faults(seed: u64, duration: Duration, policy: Policy) -> Vec<Fault> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let end = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut faults = Vec::new();
    let mut at_ms = rng.u64(GAP);
    while at_ms < end {
        faults.push(Fault { at_ms, act: Act::draw(&mut rng, policy) });
        at_ms += rng.u64(GAP);
    }
    faults
}

/// One line a fault.
fn lines(faults: &[Fault]) -> impl Iterator<Item = String> {
    faults.iter().map(|fault| serde_json::to_string(fault).unwrap_or_default())
}

/// FNV-1a of the whole plan: equal plans are seen at a glance.
pub(crate) fn fingerprint(faults: &[Fault]) -> u64 {
    lines(faults)
        .flat_map(String::into_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Prints it, for `--plan`.
pub(crate) fn print(options: &Options) -> ExitCode {
    for line in lines(&faults(options.seed(), options.duration(), options.policy)) {
        println!("{line}");
    }
    ExitCode::SUCCESS
}
