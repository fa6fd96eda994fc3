//! What each worker takes of the settings.

use crate::{
    callback::CallbackAddress,
    cancel::CancelOptions,
    clock::Timestamp,
    command::CommandOptions,
    doubt::DoubtClock,
    emit::EmitOptions,
    notice::Policy,
    pace::Backoff,
    paid::PaidOptions,
    poll::PollOptions,
    reconcile::ReconcileOptions,
    retention::RetentionOptions,
    settings::{Delivery, OnUncertain, Settings},
    store::{DoubtPolicy, Pulse},
    waits::LongestWaits,
};

pub(super) fn backoff(settings: &Settings) -> Backoff {
    Backoff { first: settings.api.retry_first_delay, max: settings.api.retry_max_delay }
}

pub(super) fn longest_waits(settings: &Settings) -> LongestWaits {
    LongestWaits {
        retry: settings.api.retry_max_delay,
        poll: settings.poll.max_delay.max(settings.poll.first_delay),
    }
}

pub(super) fn cancel_options(settings: &Settings) -> CancelOptions {
    CancelOptions {
        defaults: settings.notice.clone(),
        max_attempts: settings.emit.max_attempts,
        backoff: backoff(settings),
        payment_page: settings.api.payment_page.clone(),
    }
}

pub(super) fn doubt_policy(settings: &Settings, now: Timestamp) -> DoubtPolicy {
    let at = now.after(settings.emit.settle_after);
    match settings.emit.on_uncertain {
        OnUncertain::Hold => DoubtPolicy::Hold,
        OnUncertain::Cancel => DoubtPolicy::CancelAt(at),
        OnUncertain::Resend => DoubtPolicy::ResendAt(at),
    }
}

pub(super) fn emit_options(
    settings: &Settings,
    doubts: DoubtClock,
    callbacks: Option<CallbackAddress>,
    pulse: Pulse,
) -> EmitOptions {
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
        callbacks,
        pulse,
    }
}

pub(super) fn poll_options(settings: &Settings, work_after_payment: bool, pulse: Pulse) -> PollOptions {
    PollOptions {
        batch_size: usize::try_from(settings.poll.batch_size).unwrap_or(usize::MAX),
        first_delay: settings.poll.first_delay,
        max_delay: settings.poll.max_delay,
        give_up_after: settings.poll.give_up_after,
        work_after_payment,
        pulse,
    }
}

pub(super) fn command_options(settings: &Settings) -> CommandOptions {
    CommandOptions {
        policy: Policy {
            max_attempts: settings.emit.max_attempts,
            confirms: settings.confirm.delivery != Delivery::Never,
            fetches_receipts: settings.receipts.directory.is_some(),
        },
        backoff: backoff(settings),
    }
}

pub(super) fn paid_options(settings: &Settings) -> PaidOptions {
    PaidOptions {
        defaults: settings.notice.clone(),
        backoff: Backoff { first: settings.api.retry_first_delay, max: settings.poll.max_delay },
        call_backoff: backoff(settings),
        confirms: settings.confirm.delivery == Delivery::OnPaid,
        receipts: settings.receipts.directory.clone(),
        calls: settings.callback.is_some(),
    }
}

pub(super) fn retention_options(settings: &Settings) -> RetentionOptions {
    RetentionOptions {
        after: settings.retention.anonymise_after,
        receipts: settings.receipts.directory.clone(),
    }
}

pub(super) fn reconcile_options(settings: &Settings) -> ReconcileOptions {
    ReconcileOptions {
        schedule: settings.reconcile.schedule.clone(),
        window: settings.reconcile.window,
        batch_size: usize::try_from(settings.poll.batch_size).unwrap_or(usize::MAX),
        backoff: backoff(settings),
    }
}
