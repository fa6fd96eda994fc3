//! What the README and `docs/` say is so: quoted code is the code in `examples/`, every name exists, and the examples do
//! what they promise against the real daemon and the simulator.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

#[path = "readme/alerts.rs"]
mod alerts; // what the alert rules name exists
#[path = "readme/books.rs"]
mod books; // the accountants' examples are what the program prints
#[path = "readme/demo.rs"]
mod demo; // the output that the README shows is what the demo prints
#[path = "readme/french.rs"]
mod french; // the French pages follow the English ones
#[path = "readme/links.rs"]
mod links; // files, anchors, versions, the code map
#[path = "readme/live.rs"]
mod live; // the examples, run
#[path = "readme/names.rs"]
mod names; // settings, commands, options, error codes
#[path = "readme/pages.rs"]
mod pages; // pages taken apart
#[path = "readme/quotes.rs"]
mod quotes; // quoted code, and the commands that CI runs
#[path = "readme/schema.rs"]
mod schema; // tables, columns, statuses, messages
#[path = "readme/world.rs"]
mod world; // a simulator, a daemon and a folder
