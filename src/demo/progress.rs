//! How many notices stand where: the tally, the bar with one cell a notice, and the counts below it.

use std::time::Duration;

use super::screen::{Screen, Tone};
use crate::notice::Status;

/// Rows and their amounts by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally([(usize, i64); Status::ALL.len()]);

impl Tally {
    pub(super) fn set(&mut self, status: Status, count: usize, amount: i64) {
        self.0[place(status)] = (count, amount);
    }

    /// How many rows, and their amount in XOF.
    pub(super) fn of(&self, status: Status) -> (usize, i64) {
        self.0[place(status)]
    }

    /// How many rows there are, and their amount in XOF.
    pub(super) fn total(&self) -> (usize, i64) {
        self.0.iter().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
    }
}

fn place(status: Status) -> usize {
    Status::ALL.iter().position(|other| *other == status).unwrap_or_default()
}

/// From done to not begun, as the bar shows them from left to right.
const FROM_DONE: [Status; 7] = [
    Status::Paid,
    Status::Canceled,
    Status::Rejected,
    Status::Uncertain,
    Status::Emitted,
    Status::Emitting,
    Status::Pending,
];

/// A cell of the bar; told apart without colours too.
const fn cell(status: Status) -> &'static str {
    match status {
        Status::Paid | Status::Canceled | Status::Rejected | Status::Uncertain => "█",
        Status::Emitted => "▓",
        Status::Emitting => "▒",
        Status::Pending => "░",
    }
}

/// The bar, if it is known how many notices there will be, and the counts.
pub(super) fn text(screen: &Screen, tally: &Tally, expected: Option<usize>, elapsed: Duration) -> String {
    let counts: Vec<String> = FROM_DONE
        .iter()
        .map(|&status| (status, tally.of(status).0))
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| {
            format!(
                "{} {}",
                screen.paint(Tone::Strong, &count.to_string()),
                screen.paint(Tone::Of(status), status.as_str())
            )
        })
        .collect();
    let counts = if counts.is_empty() { "no notice yet".to_owned() } else { counts.join("  ") };
    let Some(expected) = expected else { return format!("  {counts}") };
    let mut bar: String = FROM_DONE
        .iter()
        .map(|&status| screen.paint(Tone::Of(status), &cell(status).repeat(tally.of(status).0)))
        .collect();
    let there = tally.total().0;
    bar += &screen.paint(Tone::Faint, &"·".repeat(expected.saturating_sub(there)));
    format!("  {bar}  {there} of {expected} notices, {:.1} s\n  {counts}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_one_cell_a_notice() {
        let mut tally = Tally::default();
        for (status, count) in [(Status::Paid, 3), (Status::Emitted, 2), (Status::Pending, 1)] {
            tally.set(status, count, 1000);
        }
        let drawn = text(&Screen::plain(), &tally, Some(8), Duration::from_millis(1234));
        assert_eq!(drawn, "  ███▓▓░··  6 of 8 notices, 1.2 s\n  3 PAID  2 EMITTED  1 PENDING");
        assert_eq!(tally.total(), (6, 3000));
    }
}
