//! All wiring in one place: opens, builds, spawns, and ends when asked to or when a task dies.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Auth, AuthOptions},
    cancel::{CancelOptions, Canceler},
    clock::{ClockSteps, Timestamp},
    command::{CommandOptions, Commander, Tools},
    confirm::{ConfirmOptions, Confirmer},
    doubt::DoubtClock,
    emit::{EmitOptions, Emitter},
    lifecycle,
    notice::Policy,
    pace::{Backoff, Pace},
    poll::{PollOptions, Poller},
    publish,
    schedule::Schedule,
    settings::{Delivery, Environment, OnUncertain, Settings},
    settle::Settler,
    store::{self, Binding, DoubtPolicy, Guard, Lease, Reads, StoreError, Writer},
    tresorpay::{HttpOptions, TresorPay, http_client},
    waits::{LongestWaits, Waits},
    watch,
};

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
            Self::Http(_) | Self::Schedule(_) | Self::Task { .. } => false,
        }
    }
}

/// The first error of a task after which starting again changes nothing.
#[derive(Clone, Default)]
struct Lasting(Arc<Mutex<Option<StoreError>>>);

impl Lasting {
    /// Keeps it, and gives its words.
    fn note(&self, error: StoreError) -> String {
        let why = error.to_string();
        if error.is_lasting() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        why
    }

    /// The task, whose error is noted.
    fn watch(&self, task: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Work {
        let noted = self.clone();
        Box::pin(async move { task.await.map_err(|error| noted.note(error)) })
    }

    fn take(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What the database file is bound to under these settings.
pub fn binding(settings: &Settings) -> Binding {
    Binding { environment: settings.environment.as_str().to_owned(), api_origin: settings.api.origin() }
}

/// A daemon that is ready and has not begun to work.
pub struct App {
    settings: Settings,
    tasks: JoinSet<(&'static str, Result<(), String>)>,
    writer: Writer,
    reads: Reads,
    auth: Auth,
    api: TresorPay,
    pace: Pace,
    doubts: DoubtClock,
    guard: Arc<Guard>,
    lasting: Lasting,
    lease: Lease,
}

impl App {
    /// Opens the database, puts in doubt what a crash left under way, builds the client. Nothing is sent.
    pub async fn open(settings: Settings) -> Result<Self, AppError> {
        let credentials = settings.auth.credentials.clone().ok_or_else(|| {
            AppError::Configuration("auth.client_id and auth.client_secret are not set".to_owned())
        })?;
        let http = http_client(&HttpOptions::new(&settings, settings.api.max_concurrency))?;
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
        let pace = Pace::new(
            settings.api.max_concurrency,
            settings.api.requests_per_second,
            backoff(&settings),
            settings.api.breaker_failures,
        );
        let (auth, actor) = Auth::new(
            http.clone(),
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
        let api = TresorPay::new(http, auth.clone(), settings.api.base_url.clone(), phones);
        Ok(Self {
            settings,
            tasks,
            writer: opened.writer,
            reads: opened.reads,
            auth,
            api,
            pace,
            doubts,
            guard: opened.guard,
            lasting,
            lease: opened.lease,
        })
    }

    /// Works until `shutdown`, then finishes what is under way within `shutdown.grace`.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), AppError> {
        let Self { settings, mut tasks, writer, reads, auth, api, pace, doubts, guard, lasting, lease } =
            self;
        let (emit_wake, poll_wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let command_wake = Arc::new(Notify::new());
        let schedule = Schedule::start(vec![
            (settings.emit.schedule.clone(), Arc::clone(&emit_wake)),
            (settings.poll.schedule.clone(), Arc::clone(&poll_wake)),
        ])
        .await?;
        let emitter = Emitter::new(
            writer.clone(),
            reads.clone(),
            api.clone(),
            pace.clone(),
            emit_options(&settings, doubts.clone()),
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
        let confirmer = Arc::new(Confirmer::new(
            writer.clone(),
            reads.clone(),
            api.clone(),
            pace.clone(),
            confirm_options(&settings),
        ));
        let steps = ClockSteps::start(Timestamp::now(), Instant::now());
        let waits = Waits::new(writer.clone(), reads.clone(), longest_waits(&settings));
        let published =
            publish::publish(writer.clone(), pace.held(), api.clock().changes(), shutdown.clone());
        let held = pace.held();
        let poller = Arc::new(Poller::new(
            writer.clone(),
            reads.clone(),
            api,
            pace,
            poll_options(&settings),
            steps.clone(),
        ));
        let tools = Tools {
            writer,
            reads: reads.clone(),
            poller: Arc::clone(&poller),
            canceler,
            confirmer: Arc::clone(&confirmer),
            doubts,
            payment_page: settings.api.payment_page.clone(),
        };
        let commander = Commander::new(tools, Arc::clone(&emit_wake), command_options(&settings));
        let mut spawn = |task, work: Work| {
            tasks.spawn(async move { (task, work.await) });
        };
        let confirm_wake = Arc::new(Notify::new());
        let settle_wake = Arc::new(Notify::new());
        let mut wakes = vec![Arc::clone(&command_wake), Arc::clone(&emit_wake), Arc::clone(&confirm_wake)];
        if let Some(settler) = settler {
            wakes.push(Arc::clone(&settle_wake));
            spawn("settle", lasting.watch(settler.run(settle_wake, shutdown.clone())));
        }
        spawn("watch", lasting.watch(watch::watch(reads.clone(), guard, wakes, shutdown.clone())));
        spawn("emit", lasting.watch(emitter.run(emit_wake, shutdown.clone())));
        spawn("poll", lasting.watch(poller.run(poll_wake, shutdown.clone())));
        spawn("command", lasting.watch(commander.run(command_wake, shutdown.clone())));
        if settings.confirm.delivery == Delivery::OnPaid {
            spawn("confirm", lasting.watch(confirmer.run(confirm_wake, shutdown.clone())));
        } else {
            // The writer ends once every handle to it is gone, and this is one.
            drop(confirmer);
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
        let ended = supervise(&mut tasks, &shutdown, settings.shutdown.grace).await;
        drop(lease);
        match lasting.take() {
            Some(error) => Err(error.into()),
            None => ended,
        }
    }
}

/// What a task does until it ends.
type Work = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Waits for the tasks. One that ends early ends the process with a failure, after the others have finished what is under
/// way; after `shutdown` all have `grace` to end.
async fn supervise(
    tasks: &mut JoinSet<(&'static str, Result<(), String>)>,
    shutdown: &CancellationToken,
    grace: std::time::Duration,
) -> Result<(), AppError> {
    let deadline = async {
        shutdown.cancelled().await;
        lifecycle::notify_stopping();
        tracing::info!("stopping: nothing more is claimed, what is under way is finished");
        tokio::time::sleep(grace).await;
    };
    tokio::pin!(deadline);
    let mut outcome = Ok(());
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            () = &mut deadline => {
                tracing::warn!("shutdown.grace is over with requests under way or answers that the database did not take: their rows will be UNCERTAIN at the next start");
                tasks.shutdown().await;
                return outcome;
            }
        };
        let failure = match ended {
            None => {
                tracing::info!("stopped");
                return outcome;
            }
            Some(Ok((_, Ok(())))) if shutdown.is_cancelled() => continue,
            Some(Ok((task, result))) => {
                AppError::Task { task, why: result.err().unwrap_or_else(|| "it returned".to_owned()) }
            }
            Some(Err(error)) => AppError::Task { task: "unknown", why: error.to_string() },
        };
        if outcome.is_ok() {
            tracing::error!(error = %failure, "the daemon cannot go on");
            outcome = Err(failure);
        }
        shutdown.cancel();
    }
}

fn backoff(settings: &Settings) -> Backoff {
    Backoff { first: settings.api.retry_first_delay, max: settings.api.retry_max_delay }
}

fn longest_waits(settings: &Settings) -> LongestWaits {
    LongestWaits {
        retry: settings.api.retry_max_delay,
        poll: settings.poll.max_delay.max(settings.poll.first_delay),
    }
}

fn cancel_options(settings: &Settings) -> CancelOptions {
    CancelOptions {
        defaults: settings.notice.clone(),
        max_attempts: settings.emit.max_attempts,
        backoff: backoff(settings),
        payment_page: settings.api.payment_page.clone(),
    }
}

fn doubt_policy(settings: &Settings, now: Timestamp) -> DoubtPolicy {
    let at = now.after(settings.emit.settle_after);
    match settings.emit.on_uncertain {
        OnUncertain::Hold => DoubtPolicy::Hold,
        OnUncertain::Cancel => DoubtPolicy::CancelAt(at),
        OnUncertain::Resend => DoubtPolicy::ResendAt(at),
    }
}

fn emit_options(settings: &Settings, doubts: DoubtClock) -> EmitOptions {
    EmitOptions {
        defaults: settings.notice.clone(),
        max_attempts: settings.emit.max_attempts,
        max_uncertain: settings.emit.max_uncertain,
        backoff: backoff(settings),
        first_poll: settings.poll.first_delay,
        payment_page: settings.api.payment_page.clone(),
        doubts,
        settles: settings.emit.on_uncertain != OnUncertain::Hold,
        resends: settings.emit.on_uncertain == OnUncertain::Resend,
    }
}

fn poll_options(settings: &Settings) -> PollOptions {
    PollOptions {
        batch_size: usize::try_from(settings.poll.batch_size).unwrap_or(usize::MAX),
        first_delay: settings.poll.first_delay,
        max_delay: settings.poll.max_delay,
        give_up_after: settings.poll.give_up_after,
        work_after_payment: settings.confirm.delivery == Delivery::OnPaid,
    }
}

fn command_options(settings: &Settings) -> CommandOptions {
    CommandOptions {
        policy: Policy {
            max_attempts: settings.emit.max_attempts,
            confirms: settings.confirm.delivery != Delivery::Never,
        },
        backoff: backoff(settings),
    }
}

fn confirm_options(settings: &Settings) -> ConfirmOptions {
    ConfirmOptions {
        defaults: settings.notice.clone(),
        backoff: Backoff { first: settings.api.retry_first_delay, max: settings.poll.max_delay },
        automatic: settings.confirm.delivery == Delivery::OnPaid,
    }
}
