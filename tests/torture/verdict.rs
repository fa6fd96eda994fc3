//! What a run comes to: its figures, what it found wrong, and the exit status.

use std::{collections::BTreeMap, fmt::Write, process::ExitCode};

/// Examples shown of each kind.
const SHOWN: usize = 5;

/// A promise that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A row that was committed is not there, or was never dealt with.
    Lost,
    /// More than one live notice for one row, or one that no row knows.
    Doubled,
    /// An amount differs.
    Amount,
    /// A history that is no legal chain.
    History,
    /// Row, attempts and ledger do not say the same.
    Disagreement,
    /// Asked for or promised, and not done: a command, a receipt, a confirmation, a call.
    Undone,
    /// The daemon did what it may not: died, did not end in order, left more doubts than requests, told a secret.
    Misbehaviour,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Lost, "lost"),
        (Self::Doubled, "doubled"),
        (Self::Amount, "wrong amounts"),
        (Self::History, "illegal histories"),
        (Self::Disagreement, "disagreements"),
        (Self::Undone, "left undone"),
        (Self::Misbehaviour, "misbehaviours"),
    ];
}

/// Everything that a run found and counted.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    found: BTreeMap<Kind, Vec<String>>,
    figures: Vec<String>,
}

impl Verdict {
    /// Something is wrong.
    pub(crate) fn find(&mut self, kind: Kind, what: impl Into<String>) {
        self.found.entry(kind).or_default().push(what.into());
    }

    /// Something was counted.
    pub(crate) fn figure(&mut self, line: impl Into<String>) {
        self.figures.push(line.into());
    }

    /// How often a promise was broken.
    fn count(&self, kind: Kind) -> usize {
        self.found.get(&kind).map_or(0, Vec::len)
    }

    /// Prints it all; fails if anything was found.
    pub(crate) fn print(&self) -> ExitCode {
        let mut text = String::new();
        for line in &self.figures {
            let _ = writeln!(text, "  {line}");
        }
        for (kind, name) in Kind::ALL {
            let found = self.found.get(&kind).map_or(&[][..], Vec::as_slice);
            for what in found.iter().take(SHOWN) {
                let _ = writeln!(text, "  ✗ {name}: {what}");
            }
            if found.len() > SHOWN {
                let _ = writeln!(text, "  ✗ {name}: and {} more", found.len() - SHOWN);
            }
        }
        let counts: Vec<_> =
            Kind::ALL.iter().map(|(kind, name)| format!("{} {name}", self.count(*kind))).collect();
        let broken = self.found.values().any(|found| !found.is_empty());
        println!("{text}{} {}", if broken { "BROKEN:" } else { "kept:" }, counts.join(", "));
        if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
