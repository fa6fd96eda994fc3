//! Signals, and what systemd is told: ready, stopping, a status line, and the watchdog's beat.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{pace::Held, store::Reads};

/// Between status lines when no watchdog asks for more.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);

/// A token that SIGTERM and SIGINT cancel; a second signal ends the process at once.
pub fn shutdown_on_signals() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} };
        next().await;
        token.cancel();
        next().await;
        tracing::warn!(
            "second signal: ending at once; requests under way will be UNCERTAIN at the next start"
        );
        std::process::exit(1);
    });
    Ok(shutdown)
}

/// Tells systemd that the daemon works.
pub fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the daemon is stopping.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Beats for the watchdog and keeps the status line, as long as the database answers, until `shutdown`.
pub async fn report(reads: Reads, held: watch::Receiver<Held>, shutdown: CancellationToken) {
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(STATUS_INTERVAL, |limit| (limit / 2).min(STATUS_INTERVAL));
    loop {
        match reads.queue().await {
            Ok(queue) => {
                let status = format!(
                    "{} waiting, {} under way, {} uncertain, {} unpaid{}",
                    queue.pending,
                    queue.emitting,
                    queue.uncertain,
                    queue.emitted,
                    held_back(&held.borrow())
                );
                let mut news = vec![NotifyState::Status(&status)];
                if watchdog.is_some() {
                    news.push(NotifyState::Watchdog);
                }
                notify(&news);
            }
            // No beat: systemd restarts a daemon whose database is gone for long.
            Err(error) => tracing::error!(%error, "the database does not answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// `; emit held back: timed_out: …`, for the status line.
fn held_back(held: &Held) -> String {
    held.sides
        .iter()
        .fold(String::new(), |line, side| line + &format!("; {} held back: {}", side.side, side.error))
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
