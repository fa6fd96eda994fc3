//! All wiring in one place: opens, builds, spawns, and ends when asked to or when a task dies.

mod options; // what each worker takes of the settings
mod supervise; // the tasks until they have ended

use std::{sync::Arc, time::Instant};

use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Auth, AuthOptions},
    callback::{self, CallbackAddress, CallbackTokens, Desk, DeskOptions},
    cancel::Canceler,
    clock::{ClockSteps, Timestamp},
    command::{Commander, Tools},
    doubt::DoubtClock,
    emit::Emitter,
    http, lifecycle,
    pace::Pace,
    paid::Paid,
    poll::Poller,
    publish,
    reconcile::Reconciler,
    retention::Retention,
    schedule::Schedule,
    settings::{Environment, OnUncertain, Settings},
    settle::Settler,
    store::{self, Binding, Guard, Lease, Reads, StoreError, Writer, inspect::Inspect},
    tresorpay::{HttpOptions, TresorPay, http_client},
    waits::Waits,
    watch,
};
use options::{
    backoff, cancel_options, command_options, doubt_policy, emit_options, longest_waits, paid_options,
    poll_options, reconcile_options, retention_options,
};
use supervise::{Lasting, Tasks, Work, supervise};

/// Why the daemon did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The settings name what this version cannot do, or leave out what it needs.
    #[error("configuration: {0}")]
    Configuration(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client.
    #[error(transparent)]
    Http(#[from] crate::tresorpay::HttpClientError),
    /// A schedule.
    #[error("schedule")]
    Schedule(#[from] tokio_cron_scheduler::JobSchedulerError),
    /// The address of `callback.listen` or `http.listen`.
    #[error("{key}: cannot listen on {address}: {source}. Is another program there? Nothing was sent")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Where.
        address: std::net::SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system gives no random numbers, or `meta` holds no key.
    #[error("no key for the tokens of callbacks: {0}")]
    CallbackKey(&'static str),
    /// A task ended that must not.
    #[error("the task `{task}` ended: {why}")]
    Task {
        /// Its name.
        task: &'static str,
        /// How.
        why: String,
    },
}

impl AppError {
    /// The settings or the database are wrong: starting again changes nothing.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Configuration(_) => true,
            Self::Store(error) => error.is_lasting(),
            Self::Http(_)
            | Self::Schedule(_)
            | Self::Listen { .. }
            | Self::CallbackKey(_)
            | Self::Task { .. } => false,
        }
    }
}

/// What the database file is bound to under these settings.
pub fn binding(settings: &Settings) -> Binding {
    Binding { environment: settings.environment.as_str().to_owned(), api_origin: settings.api.origin() }
}

/// A daemon that is ready and has not begun to work.
pub struct App {
    settings: Settings,
    tasks: Tasks,
    writer: Writer,
    reads: Reads,
    auth: Auth,
    api: TresorPay,
    pace: Pace,
    doubts: DoubtClock,
    callbacks: Option<Callbacks>,
    http: Option<TcpListener>,
    guard: Arc<Guard>,
    lasting: Lasting,
    lease: Lease,
}

/// Where TresorPay's callbacks come in.
struct Callbacks {
    listener: TcpListener,
    tokens: CallbackTokens,
    address: CallbackAddress,
}

impl App {
    /// Opens the database, puts in doubt what a crash left under way, builds the client. Nothing is sent.
    pub async fn open(settings: Settings) -> Result<Self, AppError> {
        let credentials = settings.auth.credentials.clone().ok_or_else(|| {
            AppError::Configuration("auth.client_id and auth.client_secret are not set".to_owned())
        })?;
        let client = http_client(&HttpOptions::new(&settings, settings.api.max_concurrency))?;
        let (path, mark) = (&settings.database.path, &settings.database.mark);
        let opened =
            store::open_for_daemon(path, mark, &binding(&settings), settings.database.max_wal).await?;
        let mut tasks = JoinSet::new();
        let lasting = Lasting::default();
        let writing = lasting.watch(opened.writer_task);
        tasks.spawn(async move { ("writer", writing.await) });
        let doubts = DoubtClock::new(settings.emit.settle_after, Instant::now());
        let now = Timestamp::now();
        let doubted = opened.writer.recover(now, doubt_policy(&settings, now)).await?;
        if doubted > 0 {
            tracing::warn!(
                rows = doubted,
                "requests were under way when the daemon last ended: UNCERTAIN, see `tresorpayd list --status UNCERTAIN`"
            );
        }
        let callbacks = callbacks(&settings, &opened.writer).await?;
        let http = listen_http(&settings).await?;
        let pace = Pace::new(
            settings.api.max_concurrency,
            settings.api.requests_per_second,
            backoff(&settings),
            settings.api.breaker_failures,
        );
        let (auth, actor) = Auth::new(
            client.clone(),
            AuthOptions {
                token_url: settings.auth.token_url.clone(),
                client_id: credentials.client_id,
                client_secret: credentials.client_secret,
                scope: settings.auth.scope.clone(),
                client_authentication: settings.auth.client_authentication,
            },
            pace.clone(),
        );
        Waits::new(opened.writer.clone(), opened.reads.clone(), longest_waits(&settings))
            .cut(Timestamp::now())
            .await?;
        tasks.spawn(async move {
            actor.await;
            ("auth", Ok(()))
        });
        let phones = settings.notice.other_phone_numbers;
        let api = TresorPay::new(client, auth.clone(), settings.api.base_url.clone(), phones);
        Ok(Self {
            settings,
            tasks,
            writer: opened.writer,
            reads: opened.reads,
            auth,
            api,
            pace,
            doubts,
            callbacks,
            http,
            guard: opened.guard,
            lasting,
            lease: opened.lease,
        })
    }

    /// Works until `shutdown`, then finishes what is under way within `shutdown.grace`.
    #[expect(clippy::too_many_lines, reason = "all wiring in one place: it branches nowhere")]
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AppError> {
        let Self {
            settings,
            mut tasks,
            writer,
            reads,
            auth,
            api,
            pace,
            doubts,
            callbacks,
            http,
            guard,
            lasting,
            lease,
        } = self;
        let paid_options = paid_options(&settings);
        let pulse = lease.pulse();
        let shown = match http {
            Some(listener) => Some((listener, http::open(sources(&settings, &writer, &api, &pace)).await)),
            None => None,
        };
        let (emit_wake, poll_wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (command_wake, reconcile_wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let schedule = schedule(&settings, [&emit_wake, &poll_wake, &reconcile_wake]).await?;
        let emitter = Emitter::new(
            writer.clone(),
            reads.clone(),
            api.clone(),
            pace.clone(),
            emit_options(
                &settings,
                doubts.clone(),
                callbacks.as_ref().map(|callbacks| callbacks.address.clone()),
                pulse.clone(),
            ),
        );
        let canceler = Canceler::new(
            writer.clone(),
            reads.clone(),
            api.clone(),
            pace.clone(),
            doubts.clone(),
            cancel_options(&settings),
            shutdown.clone(),
        );
        let settler = (settings.emit.on_uncertain == OnUncertain::Cancel)
            .then(|| Settler::new(canceler.clone(), writer.clone(), reads.clone(), doubts.clone()));
        let work_after_payment = paid_options.have_work();
        let paid =
            Arc::new(Paid::new(writer.clone(), reads.clone(), api.clone(), pace.clone(), paid_options)?);
        let steps = ClockSteps::start(Timestamp::now(), Instant::now());
        let waits = Waits::new(writer.clone(), reads.clone(), longest_waits(&settings));
        let told =
            publish::Told { held: pace.held(), clock: api.clock().changes(), token: auth.token_state() };
        let published = publish::publish(writer.clone(), told, shutdown.clone());
        let held = pace.held();
        let poller = Arc::new(Poller::new(
            writer.clone(),
            reads.clone(),
            api,
            pace.clone(),
            poll_options(&settings, work_after_payment, pulse),
            steps.clone(),
        ));
        let asks = (writer.clone(), reads.clone(), Arc::clone(&poller), pace);
        let reconciler = reconciler(&settings, asks, steps.clone());
        let desk_options =
            DeskOptions { payment_page: settings.api.payment_page.clone(), work_after_payment };
        let desk = callbacks.as_ref().map(|callbacks| {
            let (poller, tokens) = (Arc::clone(&poller), callbacks.tokens.clone());
            Desk::new(writer.clone(), reads.clone(), poller, doubts.clone(), tokens, desk_options)
        });
        let retention = Arc::new(Retention::new(writer.clone(), reads.clone(), retention_options(&settings)));
        let tools = Tools {
            writer,
            reads: reads.clone(),
            poller: Arc::clone(&poller),
            canceler,
            paid: Arc::clone(&paid),
            retention: Arc::clone(&retention),
            doubts,
            payment_page: settings.api.payment_page.clone(),
        };
        let commander = Commander::new(tools, Arc::clone(&emit_wake), command_options(&settings));
        let mut spawn = |task, work: Work| {
            tasks.spawn(async move { (task, work.await) });
        };
        let paid_wake = Arc::new(Notify::new());
        let settle_wake = Arc::new(Notify::new());
        let retention_wake = Arc::new(Notify::new());
        let mut wakes = vec![
            Arc::clone(&command_wake),
            Arc::clone(&emit_wake),
            Arc::clone(&paid_wake),
            Arc::clone(&retention_wake),
        ];
        if let Some(settler) = settler {
            wakes.push(Arc::clone(&settle_wake));
            spawn("settle", lasting.watch(settler.run(settle_wake, shutdown.clone())));
        }
        spawn("watch", lasting.watch(watch::watch(reads.clone(), guard, wakes, shutdown.clone())));
        spawn("emit", lasting.watch(emitter.run(emit_wake, shutdown.clone())));
        spawn("poll", lasting.watch(poller.run(poll_wake, shutdown.clone())));
        spawn("reconcile", lasting.watch(reconciler.run(reconcile_wake, shutdown.clone())));
        spawn("command", lasting.watch(commander.run(command_wake, shutdown.clone())));
        // Also when nothing is wanted any more: rows that waited for it are then done with.
        spawn("paid", lasting.watch(paid.run(paid_wake, shutdown.clone())));
        spawn("retention", lasting.watch(retention.run(retention_wake, shutdown.clone())));
        if let Some((Callbacks { listener, tokens, .. }, desk)) = callbacks.zip(desk) {
            let (hints, queue) = tokio::sync::mpsc::channel(callback::QUEUE);
            let serving = callback::serve(listener, tokens, hints, shutdown.clone());
            spawn(
                "callback",
                Box::pin(async move {
                    serving.await;
                    Ok(())
                }),
            );
            spawn("hints", lasting.watch(callback::work(desk, queue, shutdown.clone())));
        }
        if let Some((listener, view)) = shown {
            let serving = http::serve(listener, view, shutdown.clone());
            spawn(
                "http",
                Box::pin(async move {
                    serving.await;
                    Ok(())
                }),
            );
        }
        let reporting = lifecycle::report(reads, held, shutdown.clone());
        spawn(
            "watchdog",
            Box::pin(async move {
                reporting.await;
                Ok(())
            }),
        );
        spawn("publish", lasting.watch(published));
        let stop = shutdown.clone();
        spawn("clock", Box::pin(async move { waits.keep(steps, schedule, stop).await }));
        drop(auth);
        tell_ready(&settings);
        let ended = supervise(&mut tasks, &shutdown, settings.shutdown.grace).await;
        drop(lease);
        match lasting.take() {
            Some(error) => Err(error.into()),
            None => ended,
        }
    }
}

/// Tells the log and systemd that the daemon works.
fn tell_ready(settings: &Settings) {
    tracing::info!(
        environment = settings.environment.as_str(),
        base_url = settings.api.base_url.as_str(),
        database = %settings.database.path.display(),
        "tresorpayd is ready"
    );
    lifecycle::notify_ready();
    if settings.environment == Environment::Production {
        tracing::info!("production: notices bill real taxpayers");
    }
}

/// Wakes emission, polling and reconciliation.
async fn schedule(settings: &Settings, wakes: [&Arc<Notify>; 3]) -> Result<Schedule, AppError> {
    let schedules = [&settings.emit.schedule, &settings.poll.schedule, &settings.reconcile.schedule];
    let wakes = schedules.into_iter().cloned().zip(wakes.into_iter().cloned()).collect();
    Ok(Schedule::start(wakes).await?)
}

fn reconciler(
    settings: &Settings,
    (writer, reads, poller, pace): (Writer, Reads, Arc<Poller>, Pace),
    steps: ClockSteps,
) -> Reconciler {
    Reconciler::new(writer, reads, poller, pace, reconcile_options(settings), steps)
}

/// Listens for readers, if that is asked for.
async fn listen_http(settings: &Settings) -> Result<Option<TcpListener>, AppError> {
    let Some(address) = settings.http.listen else { return Ok(None) };
    let listener = http::bind(address).await;
    Ok(Some(listener.map_err(|source| AppError::Listen { key: "http.listen", address, source })?))
}

/// What the readers are shown.
fn sources(settings: &Settings, writer: &Writer, api: &TresorPay, pace: &Pace) -> http::Sources {
    http::Sources {
        writer: writer.clone(),
        inspect: Inspect::beside_the_daemon(&settings.database.path),
        auth: api.auth().clone(),
        pace: pace.clone(),
        clock: api.clock().clone(),
        options: http::HttpOptions::new(settings),
    }
}

/// Listens, with the key that tells genuine callbacks, if that is asked for.
async fn callbacks(settings: &Settings, writer: &Writer) -> Result<Option<Callbacks>, AppError> {
    let Some(asked) = &settings.callback else { return Ok(None) };
    let listener = callback::bind(asked.listen).await.map_err(|source| AppError::Listen {
        key: "callback.listen",
        address: asked.listen,
        source,
    })?;
    let new = callback::new_key().map_err(|_| AppError::CallbackKey("the system gives no random numbers"))?;
    let tokens = CallbackTokens::new(&writer.callback_key(new).await?)
        .ok_or(AppError::CallbackKey("`callback_key` in `meta` is no key"))?;
    let address = CallbackAddress::new(asked.public_url.clone(), tokens.clone());
    Ok(Some(Callbacks { listener, tokens, address }))
}
