//! The built-in TresorPay: its API and its Keycloak token endpoint on a loopback address, in memory. It is a peer
//! and no mock: it checks what it receives, keeps its own ledger, lets simulated taxpayers pay, and does on demand
//! everything that a platform and a network can do wrong.
//!
//! It shares no type with the client on purpose. If both sides used one definition, an error in it would be
//! invisible to every test.
//!
//! Data walks one way: `server` (connections) → `service` (one request) → `call` (understood) → `rules` (which fault)
//! → `perform` (the work) → `book` (the notices) → `answer` (what goes back).

mod answer; // an answer, and the ways it can fail to arrive
mod args; // the command line of the simulator alone
mod book; // the notices and their moves
mod call; // a request, read and understood
mod callback; // the call to a paid notice's URL
mod config; // what a simulator is started with
mod control; // the control API
mod counting; // counts requests as they come and end
mod fault; // the vocabulary of faults
mod handle; // the running simulator, for tests and the demo
mod keycloak; // the token endpoint
mod ledger; // what a test reads
mod page; // the taxpayer's payment page
mod perform; // carries out what a request asks
mod problem; // problem documents
mod receipt; // the PDF receipt
mod rule; // when a fault strikes
mod rules; // the rules in force
mod server; // connections, and how they end
mod service; // one request from its head to its answer
mod site; // what every connection shares
mod spoil; // makes a right answer wrong
mod taxpayer; // who pays, when and through whom
mod unknown; // what nobody knows of TresorPay
mod validate; // the rules that a request's fields must keep
mod wire; // the JSON on the wire

pub use args::{SimulatorArgs, run, welcome};
pub use config::{
    Config, Delay, ExpiresIn, OnDuplicate, OnRepeatedCancel, PhoneNumbers, ProblemType, Taxpayers,
};
pub use fault::{Ending, ErrorBody, Fault, Garbage, Meanwhile, Operation};
pub use handle::{Refusal, Simulator, StartError, start};
pub use ledger::{Actor, Alteration, Counters, Event, Happening, Ledger, Notice, NoticeStatus};
pub use rule::{Rule, RuleError};
pub use site::Outage;
pub use unknown::{AcceptedAuthentication, OnCanceled, OnUnknownCancel, UnknownInBatch};
pub use wire::{Item, PaymentMode, TaxPayer, Whole};
