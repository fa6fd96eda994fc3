//! Mutated answers against everything that reads one. A panic fails, and so does an answer that is believed too much. The
//! seed repeats it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tresorpayd::{
    auth::judge_token,
    notice::{Amount, Notice, NoticeItem, TaxPayer, TresorPayReference, wire_phone_number},
    settings::OtherPhoneNumbers,
    tresorpay::{
        Answer, Body, CancelAddress, Exchange, MAX_WAIT, Problem, RetryAfter, Scrubber, judge_status,
        judge_statuses,
    },
};

use crate::{
    corpus::{BODIES, NAME, PHONES, REFERENCES, RETRY_AFTER, STATUSES},
    judge,
    mutation::spoilt,
    options::FuzzArgs,
    wire,
};

/// Codes of the application and of its structure: a 404 that names them says nothing of a notice.
const CODES: [&str; 2] = ["APP", "STR"];
/// Failures after which a thread gives up.
const ENOUGH: usize = 5;
/// Longest life of a token that is believed.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// Runs it; fails if anything panicked or was believed that should not be.
pub(crate) fn run(seed: u64, args: &FuzzArgs) -> anyhow::Result<ExitCode> {
    println!("fuzz: seed {seed}, {} answers in memory, {} through a connection", args.count, args.http);
    let address = wire::cancel_address(CODES)?;
    let started = Instant::now();
    let threads = std::thread::available_parallelism()?.get() as u64;
    let failures: Vec<String> = std::thread::scope(|scope| {
        let share = |thread: u64| args.count / threads + u64::from(thread < args.count % threads);
        let run = |thread: u64| {
            let address = address.clone();
            move || thread_of(seed.wrapping_add(thread), share(thread), address)
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|_| vec!["a thread died".to_owned()]))
            .collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    println!("  {} answers judged in {seconds:.1} s, on {threads} threads", args.count);
    let through = wire::run(seed, args.http)?;
    for failure in failures.iter().chain(&through) {
        println!("  ✗ {failure}");
    }
    let broken = !failures.is_empty() || !through.is_empty();
    println!("{}", if broken { "BROKEN" } else { "kept: no panic, and nothing believed that was not said" });
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `count` answers of one thread; what went wrong.
fn thread_of(seed: u64, count: u64, address: CancelAddress) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut failures = Vec::new();
    let mut input = Input::default();
    let bench = Bench::new(address);
    for number in 0..count {
        input.draw(&mut rng);
        let outcome = catch_unwind(AssertUnwindSafe(|| bench.judge(&input)));
        let wrong = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(wrong)) => wrong,
            Err(_) => "a panic, see above".to_owned(),
        };
        failures.push(format!("seed {seed}, answer {number}: {wrong}\n    {input:?}"));
        if failures.len() == ENOUGH {
            break;
        }
    }
    failures
}

/// One mutated answer.
#[derive(Default)]
struct Input {
    status: u16,
    body: Vec<u8>,
    retry_after: Vec<u8>,
    phone: Vec<u8>,
    now: DateTime<Utc>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        write!(
            f,
            "HTTP {}, Retry-After `{}` at {}, body `{}`, phone `{}`",
            self.status,
            text(&self.retry_after),
            self.now,
            text(&self.body),
            text(&self.phone)
        )
    }
}

impl Input {
    fn draw(&mut self, rng: &mut fastrand::Rng) {
        self.status =
            if rng.u32(0..8) == 0 { rng.u16(100..1000) } else { STATUSES[rng.usize(0..STATUSES.len())] };
        spoilt(rng, &BODIES, &mut self.body);
        spoilt(rng, &RETRY_AFTER, &mut self.retry_after);
        spoilt(rng, &PHONES, &mut self.phone);
        // Any time that there is, now and then the extremes.
        self.now = match rng.u32(0..16) {
            0 => DateTime::<Utc>::MAX_UTC,
            1 => DateTime::<Utc>::MIN_UTC,
            _ => DateTime::from_timestamp(rng.i64(0..4_000_000_000), 0).unwrap_or_default(),
        };
    }
}

/// What the judges are given besides the answer.
struct Bench {
    asked: Vec<TresorPayReference>,
    cancel: CancelAddress,
    scrubber: Scrubber,
}

impl Bench {
    fn new(cancel: CancelAddress) -> Self {
        let name = Some(NAME.to_owned());
        let notice = Notice {
            reference: "A-1".to_owned(),
            client_code: "APP".to_owned(),
            structure_code: "STR".to_owned(),
            net_total: Amount(1),
            tax_payer: TaxPayer { name, ..TaxPayer::default() },
            items: Vec::<NoticeItem>::new(),
            payment_modes: None,
            callback: None,
            redirect_url: None,
        };
        let asked = REFERENCES.iter().filter_map(|text| TresorPayReference::parse(text).ok()).collect();
        Self { asked, cancel, scrubber: Scrubber::for_notice(&notice) }
    }

    /// Shows the answer to everything that reads one.
    fn judge(&self, input: &Input) -> Result<(), String> {
        let retry_after = String::from_utf8_lossy(&input.retry_after);
        let retry_after = RetryAfter::parse(&retry_after, input.now);
        if retry_after.is_some_and(|wait| wait.0 > MAX_WAIT) {
            return Err(format!("{retry_after:?} is longer than the longest wait"));
        }
        let exchange = || {
            let body = Body::Whole(input.body.clone());
            Exchange::Answered(Answer { status: input.status, retry_after, body })
        };
        judge::emission(&exchange(), input.status, retry_after, &input.body)?;
        judge::cancel(&exchange(), &self.cancel, CODES, &input.body)?;
        self.problem(input)?;
        self.statuses(&exchange)?;
        if judge_token(input.status, &input.body).is_ok_and(|lifetime| lifetime > MAX_LIFETIME) {
            return Err("a token that lives for ever".to_owned());
        }
        phone(&String::from_utf8_lossy(&input.phone))
    }

    fn problem(&self, input: &Input) -> Result<(), String> {
        let Some(problem) = Problem::parse(input.status, &input.body) else { return Ok(()) };
        let summary = problem.summary();
        if summary.chars().any(char::is_control) || problem.code().is_some_and(|code| !code.is_ascii()) {
            return Err(format!("not one line: {summary:?}"));
        }
        let scrubbed = self.scrubber.scrub(&summary);
        if scrubbed.to_lowercase().contains(&NAME.to_lowercase()) {
            return Err(format!("the payer is named: {scrubbed}"));
        }
        Ok(())
    }

    fn statuses(&self, exchange: &impl Fn() -> Exchange) -> Result<(), String> {
        let one = judge_status(exchange(), &self.asked[0]);
        if one.is_ok_and(|report| report.reference != self.asked[0]) {
            return Err("another notice's status".to_owned());
        }
        for report in judge_statuses(exchange(), &self.asked).unwrap_or_default() {
            let words = [&report.provider, &report.pay_date];
            let clean = words.into_iter().flatten().all(|word| !word.chars().any(char::is_control));
            if !clean || !self.asked.contains(&report.reference) {
                return Err(format!("{report:?}"));
            }
        }
        Ok(())
    }
}

/// Eight national digits, or what was given: no digit is ever cut.
fn phone(given: &str) -> Result<(), String> {
    let sent = wire_phone_number(given, OtherPhoneNumbers::Omit);
    let national = |sent: &str| sent.len() == 8 && sent.bytes().all(|b| b.is_ascii_digit()) && sent >= "6";
    if sent.as_deref().is_some_and(|sent| !national(sent)) {
        return Err(format!("{given:?} became {sent:?}"));
    }
    match wire_phone_number(given, OtherPhoneNumbers::Send) {
        Some(any) if any != given && Some(&any) != sent.as_ref() => Err(format!("{given:?} became {any:?}")),
        _ => Ok(()),
    }
}
