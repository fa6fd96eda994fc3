//! The configuration as an operator meets it: layers, every problem at once, and no secret in any output.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod bench;
mod files;
mod layers;
mod problems;
mod properties;
mod secrets;
mod shipped;
