//! Where the picture goes: a terminal, with colours and a bar that stays at the bottom, or a pipe, which gets the same
//! lines plain. `NO_COLOR`, `CLICOLOR` and `TERM=dumb` are respected.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::{OwoColorize, Style};

use crate::notice::Status;

/// A line that has less room than this for its text starts the text on the next line.
const LEAST_ROOM: usize = 24;
/// Where it starts there.
const BELOW: usize = 12;

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// An aside.
    Faint,
    /// Something was refused or is wrong.
    Bad,
    /// Something agrees.
    Good,
    /// A notice's status.
    Of(Status),
}

impl Tone {
    fn style(self) -> Style {
        let style = Style::new();
        match self {
            Self::Plain => style,
            Self::Strong => style.bold(),
            Self::Faint => style.dimmed(),
            Self::Bad => style.red(),
            Self::Good => style.green(),
            Self::Of(Status::Pending) => style,
            Self::Of(Status::Emitting) => style.cyan(),
            Self::Of(Status::Uncertain) => style.yellow().bold(),
            Self::Of(Status::Rejected) => style.red().bold(),
            Self::Of(Status::Emitted) => style.blue(),
            Self::Of(Status::Paid) => style.green(),
            Self::Of(Status::Canceled) => style.magenta(),
        }
    }
}

/// Standard output.
pub(super) struct Screen {
    colour: bool,
    /// `None` where nothing can be drawn over.
    bar: Option<ProgressBar>,
}

impl Screen {
    /// Looks at what standard output is.
    pub(super) fn on_stdout() -> Self {
        let stdout = io::stdout();
        let colour = AutoStream::choice(&stdout) != ColorChoice::Never;
        let can_draw = stdout.is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let bar = can_draw.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            // The whole text is made in `progress`: this template is its frame and always sound.
            bar.with_style(
                ProgressStyle::with_template("\n{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Self { colour, bar }
    }

    /// A pipe.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { colour: false, bar: None }
    }

    /// Prints lines, above the bar if there is one.
    pub(super) fn print(&self, lines: &str) -> io::Result<()> {
        let write = || {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{lines}")?;
            stdout.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Draws the bar again, with this text.
    pub(super) fn draw(&self, bar: impl FnOnce(Duration) -> String) {
        if let Some(drawn) = &self.bar {
            drawn.set_message(bar(drawn.elapsed()));
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// `text` in a tone, as far as there are colours. Control characters, which data may hold, are shown as `�`.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let text = harmless(text);
        if self.colour && tone != Tone::Plain { text.style(tone.style()).to_string() } else { text }
    }

    /// `lead`, which is `lead_width` wide, then `text`, which hangs below itself where the terminal ends.
    pub(super) fn hang(&self, lead: &str, lead_width: usize, tone: Tone, text: &str) -> String {
        let (lead, indent, lines) = match width() {
            None => (lead, lead_width, vec![text.to_owned()]),
            Some(width) if width >= lead_width + LEAST_ROOM => {
                (lead, lead_width, fold(text, width - lead_width))
            }
            Some(width) => {
                let below = fold(text, width.saturating_sub(BELOW).max(LEAST_ROOM));
                (lead.trim_end(), BELOW, std::iter::once(String::new()).chain(below).collect())
            }
        };
        let lines: Vec<String> = lines.iter().map(|line| self.paint(tone, line)).collect();
        format!("{lead}{}", lines.join(&format!("\n{:indent$}", "")))
    }
}

/// Columns of the terminal; `None` for a pipe, where no line is folded.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Lines of at most `width` characters, broken at blanks where there are any.
fn fold(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if line.chars().count() == width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_folded_at_blanks_and_long_words_anywhere() {
        assert_eq!(fold("l'avis de recette n'existe pas", 12), ["l'avis de", "recette", "n'existe pas"]);
        assert_eq!(fold("TP20261124.0948.AR1", 8), ["TP202611", "24.0948.", "AR1"]);
        assert_eq!(fold("   12 000  WAVE", 15), ["   12 000  WAVE"]);
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        assert_eq!(Screen::plain().paint(Tone::Bad, "Traoré\u{1b}[2J\n"), "Traoré\u{fffd}[2J\u{fffd}");
    }
}
