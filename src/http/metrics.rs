//! `/metrics`: the instruments, and the outbox as it was a moment ago, in Prometheus's text format. A database that cannot
//! be read is told as such; the instruments are shown all the same.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text},
    metrics::{MetricType, info::Info},
    registry::Registry,
};

use super::{View, view::Snapshot};
use crate::{
    auth::TokenState,
    clock::Timestamp,
    notice::{Source, Status},
    pace::Side,
    publish,
};

/// Prometheus's text format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Before every name.
const PREFIX: &str = "tresorpayd";
/// Who can have made a row what it became.
const SOURCES: [&str; 7] = [
    "application",
    Source::Emit.as_str(),
    Source::Poll.as_str(),
    Source::Command.as_str(),
    Source::Callback.as_str(),
    Source::Reconcile.as_str(),
    Source::Recovery.as_str(),
];

/// Everything that is shown.
pub(super) struct Metrics {
    registry: Registry,
    moment: Moment,
}

/// What the collector shows; set before each rendering.
#[derive(Clone, Default)]
struct Moment(Arc<Mutex<Option<Looked>>>);

/// What was seen for this scrape.
struct Looked {
    view: Arc<View>,
    snapshot: Option<Arc<Snapshot>>,
    requests: publish::State,
    token: TokenState,
    at: Instant,
}

impl Metrics {
    pub(super) fn new(view: &View) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = [("version", env!("CARGO_PKG_VERSION")), ("environment", view.options().environment)];
        registry.register("build", "Version and environment of the running daemon", Info::new(build));
        view.sources().pace.requests().register(&mut registry);
        view.sources().writer.commits().register(&mut registry);
        let moment = Moment::default();
        registry.register_collector(Box::new(moment.clone()));
        Self { registry, moment }
    }

    fn render(&self, looked: Looked) -> Result<String, fmt::Error> {
        // Held while it is rendered: one scrape shows one moment.
        let mut text = String::new();
        self.moment.set(Some(looked));
        let rendered = prometheus_text::encode(&mut text, &self.registry);
        self.moment.set(None);
        rendered.map(|()| text)
    }
}

impl Moment {
    fn set(&self, looked: Option<Looked>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = looked;
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moment")
    }
}

/// Answers `/metrics`.
pub(super) async fn metrics(State((view, metrics)): State<(Arc<View>, Arc<Metrics>)>) -> Response {
    let snapshot = view.snapshot().await.ok();
    let looked = Looked {
        requests: view.requests(),
        token: view.token(),
        at: Instant::now(),
        snapshot,
        view: Arc::clone(&view),
    };
    match metrics.render(looked) {
        Ok(text) => ([(CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(looked) => looked.encode(Shown(encoder)),
            None => Ok(()),
        }
    }
}

impl Looked {
    fn encode(&self, mut shown: Shown<'_>) -> fmt::Result {
        self.daemon(&mut shown)?;
        shown.gauge(
            "database_readable",
            "1: the figures of the outbox are here; 0: it could not be read in time, and they are not",
            i64::from(self.snapshot.is_some()),
        )?;
        match &self.snapshot {
            Some(snapshot) => outbox(snapshot, &mut shown),
            None => Ok(()),
        }
    }

    /// What the daemon knows of itself.
    fn daemon(&self, shown: &mut Shown<'_>) -> fmt::Result {
        let started = self.view.started_at().to_chrono().timestamp();
        shown.gauge("start_time_seconds", "When the daemon was started, as a Unix time", started)?;
        shown.gauge("uptime_seconds", "Since it was started", whole(self.view.uptime().as_secs()))?;
        let open = |side: &Side| self.requests.held.sides.iter().any(|held| held.side == side.as_str());
        shown.gauges(
            "breaker_open",
            "1: requests of this side are held back, and one probe at a time leaves",
            "side",
            Side::ALL.iter().map(|side| (side.as_str(), i64::from(open(side)))),
        )?;
        let now = Timestamp::now();
        let until = self.requests.held.paused_until.as_deref().and_then(Timestamp::parse);
        shown.gauge(
            "retry_after_seconds",
            "For how long TresorPay has asked the daemon to wait; 0: it has not",
            until.map_or(0, |until| whole(until.since(now).as_secs())),
        )?;
        shown.gauge(
            "clock_offset_seconds",
            "By how much this machine's clock is ahead of TresorPay's, if it is off by more than a minute; else 0",
            self.requests.clock_off.unwrap_or(0),
        )?;
        let expires =
            self.token.usable_until().map_or(0, |until| until.saturating_duration_since(self.at).as_secs());
        shown.gauge(
            "token_expires_seconds",
            "For how long the token may still be used; 0: none is held",
            whole(expires),
        )?;
        let failing = matches!(self.token, TokenState::Failing { .. });
        shown.gauge(
            "token_failing",
            "1: the token endpoint's last answer was no token",
            i64::from(failing),
        )?;
        if let Some(room) = self.view.room() {
            shown.gauge(
                "database_free_bytes",
                "Room that is left on the disk of the database; 0 if it is read-only",
                if room.read_only { 0 } else { whole(room.free) },
            )?;
        }
        let options = self.view.options();
        shown.gauge(
            "wal_limit_bytes",
            "database.max_wal: above it nothing is emitted",
            whole(options.max_wal),
        )?;
        shown.gauge(
            "uncertain_limit",
            "emit.max_uncertain: while so many rows are UNCERTAIN nothing is emitted",
            i64::from(options.max_uncertain),
        )
    }
}

/// What the outbox says.
fn outbox(snapshot: &Snapshot, shown: &mut Shown<'_>) -> fmt::Result {
    let (figures, now) = (&snapshot.figures, snapshot.now);
    let summary = &figures.summary;
    shown.gauges(
        "notices",
        "Rows of the outbox in each status",
        "status",
        summary.statuses.iter().map(|count| (count.status.as_str(), count.rows)),
    )?;
    let age =
        |since: Option<&str>| since.and_then(Timestamp::parse).map_or(0, |at| whole(now.since(at).as_secs()));
    let oldest_due = summary.oldest_waiting.as_ref().map(|waiting| waiting.since.as_str());
    shown.gauges(
        "oldest_seconds",
        "PENDING: for how long the row that is due longest has been due; UNCERTAIN: for how long the oldest doubt lasts; \
         EMITTED: by how much the next status request is late",
        "status",
        [
            (Status::Pending.as_str(), age(oldest_due)),
            (Status::Uncertain.as_str(), age(figures.uncertain_since.as_deref())),
            (Status::Emitted.as_str(), age(summary.next_poll.as_deref())),
        ],
    )?;
    shown.gauge(
        "rejected_last_day",
        "Rows that became REJECTED within a day; 100,000 at the most are counted",
        summary.rejected_since,
    )?;
    shown.gauge("commands_open", "Commands that are not carried out yet", summary.open_commands)?;
    shown.gauge(
        "emission_paused",
        "1: emission is paused by command",
        i64::from(summary.paused.is_some()),
    )?;
    shown.gauge(
        "second_live_notices",
        "Notices that are live at TresorPay beside a row's own: somebody may pay twice",
        whole(u64::try_from(snapshot.seconds.len()).unwrap_or(u64::MAX)),
    )?;
    shown.gauge(
        "drifted_last_week",
        "Finished notices that reconciliation found changed at TresorPay within a week",
        snapshot.reconciled.drifted,
    )?;
    let last = snapshot.reconciled.state.last.as_ref();
    shown.gauge(
        "reconciliation_flagged",
        "Notices that the last reconciliation found live or unknown at TresorPay though finished here",
        last.map_or(0, |run| whole(run.flagged)),
    )?;
    shown.gauge("database_bytes", "Size of the database file", whole(figures.sizes.0))?;
    shown.gauge("wal_bytes", "Size of the write-ahead log beside it", whole(figures.sizes.1))?;
    let moves = |of: fn(&crate::store::inspect::Moved) -> u64| {
        Status::ALL.into_iter().flat_map(move |status| {
            SOURCES.into_iter().map(move |source| {
                let key = (status.as_str().to_owned(), source.to_owned());
                let moved = snapshot.happened.moves.get(&key).copied().unwrap_or_default();
                ([("to", status.as_str()), ("source", source)], of(&moved))
            })
        })
    };
    // What cannot be is left out: it would only be zeros.
    let possible = |([(_, to), (_, source)], total): &([(&'static str, &'static str); 2], u64)| {
        *total > 0
            || matches!(
                (*to, *source),
                ("EMITTED" | "REJECTED" | "UNCERTAIN", "emit") | ("PAID" | "CANCELED", "poll")
            )
    };
    shown.counters(
        "transitions",
        "Changes of status since the daemon was started, by what the row became and who made it so",
        moves(|moved| moved.rows).filter(possible),
    )?;
    shown.counters(
        "transition_amount_xof",
        "What the rows of these changes come to, in XOF, since the daemon was started",
        moves(|moved| moved.amount).filter(possible),
    )
}

/// Where metrics are written to.
struct Shown<'a>(DescriptorEncoder<'a>);

impl Shown<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.0.encode_descriptor(name, &sentence(help), None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, i64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, &sentence(help), None, MetricType::Gauge)?;
        for (word, value) in values {
            encoder.encode_family(&[(label, word)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, &'static str); 2], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, &sentence(help), None, MetricType::Counter)?;
        for (labels, value) in values {
            let mut counter = encoder.encode_family(&labels)?;
            counter.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// As the registry writes the help of what is registered.
fn sentence(help: &str) -> String {
    format!("{help}.")
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
