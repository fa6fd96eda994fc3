//! tresorpayd: a payment-notice daemon for TresorPay. This file is the code map.

pub mod settings; // layers of configuration -> validated Settings
pub mod simulator; // the built-in TresorPay, for tests, the demo and users' integration tests
