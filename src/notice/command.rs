//! What a row of `command` means for a row of `outbox`: one pure function, [`decide`], for each action and status.
//!
//! Every arm names its statuses. What is decided here is carried out by whoever asks, in the transaction that read the
//! row; a request to TresorPay changes the row only once it is answered, and then by what the answer says.

use std::str::FromStr;

use super::{Event, Status};

/// What is asked for. The text form is the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Not to be paid any more.
    Cancel,
    /// A refused notice is to be tried again.
    Retry,
    /// TresorPay is to be asked for the status now.
    Poll,
    /// The delivery of what was paid is to be acknowledged.
    ConfirmDelivery,
    /// The PDF receipt is to be fetched.
    FetchReceipt,
    /// An operator knows that the notice in doubt exists, and its TresorPay reference.
    ResolveEmitted,
    /// An operator knows that nothing exists of the notice in doubt.
    ResolveNotEmitted,
    /// The personal data of a finished notice is to go now.
    Anonymise,
    /// Nothing more is to be emitted.
    Pause,
    /// Emission goes on.
    Resume,
}

impl Action {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Cancel,
        Self::Retry,
        Self::Poll,
        Self::ConfirmDelivery,
        Self::FetchReceipt,
        Self::ResolveEmitted,
        Self::ResolveNotEmitted,
        Self::Anonymise,
        Self::Pause,
        Self::Resume,
    ];

    /// The text in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Poll => "poll",
            Self::ConfirmDelivery => "confirm-delivery",
            Self::FetchReceipt => "fetch-receipt",
            Self::ResolveEmitted => "resolve-emitted",
            Self::ResolveNotEmitted => "resolve-not-emitted",
            Self::Anonymise => "anonymise",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// A text that is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no action of a command")]
pub struct UnknownAction(String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| UnknownAction(text.to_owned()))
    }
}

/// What of a row decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it stands.
    pub status: Status,
    /// Emissions that count.
    pub attempts: u32,
    /// Retention took its personal data out.
    pub anonymised: bool,
    /// TresorPay's reference of it is known.
    pub known: bool,
    /// This command has had a cancel sent already.
    pub cancel_sent: bool,
    /// When the delivery was confirmed.
    pub delivery_confirmed_at: Option<String>,
}

/// What of the settings decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// `emit.max_attempts`.
    pub max_attempts: u32,
    /// `confirm.delivery` is not `never`.
    pub confirms: bool,
    /// `receipts.directory` is set.
    pub fetches_receipts: bool,
}

/// A request that a command needs, to TresorPay in all but one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Its status.
    Status,
    /// Cancel an emitted notice.
    Cancel,
    /// Cancel what may exist of an emission in doubt.
    Settle,
    /// Acknowledge the delivery.
    Confirm,
    /// The status of the reference that an operator names.
    LookUp,
    /// Fetch the receipt.
    Receipt,
    /// Take the personal data out, and remove the receipt: a request to this machine's disk.
    Anonymise,
}

/// What a command comes to for its row as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It moves the row at once, and is done.
    Move(Event),
    /// It is done without a change.
    Done(String),
    /// It makes no sense; why, for a person.
    Refuse(String),
    /// It stays open until something else has happened; for what.
    Wait(&'static str),
    /// TresorPay has to be asked first.
    Ask(Request),
    /// The doubt ends by an operator's word, once it is old enough.
    SettleByWord,
}

/// What `action` comes to for `target`.
pub fn decide(action: Action, target: &Target, policy: Policy) -> Decision {
    let refuse = |why: &str| Decision::Refuse(format!("it is {}: {why}", target.status));
    match action {
        Action::Cancel => cancel(target, refuse),
        Action::Retry => retry(target, policy, refuse),
        Action::Poll => poll(target, refuse),
        Action::ConfirmDelivery => confirm(target, policy, refuse),
        Action::FetchReceipt => fetch_receipt(target, policy, refuse),
        Action::ResolveEmitted => resolve_emitted(target.status, refuse),
        Action::ResolveNotEmitted => resolve_not_emitted(target.status, refuse),
        Action::Anonymise => anonymise(target.status, refuse),
        // They are about no row; the schema sees to it.
        Action::Pause | Action::Resume => refuse("this command is about no row"),
    }
}

fn cancel(target: &Target, refuse: impl Fn(&str) -> Decision) -> Decision {
    match target.status {
        Status::Pending | Status::Rejected => Decision::Move(Event::Canceled),
        Status::Emitting => Decision::Wait("waits for the answer to its emission"),
        Status::Uncertain => Decision::Ask(Request::Settle),
        Status::Emitted => Decision::Ask(Request::Cancel),
        Status::Paid => refuse("what was paid is not canceled; a refund is for TresorPay to make"),
        Status::Canceled if target.cancel_sent => {
            Decision::Done("it is CANCELED, as its status at TresorPay says".to_owned())
        }
        Status::Canceled => refuse("there is nothing left to cancel"),
    }
}

fn retry(target: &Target, policy: Policy, refuse: impl Fn(&str) -> Decision) -> Decision {
    match target.status {
        Status::Rejected if target.anonymised => {
            refuse("its personal data was taken out; insert a new row with a new reference")
        }
        Status::Rejected if target.attempts >= policy.max_attempts => Decision::Refuse(format!(
            "it is REJECTED and was sent {} times, which emit.max_attempts allows; raise that, or insert a new row",
            target.attempts
        )),
        Status::Rejected => Decision::Move(Event::Retried),
        Status::Pending => refuse("it is emitted without being asked"),
        Status::Emitting => refuse("a request to emit it may be under way"),
        Status::Uncertain => {
            refuse("nobody knows whether TresorPay has it; find out, then `tresorpayd resolve` it")
        }
        Status::Emitted => refuse("it exists at TresorPay and waits to be paid"),
        Status::Paid => refuse("it is finished"),
        Status::Canceled => refuse("it is finished; insert a new row with a new reference"),
    }
}

fn poll(target: &Target, refuse: impl Fn(&str) -> Decision) -> Decision {
    match target.status {
        // The status of a finished notice should not change; whoever asks wants to see whether it did.
        Status::Emitted | Status::Paid | Status::Canceled if target.known => Decision::Ask(Request::Status),
        Status::Emitted | Status::Paid | Status::Canceled => {
            refuse("TresorPay never had it, so there is nothing to ask about")
        }
        Status::Pending => refuse("it is not emitted yet, so there is nothing to ask about"),
        Status::Emitting => {
            refuse("a request to emit it may be under way; there is nothing to ask about yet")
        }
        Status::Uncertain => refuse(
            "TresorPay is asked by its own reference, which nobody knows; find out, then `tresorpayd resolve` it",
        ),
        Status::Rejected => refuse("nothing exists at TresorPay to ask about"),
    }
}

fn confirm(target: &Target, policy: Policy, refuse: impl Fn(&str) -> Decision) -> Decision {
    match (target.status, &target.delivery_confirmed_at) {
        (Status::Paid, Some(at)) => Decision::Done(format!("its delivery was confirmed already, at {at}")),
        (Status::Paid, None) if policy.confirms => Decision::Ask(Request::Confirm),
        (Status::Paid, None) => refuse("confirm.delivery is `never`; set it to `on_command`"),
        (Status::Pending | Status::Emitting | Status::Uncertain | Status::Emitted, _) => {
            refuse("only what is PAID can be delivered")
        }
        (Status::Rejected | Status::Canceled, _) => refuse("only what is PAID can be delivered"),
    }
}

fn fetch_receipt(target: &Target, policy: Policy, refuse: impl Fn(&str) -> Decision) -> Decision {
    match target.status {
        Status::Paid if target.anonymised => {
            refuse("its personal data was taken out, and a receipt holds it")
        }
        Status::Paid if policy.fetches_receipts => Decision::Ask(Request::Receipt),
        Status::Paid => Decision::Refuse("receipts.directory is not set".to_owned()),
        Status::Pending
        | Status::Emitting
        | Status::Uncertain
        | Status::Rejected
        | Status::Emitted
        | Status::Canceled => refuse("there is a receipt only once it is PAID"),
    }
}

fn resolve_emitted(status: Status, refuse: impl Fn(&str) -> Decision) -> Decision {
    match status {
        Status::Uncertain | Status::Rejected => Decision::Ask(Request::LookUp),
        Status::Emitting => Decision::Wait("waits for the answer to its emission"),
        Status::Pending => refuse("there is no doubt about it; cancel it if it must not be emitted"),
        Status::Emitted | Status::Paid => refuse("there is no doubt about it"),
        Status::Canceled => refuse("it is finished"),
    }
}

fn resolve_not_emitted(status: Status, refuse: impl Fn(&str) -> Decision) -> Decision {
    match status {
        Status::Uncertain => Decision::SettleByWord,
        Status::Emitting => Decision::Wait("waits for the answer to its emission"),
        Status::Rejected => refuse("nothing exists at TresorPay; `tresorpayd retry` sends it again"),
        Status::Pending | Status::Emitted | Status::Paid => refuse("there is no doubt about it"),
        Status::Canceled => refuse("it is finished"),
    }
}

fn anonymise(status: Status, refuse: impl Fn(&str) -> Decision) -> Decision {
    match status {
        // Once more is of use: what was asked of the row since then may hold words too.
        Status::Paid | Status::Canceled | Status::Rejected => Decision::Ask(Request::Anonymise),
        Status::Pending | Status::Emitting | Status::Uncertain | Status::Emitted => {
            refuse("it is not finished, and its data is still needed")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::{Action, Decision, Event, Policy, Request, Target, decide};
    use crate::notice::{Status, apply};

    const POLICY: Policy = Policy { max_attempts: 3, confirms: true, fetches_receipts: false };

    fn target(status: Status) -> Target {
        Target {
            status,
            attempts: 0,
            anonymised: false,
            known: true,
            cancel_sent: false,
            delivery_confirmed_at: None,
        }
    }

    #[test]
    fn what_is_moved_at_once_may_be_moved() {
        for action in Action::ALL {
            for status in Status::ALL {
                if let Decision::Move(event) = decide(action, &target(status), POLICY) {
                    assert!(apply(status, &event).is_ok_and(|to| to != status), "{action:?} {status}");
                }
            }
        }
    }

    #[test]
    fn what_may_be_live_is_never_canceled_by_a_word() {
        for status in [Status::Emitting, Status::Uncertain, Status::Emitted, Status::Paid] {
            let decision = decide(Action::Cancel, &target(status), POLICY);
            assert!(!matches!(decision, Decision::Move(_) | Decision::Done(_)), "{status}: {decision:?}");
        }
    }

    #[test]
    fn a_retry_needs_a_row_that_can_still_be_sent() {
        let rejected = target(Status::Rejected);
        assert_eq!(decide(Action::Retry, &rejected, POLICY), Decision::Move(Event::Retried));
        for spent in
            [Target { attempts: 3, ..rejected.clone() }, Target { anonymised: true, ..rejected.clone() }]
        {
            assert!(matches!(decide(Action::Retry, &spent, POLICY), Decision::Refuse(_)), "{spent:?}");
        }
    }

    #[test]
    fn a_delivery_is_confirmed_once_and_only_if_that_is_wanted() {
        let paid = target(Status::Paid);
        assert_eq!(decide(Action::ConfirmDelivery, &paid, POLICY), Decision::Ask(Request::Confirm));
        let never = Policy { confirms: false, ..POLICY };
        assert!(matches!(decide(Action::ConfirmDelivery, &paid, never), Decision::Refuse(_)));
        let confirmed = Target { delivery_confirmed_at: Some("then".into()), ..paid };
        assert!(matches!(decide(Action::ConfirmDelivery, &confirmed, POLICY), Decision::Done(_)));
    }

    #[test]
    fn a_receipt_is_fetched_of_what_is_paid_and_only_into_a_directory() {
        let policy = Policy { fetches_receipts: true, ..POLICY };
        for status in Status::ALL {
            let fetches =
                decide(Action::FetchReceipt, &target(status), policy) == Decision::Ask(Request::Receipt);
            assert_eq!(fetches, status == Status::Paid, "{status}");
            let anonymised = Target { anonymised: true, ..target(status) };
            assert!(matches!(decide(Action::FetchReceipt, &anonymised, policy), Decision::Refuse(_)));
        }
        assert!(matches!(decide(Action::FetchReceipt, &target(Status::Paid), POLICY), Decision::Refuse(_)));
    }

    #[test]
    fn only_what_is_finished_loses_its_personal_data() {
        for status in Status::ALL {
            let takes =
                decide(Action::Anonymise, &target(status), POLICY) == Decision::Ask(Request::Anonymise);
            let finished = matches!(status, Status::Paid | Status::Canceled | Status::Rejected);
            assert_eq!(takes, finished, "{status}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_that_names_the_status() {
        for action in Action::ALL {
            for status in Status::ALL {
                if let Decision::Refuse(why) = decide(action, &target(status), POLICY) {
                    assert!(!why.contains('\n') && why.len() < 160, "{why}");
                    let about = why.contains(status.as_str()) || why.contains("receipts.directory");
                    assert!(about, "{action:?} {status}: {why}");
                }
            }
        }
    }

    #[test]
    fn actions_are_read_as_they_are_written() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("Cancel".parse::<Action>().is_err());
    }
}
