//! Merged values to settings: one function a section, then what two keys must be to each other.

use std::ops::RangeInclusive;
use std::time::Duration;

use config::ValueKind;
use secrecy::SecretString;

use super::choice::Environment;
use super::cron::CronSchedule;
use super::layers::Merged;
use super::model::{
    Callback, Confirm, Database, Emit, Http, KeyOrigin, Log, NoticeDefaults, Poll, Receipts, Reconcile,
    Retention, Settings, Shutdown,
};
use super::problem::{Problem, SettingsError, shown};
use super::quantity::duration_text;
use super::reader::{Read, Reader, value_shown};
use super::{Need, location, remote, secrets, web};

/// The shortest duration there is: nought makes sense nowhere.
const MOMENT: Duration = Duration::from_millis(1);
const DAYS_30: Duration = Duration::from_hours(24 * 30);
const YEARS_10: Duration = Duration::from_hours(24 * 365 * 10);
const YEARS_100: Duration = Duration::from_hours(24 * 365 * 100);
const MAX_GRACE: Duration = Duration::from_hours(1);
const MAX_ATTEMPTS: u32 = 10_000;
const MAX_UNCERTAIN: u32 = 1_000_000;
const MAX_BATCH: u32 = 1_000;
/// From one page of the database to a disk's worth.
const WAL_BYTES: RangeInclusive<u64> = 4 * 1024..=1024 * 1024 * 1024 * 1024;
const MAX_CODE_CHARS: usize = 255;
const MAX_TOKEN_CHARS: usize = 1_024;

/// Reads every section, then compares keys; every problem found joins `problems`.
pub(super) fn settings(
    merged: &Merged,
    problems: Vec<Problem>,
    need: Need,
) -> Result<Settings, SettingsError> {
    let mut reader = Reader::new(merged, problems);
    let settings = sections(&mut reader, need);
    let problems = reader.into_problems();
    match settings {
        Ok(settings) if problems.is_empty() => Ok(Settings { origins: origins(merged), ..settings }),
        _ => Err(SettingsError { problems }),
    }
}

fn sections(reader: &mut Reader<'_>, need: Need) -> Read<Settings> {
    let environment = reader.choice::<Environment>("environment");
    let api = remote::api(reader, environment.ok(), need);
    let auth = remote::auth(reader, environment.ok(), need);
    let notice = notice(reader);
    let database = database(reader);
    let emit = emit(reader);
    let poll = poll(reader);
    let delivery = reader.choice("confirm.delivery");
    let receipts = reader.optional("receipts.directory", location::absolute);
    let reconcile = reconcile(reader);
    let anonymise_after = reader.optional_duration("retention.anonymise_after", MOMENT..=YEARS_100);
    let http = http(reader);
    let callback = callback(reader);
    let log = log(reader);
    let shutdown = reader.duration("shutdown.grace", MOMENT..=MAX_GRACE).map(|grace| Shutdown { grace });
    compare(reader);
    if let (Ok(http), Ok(Some(callback))) = (&http, &callback) {
        distinct_listeners(reader, http, callback);
    }
    Ok(Settings {
        environment: environment?,
        api: api?,
        auth: auth?,
        notice: notice?,
        database: database?,
        emit: emit?,
        poll: poll?,
        confirm: Confirm { delivery: delivery? },
        receipts: Receipts { directory: receipts? },
        reconcile: reconcile?,
        retention: Retention { anonymise_after: anonymise_after? },
        http: http?,
        callback: callback?,
        log: log?,
        shutdown: shutdown?,
        origins: Vec::new(),
    })
}

fn notice(reader: &mut Reader<'_>) -> Read<NoticeDefaults> {
    let code_client = reader.optional("notice.code_client", code);
    let code_structure = reader.optional("notice.code_structure", code);
    let callback = reader.optional("notice.callback", web::handed_on);
    let redirect_url = reader.optional("notice.redirect_url", web::handed_on);
    let other_phone_numbers = reader.choice("notice.other_phone_numbers");
    Ok(NoticeDefaults {
        code_client: code_client?,
        code_structure: code_structure?,
        callback: callback?,
        redirect_url: redirect_url?,
        other_phone_numbers: other_phone_numbers?,
    })
}

fn database(reader: &mut Reader<'_>) -> Read<Database> {
    let path = reader.text("database.url", location::database);
    let max_wal = reader.size("database.max_wal", WAL_BYTES);
    let beside = path.as_ref().cloned().unwrap_or_default();
    let mark = reader.optional("database.mark", |text| location::mark(text, &beside));
    Ok(Database {
        path: path?,
        mark: mark?.unwrap_or_else(|| location::default_mark(&beside)),
        max_wal: max_wal?,
    })
}

fn emit(reader: &mut Reader<'_>) -> Read<Emit> {
    let schedule = reader.text("emit.schedule", CronSchedule::parse);
    let max_attempts = reader.number("emit.max_attempts", 1..=MAX_ATTEMPTS);
    let on_uncertain = reader.choice("emit.on_uncertain");
    let settle_after = reader.duration("emit.settle_after", MOMENT..=DAYS_30);
    let max_uncertain = reader.number("emit.max_uncertain", 1..=MAX_UNCERTAIN);
    Ok(Emit {
        schedule: schedule?,
        max_attempts: max_attempts?,
        on_uncertain: on_uncertain?,
        settle_after: settle_after?,
        max_uncertain: max_uncertain?,
    })
}

fn poll(reader: &mut Reader<'_>) -> Read<Poll> {
    let schedule = reader.text("poll.schedule", CronSchedule::parse);
    let batch_size = reader.number("poll.batch_size", 1..=MAX_BATCH);
    let first_delay = reader.duration("poll.first_delay", MOMENT..=DAYS_30);
    let max_delay = reader.duration("poll.max_delay", MOMENT..=DAYS_30);
    let give_up_after = reader.duration("poll.give_up_after", MOMENT..=YEARS_10);
    Ok(Poll {
        schedule: schedule?,
        batch_size: batch_size?,
        first_delay: first_delay?,
        max_delay: max_delay?,
        give_up_after: give_up_after?,
    })
}

fn reconcile(reader: &mut Reader<'_>) -> Read<Reconcile> {
    let schedule = reader.text("reconcile.schedule", CronSchedule::parse);
    let window = reader.duration("reconcile.window", MOMENT..=YEARS_10);
    Ok(Reconcile { schedule: schedule?, window: window? })
}

fn http(reader: &mut Reader<'_>) -> Read<Http> {
    let listen = reader.optional("http.listen", location::listen);
    let token = reader.optional("http.token", token);
    if let Ok(Some(listen)) = listen
        && !listen.ip().is_loopback()
        && !reader.is_given("http.token")
    {
        let message =
            format!("{listen} can be reached from other hosts: set http.token, or listen on 127.0.0.1");
        reader.problem("http.listen", message);
    }
    Ok(Http { listen: listen?, token: token?.map(SecretString::from) })
}

/// Both keys or none: a URL that leads nowhere, or a listener that nobody is told of, is a mistake.
fn callback(reader: &mut Reader<'_>) -> Read<Option<Callback>> {
    let listen = reader.optional("callback.listen", location::listen);
    let public_url = reader.optional("callback.public_url", web::endpoint);
    match (listen?, public_url?) {
        (Some(listen), Some(public_url)) => Ok(Some(Callback { listen, public_url })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(reader
                .problem("callback.listen", "needs callback.public_url, the URL that TresorPay is told"))
        }
        (None, Some(_)) => Err(reader
            .problem("callback.public_url", "needs callback.listen, the address that this URL leads to")),
    }
}

fn log(reader: &mut Reader<'_>) -> Read<Log> {
    let level = reader.choice("log.level");
    let format = reader.choice("log.format");
    Ok(Log { level: level?, format: format? })
}

/// What two durations must be to each other, whatever is wrong elsewhere in their sections.
fn compare(reader: &mut Reader<'_>) {
    for (first, last) in
        [("api.retry_first_delay", "api.retry_max_delay"), ("poll.first_delay", "poll.max_delay")]
    {
        if let Some((one, other)) = both(reader, first, last)
            && one > other
        {
            not_so(reader, (first, one), "no more than", (last, other));
        }
    }
    // A connection that takes longer than the whole request may would be a doubt although nothing left.
    let (connect, request) = ("api.connect_timeout", "api.request_timeout");
    if let Some((one, other)) = both(reader, connect, request)
        && !reader.is_default(connect)
        && one > other
    {
        not_so(reader, (connect, one), "no more than", (request, other));
    }
    let grace = "shutdown.grace";
    if let Some((one, other)) = both(reader, grace, request)
        && one <= other
    {
        not_so(reader, (grace, one), "more than", (request, other));
    }
}

fn both(reader: &Reader<'_>, one: &str, other: &str) -> Option<(Duration, Duration)> {
    Some((reader.sound_duration(one)?, reader.sound_duration(other)?))
}

fn not_so(reader: &mut Reader<'_>, wrong: (&str, Duration), relation: &str, other: (&str, Duration)) {
    let (given, limit) = (duration_text(wrong.1), duration_text(other.1));
    let message = format!(
        "\"{given}\": expected {relation} {}, which is {limit} [{}]",
        other.0,
        reader.origin(other.0)
    );
    reader.problem(wrong.0, message);
}

fn distinct_listeners(reader: &mut Reader<'_>, http: &Http, callback: &Callback) {
    let listen = callback.listen;
    if http.listen == Some(listen) && listen.port() != 0 {
        reader.problem(
            "callback.listen",
            format!("{listen} is also http.listen: expected an address of its own"),
        );
    }
}

fn code(text: &str) -> Result<String, String> {
    if text.trim() != text || text.chars().any(char::is_control) || text.chars().count() > MAX_CODE_CHARS {
        return Err(format!(
            "expected up to {MAX_CODE_CHARS} characters, without blanks at the ends or control characters"
        ));
    }
    Ok(text.to_owned())
}

/// It is sent in an HTTP header.
fn token(text: &str) -> Result<String, String> {
    if text.chars().all(|c| c.is_ascii_graphic()) && text.len() <= MAX_TOKEN_CHARS {
        return Ok(text.to_owned());
    }
    Err(format!("expected up to {MAX_TOKEN_CHARS} printable ASCII characters without blanks"))
}

fn origins(merged: &Merged) -> Vec<KeyOrigin> {
    let origin = |(key, entry): (&'static str, &super::layers::Entry)| KeyOrigin {
        key,
        source: entry.origin.clone(),
        value: match &entry.value {
            ValueKind::String(text) => shown(key, secrets::without_line_break(text)),
            other => value_shown(key, other),
        },
    };
    merged.given().map(origin).collect()
}
