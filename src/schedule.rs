//! Cron expression to wake-up, nothing else. The jobs only wake: what is due is read from the table by who is woken.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::settings::CronSchedule;

/// Wakes each worker on its own schedule, in UTC, which is Mali's time, until dropped or shut down.
pub struct Schedule {
    scheduler: JobScheduler,
}

impl Schedule {
    /// Starts waking.
    pub async fn start(wakes: &[(&CronSchedule, Arc<Notify>)]) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        for (schedule, wake) in wakes {
            let wake = Arc::clone(wake);
            scheduler.add(Job::new(schedule.as_str(), move |_, _| wake.notify_one())?).await?;
        }
        scheduler.start().await?;
        Ok(Self { scheduler })
    }

    /// Stops waking.
    pub async fn shutdown(mut self) -> Result<(), JobSchedulerError> {
        self.scheduler.shutdown().await
    }
}
