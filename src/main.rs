//! Parses the command line, runs, prints the error chain, sets the exit status.

fn main() {}
