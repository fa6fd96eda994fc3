//! The built-in TresorPay.
