//! Cron expression to wake-up, nothing else. The jobs only wake: what is due is read from the table by who is woken.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::settings::CronSchedule;

/// Who is woken, and when.
pub type Wakes = Vec<(CronSchedule, Arc<Notify>)>;

/// Wakes each worker on its own schedule, in UTC, which is Mali's time, until dropped or shut down.
pub struct Schedule {
    scheduler: JobScheduler,
    wakes: Wakes,
}

impl Schedule {
    /// Starts waking.
    pub async fn start(wakes: Wakes) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        for (schedule, wake) in &wakes {
            let wake = Arc::clone(wake);
            scheduler.add(Job::new(schedule.as_str(), move |_, _| wake.notify_one())?).await?;
        }
        scheduler.start().await?;
        Ok(Self { scheduler, wakes })
    }

    /// Starts anew after the wall clock was set: the scheduler waits for a time of the old one, which may be years ahead.
    pub async fn restart(mut self) -> Result<Self, JobSchedulerError> {
        self.scheduler.shutdown().await?;
        Self::start(self.wakes).await
    }

    /// Stops waking.
    pub async fn shutdown(mut self) -> Result<(), JobSchedulerError> {
        self.scheduler.shutdown().await
    }
}
