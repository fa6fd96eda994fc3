//! Figures, their targets, the table at the end and the JSON.

use std::{fmt, path::Path};

use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use super::machine::Description;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
    /// Less.
    Below(f64),
}

impl Target {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

/// One result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// `measurement.what`.
    name: &'static str,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

impl Figure {
    fn verdict(&self) -> String {
        match (self.target, self.met) {
            (Some(target), Some(met)) => format!("{} ({target})", if met { "PASS" } else { "MISS" }),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.value.abs() {
            0.0 => "0".to_owned(),
            value if value >= 1000.0 => format!("{:.0}", self.value),
            value if value >= 10.0 => format!("{:.1}", self.value),
            _ => format!("{:.3}", self.value),
        };
        write!(f, "{:<34} {value:>10} {:<26} {}", self.name, self.unit, self.verdict())
    }
}

/// All results so far.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    measured_at: String,
    machine: Description,
    figures: Vec<Figure>,
}

impl Report {
    /// No results yet.
    pub(crate) fn new(machine: Description) -> Self {
        let measured_at = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        Self { version: env!("CARGO_PKG_VERSION"), measured_at, machine, figures: Vec::new() }
    }

    /// What is measured, where and when.
    pub(crate) fn heading(&self) -> String {
        let Description { cpu, cores, kernel } = &self.machine;
        format!("tresorpayd {}, {}: {cores} cores of {cpu}, Linux {kernel}", self.version, self.measured_at)
    }

    /// Adds a figure and prints it.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str, target: Option<Target>) {
        let met = target.map(|target| target.met_by(value));
        let figure = Figure { name, value, unit, target, met };
        println!("{}", figure.to_string().trim_end());
        self.figures.push(figure);
    }

    /// Whether a figure misses its target.
    pub(crate) fn missed(&self) -> bool {
        self.figures.iter().any(|figure| figure.met == Some(false))
    }

    /// All figures, a line each.
    pub(crate) fn table(&self) -> String {
        let lines: Vec<String> =
            self.figures.iter().map(|figure| figure.to_string().trim_end().to_owned()).collect();
        format!("{}\n{}", self.heading(), lines.join("\n"))
    }

    /// Writes the JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}

/// The value that a share of all is no greater than (nearest rank).
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list that fits in memory"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The middle one; of an even number, the lower of the middle two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
