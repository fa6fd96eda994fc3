//! The states of a notice and every move between them: one pure function, [`apply`].
//!
//! The database enforces the same moves by trigger; this is where they are decided.

use std::{fmt, str::FromStr};

/// Where a notice stands. The text form is the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Waits to be emitted.
    Pending,
    /// A request may be under way; committed before it leaves.
    Emitting,
    /// The request left and no answer says what became of it.
    Uncertain,
    /// Refused, and surely nothing exists at TresorPay.
    Rejected,
    /// Exists at TresorPay, not yet paid.
    Emitted,
    /// Paid.
    Paid,
    /// Canceled.
    Canceled,
}

impl Status {
    /// Every status, in the order of a notice's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Emitting,
        Self::Uncertain,
        Self::Rejected,
        Self::Emitted,
        Self::Paid,
        Self::Canceled,
    ];

    /// The text in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Emitting => "EMITTING",
            Self::Uncertain => "UNCERTAIN",
            Self::Rejected => "REJECTED",
            Self::Emitted => "EMITTED",
            Self::Paid => "PAID",
            Self::Canceled => "CANCELED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is none of the seven statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no status; the statuses are PENDING, EMITTING, UNCERTAIN, REJECTED, EMITTED, PAID, CANCELED"
)]
pub struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// Who caused a transition; the text form is the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The emission worker.
    Emit,
    /// The poll worker.
    Poll,
    /// A row of `command`.
    Command,
    /// TresorPay's callback, confirmed by a status request.
    Callback,
    /// The reconciliation.
    Reconcile,
    /// The start after a crash, or after a restore.
    Recovery,
}

impl Source {
    /// The text in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Poll => "poll",
            Self::Command => "command",
            Self::Callback => "callback",
            Self::Reconcile => "reconcile",
            Self::Recovery => "recovery",
        }
    }
}

/// What TresorPay says of a notice that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteStatus {
    /// Live and unpaid: `EMITTED`, also met as `PENDING`.
    Live,
    /// `PAID`, also met as `SUCCESS`.
    Paid,
    /// `CANCELED`, also met as `CANCELLED`.
    Canceled,
    /// A word nobody knows; it changes nothing.
    Unknown(String),
}

impl RemoteStatus {
    /// Reads TresorPay's word; case and blanks at the ends do not matter.
    pub fn from_word(word: &str) -> Self {
        match word.trim().to_ascii_uppercase().as_str() {
            "EMITTED" | "PENDING" => Self::Live,
            "PAID" | "SUCCESS" => Self::Paid,
            "CANCELED" | "CANCELLED" => Self::Canceled,
            _ => Self::Unknown(word.to_owned()),
        }
    }
}

/// What the answer to an emission means for the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// TresorPay gave the notice a reference.
    Created,
    /// Refused; surely nothing exists.
    Refused,
    /// Surely nothing was created, and another try may succeed.
    NotCreated,
    /// Nobody knows.
    Unknown,
}

/// What happens to a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The worker takes it to emit it.
    Claimed,
    /// `emit.on_uncertain = resend` takes it again although in doubt.
    Resent,
    /// The emission ended. `doubted`: an earlier emission of this row is still in doubt, so only "created" ends it.
    Emission {
        /// What the answer means.
        verdict: Verdict,
        /// An earlier attempt is unsettled.
        doubted: bool,
    },
    /// The process died while a request may have been under way.
    Interrupted,
    /// TresorPay told the status of this row's notice.
    Reported(RemoteStatus),
    /// The daemon itself refuses the row before anything was sent.
    Invalid,
    /// It is proven that nothing live remains of an emission in doubt.
    ProvenAbsent,
    /// The database went back in time; this row may have been emitted since.
    Restored,
    /// Canceled where nothing exists at TresorPay, or TresorPay confirmed the cancel.
    Canceled,
    /// An operator asks to try a refused notice again.
    Retried,
}

/// An event that makes no sense for a status: a defect or a race, never applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a notice that is {from} cannot take the event {event:?}")]
pub struct IllegalMove {
    /// The status it has.
    pub from: Status,
    /// The event it was given.
    pub event: Event,
}

/// The status after `event`; the same status where the event changes nothing.
pub fn apply(status: Status, event: &Event) -> Result<Status, IllegalMove> {
    use Status::{Canceled, Emitted, Emitting, Paid, Pending, Rejected, Uncertain};
    let illegal = || Err(IllegalMove { from: status, event: event.clone() });
    match event {
        Event::Claimed => match status {
            Pending => Ok(Emitting),
            Emitting | Uncertain | Rejected | Emitted | Paid | Canceled => illegal(),
        },
        Event::Resent => match status {
            Uncertain => Ok(Emitting),
            Pending | Emitting | Rejected | Emitted | Paid | Canceled => illegal(),
        },
        Event::Emission { verdict, doubted } => match status {
            Emitting => Ok(match (verdict, doubted) {
                (Verdict::Created, _) => Emitted,
                (Verdict::Unknown, _) | (Verdict::Refused | Verdict::NotCreated, true) => Uncertain,
                (Verdict::Refused, false) => Rejected,
                (Verdict::NotCreated, false) => Pending,
            }),
            Pending | Uncertain | Rejected | Emitted | Paid | Canceled => illegal(),
        },
        Event::Interrupted => match status {
            Emitting => Ok(Uncertain),
            Pending | Uncertain | Rejected | Emitted | Paid | Canceled => illegal(),
        },
        Event::Reported(remote) => match (status, remote) {
            (_, RemoteStatus::Unknown(_)) => Ok(status),
            (Emitted | Paid | Canceled, RemoteStatus::Paid) => Ok(Paid),
            (Emitted | Paid | Canceled, RemoteStatus::Canceled) => Ok(Canceled),
            (Emitted | Paid | Canceled, RemoteStatus::Live) => Ok(status),
            (Pending | Rejected | Uncertain, RemoteStatus::Live | RemoteStatus::Paid) => Ok(Emitted),
            (Uncertain, RemoteStatus::Canceled) => Ok(Pending),
            (Pending | Rejected, RemoteStatus::Canceled) => Ok(status),
            (Emitting, RemoteStatus::Live | RemoteStatus::Paid | RemoteStatus::Canceled) => illegal(),
        },
        Event::Invalid => match status {
            Pending => Ok(Rejected),
            Emitting | Uncertain | Rejected | Emitted | Paid | Canceled => illegal(),
        },
        Event::ProvenAbsent => match status {
            Uncertain => Ok(Pending),
            Pending | Emitting | Rejected | Emitted | Paid | Canceled => illegal(),
        },
        Event::Restored => match status {
            Pending | Rejected | Emitting | Uncertain => Ok(Uncertain),
            Emitted | Paid | Canceled => Ok(status),
        },
        Event::Canceled => match status {
            Pending | Rejected | Uncertain | Emitted => Ok(Canceled),
            Canceled => Ok(Canceled),
            Emitting | Paid => illegal(),
        },
        Event::Retried => match status {
            Rejected => Ok(Pending),
            Pending | Emitting | Uncertain | Emitted | Paid | Canceled => illegal(),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Event, RemoteStatus, Status, Verdict, apply};
    use Status::{Canceled, Emitted, Emitting, Paid, Pending, Rejected, Uncertain};

    /// The contract's table of moves, written a second time on purpose.
    fn may_move(from: Status, to: Status) -> bool {
        let leaves_to: &[Status] = match from {
            Pending => &[Emitting, Rejected, Canceled, Emitted, Uncertain],
            Emitting => &[Emitted, Pending, Rejected, Uncertain],
            Uncertain => &[Emitted, Emitting, Pending, Canceled],
            Rejected => &[Pending, Canceled, Emitted, Uncertain],
            Emitted => &[Paid, Canceled],
            Paid => &[Canceled],
            Canceled => &[Paid],
        };
        leaves_to.contains(&to)
    }

    fn event() -> impl Strategy<Value = Event> {
        let verdict = prop_oneof![
            Just(Verdict::Created),
            Just(Verdict::Refused),
            Just(Verdict::NotCreated),
            Just(Verdict::Unknown)
        ];
        let remote = prop_oneof![
            Just(RemoteStatus::Live),
            Just(RemoteStatus::Paid),
            Just(RemoteStatus::Canceled),
            "[A-Z]{1,8}".prop_map(|w| RemoteStatus::from_word(&w)),
        ];
        prop_oneof![
            Just(Event::Claimed),
            Just(Event::Resent),
            (verdict, any::<bool>()).prop_map(|(verdict, doubted)| Event::Emission { verdict, doubted }),
            Just(Event::Interrupted),
            remote.prop_map(Event::Reported),
            Just(Event::Invalid),
            Just(Event::ProvenAbsent),
            Just(Event::Restored),
            Just(Event::Canceled),
            Just(Event::Retried),
        ]
    }

    proptest! {
        #[test]
        fn every_life_follows_the_table(events in prop::collection::vec(event(), 0..40)) {
            let mut status = Pending;
            for event in events {
                if let Ok(next) = apply(status, &event) {
                    prop_assert!(next == status || may_move(status, next), "{} -> {} by {:?}", status, next, event);
                    status = next;
                }
            }
        }

        #[test]
        fn a_doubt_ends_only_by_created(verdict in prop_oneof![Just(Verdict::Refused), Just(Verdict::NotCreated), Just(Verdict::Unknown)]) {
            prop_assert_eq!(apply(Emitting, &Event::Emission { verdict, doubted: true }), Ok(Uncertain));
        }
    }

    #[test]
    fn a_paid_notice_is_never_emitted_again() {
        for event in [Event::Claimed, Event::Resent, Event::Retried, Event::ProvenAbsent] {
            assert!(apply(Paid, &event).is_err());
            assert!(apply(Emitted, &event).is_err());
        }
    }

    #[test]
    fn tresorpay_words() {
        assert_eq!(RemoteStatus::from_word(" success "), RemoteStatus::Paid);
        assert_eq!(RemoteStatus::from_word("CANCELLED"), RemoteStatus::Canceled);
        assert_eq!(RemoteStatus::from_word("PENDING"), RemoteStatus::Live);
        assert_eq!(RemoteStatus::from_word("LOST"), RemoteStatus::Unknown("LOST".into()));
    }
}
