//! Tells what happens as it happens: one line for what a look at the feed finds new of one notice. Several moves of a
//! notice between two looks share a line; none is left out.

use std::{path::Path, time::Duration};

use super::{
    DemoError,
    feed::{Feed, Transition},
    progress::{self, Tally},
    screen::{Screen, Tone},
};
use crate::{
    clock::Timestamp,
    notice::{Amount, Status},
};

/// Between looks: what a person sees as at once.
const INTERVAL: Duration = Duration::from_millis(120);
/// The time, and two blanks.
const TIME_WIDTH: usize = 10;
/// Room for a reference, which grows with the references met, and for two statuses.
const REFERENCE_WIDTH: usize = 13;
const MAX_REFERENCE_WIDTH: usize = 24;
const MOVES_WIDTH: usize = 20;

/// How times are told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// Seconds since then.
    Since(Timestamp),
    /// UTC, which is the time of Mali.
    OfTheDay,
}

impl Clock {
    pub(super) fn since_now() -> Self {
        Self::Since(Timestamp::now())
    }

    /// 8 characters.
    pub(super) fn tell(self, at: Timestamp) -> String {
        match self {
            Self::Since(start) => format!("{:>6.1} s", at.since(start).as_secs_f64()),
            Self::OfTheDay => at.to_chrono().format("%H:%M:%S").to_string(),
        }
    }
}

/// Follows the feed and prints it.
pub(super) struct Teller<'a> {
    feed: Feed,
    screen: &'a Screen,
    clock: Clock,
    expected: Option<usize>,
    tally: Tally,
    /// Moves that are told with what follows them, or with the next look.
    held: Vec<Vec<Transition>>,
    reference_width: usize,
}

impl<'a> Teller<'a> {
    /// Tells what happens after this call.
    pub(super) async fn open(
        database: &Path,
        screen: &'a Screen,
        clock: Clock,
        expected: Option<usize>,
    ) -> Result<Self, DemoError> {
        let feed = Feed::open(database).await?;
        let (tally, held, reference_width) = (Tally::default(), Vec::new(), REFERENCE_WIDTH);
        Ok(Self { feed, screen, clock, expected, tally, held, reference_width })
    }

    /// Tells until something fails.
    pub(super) async fn tell(&mut self) -> DemoError {
        loop {
            if let Err(error) = self.look().await {
                return error;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Tells what is new. A notice whose request is under way is told at the next look, if possible with its answer.
    async fn look(&mut self) -> Result<(), DemoError> {
        let new = match self.feed.look().await? {
            Some((new, tally)) => {
                self.tally = tally;
                new
            }
            None => Vec::new(),
        };
        // From here on nothing waits: a look that is given up in the middle loses no line.
        let held = std::mem::take(&mut self.held);
        let old = held.len();
        let mut told = Vec::new();
        for (place, moves) in by_notice(held, new).into_iter().enumerate() {
            let under_way = moves.last().is_some_and(|last| last.to == Status::Emitting);
            if under_way && place >= old { self.held.push(moves) } else { told.push(moves) }
        }
        let widths = told.iter().flatten().map(|one| one.reference.chars().count());
        self.reference_width =
            widths.filter(|width| *width <= MAX_REFERENCE_WIDTH).fold(self.reference_width, usize::max);
        told.sort_by_key(|moves| moves.last().map(|last| last.at));
        let lines: Vec<String> = told.iter().filter_map(|moves| self.line(moves)).collect();
        if !lines.is_empty() {
            self.screen.print(&lines.join("\n"))?;
        }
        self.screen.draw(|elapsed| progress::text(self.screen, &self.tally, self.expected, elapsed));
        Ok(())
    }

    /// Tells what is left once the daemon has stopped, and takes the bar away; the counts.
    pub(super) async fn finish(mut self) -> Result<Tally, DemoError> {
        self.look().await?;
        // What the first look held back, because it might have gone on.
        self.look().await?;
        self.screen.clear();
        self.feed.close().await?;
        Ok(self.tally)
    }

    /// What became of one notice; `None` where nothing did.
    fn line(&self, moves: &[Transition]) -> Option<String> {
        let (last, screen) = (moves.last()?, self.screen);
        let reference = match last.reference.as_str() {
            // It was deleted before it was sent.
            "" => format!("row {}", last.outbox_id),
            reference => reference.to_owned(),
        };
        let words: Vec<&str> = moves.iter().map(|one| one.to.as_str()).collect();
        let painted: Vec<String> =
            moves.iter().map(|one| screen.paint(Tone::Of(one.to), one.to.as_str())).collect();
        let (reference, reference_width) =
            padded(&reference, screen.paint(Tone::Plain, &reference), self.reference_width);
        let (moves, moves_width) = padded(&words.join(ARROW), painted.join(ARROW), MOVES_WIDTH);
        let time = screen.paint(Tone::Faint, &self.clock.tell(last.at));
        let lead = format!("{time}  {reference}  {moves}  ");
        let (tone, text) = said(last);
        let line = screen.hang(&lead, TIME_WIDTH + reference_width + moves_width + 4, tone, &text);
        let line = line.trim_end();
        Some(match meaning(last.to) {
            None => line.to_owned(),
            Some(meaning) => {
                let below = screen.hang(&" ".repeat(TIME_WIDTH), TIME_WIDTH, Tone::Faint, meaning);
                format!("{line}\n{below}")
            }
        })
    }
}

/// `painted`, which shows as `plain`, with blanks up to `width`; and how wide that is.
fn padded(plain: &str, painted: String, width: usize) -> (String, usize) {
    let shown = plain.chars().count();
    let blanks = width.saturating_sub(shown);
    (painted + &" ".repeat(blanks), shown + blanks)
}

/// The transitions of each notice together, behind those of `groups`; an insertion stands alone.
fn by_notice(mut groups: Vec<Vec<Transition>>, transitions: Vec<Transition>) -> Vec<Vec<Transition>> {
    for transition in transitions {
        let group = groups.iter_mut().rfind(|group| {
            group.first().is_some_and(|first| first.outbox_id == transition.outbox_id && first.from.is_some())
        });
        match group {
            Some(group) => group.push(transition),
            None => groups.push(vec![transition]),
        }
    }
    groups
}

/// Between the statuses that one notice went through.
const ARROW: &str = " → ";

/// What there is to say about a move beside the status.
fn said(transition: &Transition) -> (Tone, String) {
    let amount = Amount(transition.net_total);
    match (transition.from, transition.to) {
        (None, _) => (Tone::Plain, format!("{amount:>9}  {}", payer(&transition.tax_payer))),
        (_, Status::Emitting) => (Tone::Plain, String::new()),
        (_, Status::Emitted) => (Tone::Plain, transition.tresorpay_reference.clone()),
        (_, Status::Paid) => (Tone::Plain, format!("{amount:>9}  {}", transition.provider)),
        (_, Status::Uncertain | Status::Rejected) => (Tone::Of(transition.to), transition.reason.clone()),
        (_, Status::Pending | Status::Canceled) => (Tone::Plain, transition.reason.clone()),
    }
}

/// What a status means that asks for somebody.
fn meaning(status: Status) -> Option<&'static str> {
    match status {
        Status::Uncertain => Some(
            "The request left and no answer came: TresorPay may have it, so it is not sent again. An operator decides.",
        ),
        Status::Rejected => {
            Some("Nothing exists at TresorPay: the row may be corrected by UPDATE and tried again.")
        }
        Status::Pending | Status::Emitting | Status::Emitted | Status::Paid | Status::Canceled => None,
    }
}

/// Who owes it, from `outbox.tax_payer`.
fn payer(json: &str) -> String {
    let payer: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = |field: &str| payer[field].as_str().unwrap_or_default();
    let person = format!("{} {}", text("firstName"), text("name"));
    [text("companyName"), person.trim()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
        .to_owned()
}
