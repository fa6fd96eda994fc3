//! Charts of amounts and counts as SVG text to put into a page: columns over time, bars by kind. Drawn by plotters; this
//! file owns how they look. They print in black and white too (the colours differ in lightness), say what they show to
//! who cannot see them, and everything that is written into them is escaped.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::lang::Lang;

/// Width of every chart in the SVG's own units; it scales to its place.
const WIDTH: u32 = 760;
/// Height of a chart of columns.
const COLUMNS_HEIGHT: u32 = 260;
/// Height of a bar, and what axis and legend take of a chart of bars.
const BAR_HEIGHT: u32 = 30;
const BARS_FRAME: u32 = 44;
/// Bars beyond these would not be told apart; the caller says so, or adds the rest up.
pub const MAX_BARS: usize = 24;
/// Columns beyond these are thinner than a pixel.
pub const MAX_COLUMNS: usize = 400;
/// Labels that fit under the columns.
const MAX_LABELS: usize = 10;
/// Height of the legend, where there is more than one series.
const LEGEND_HEIGHT: u32 = 24;
/// Room for labels beside the axes.
const VALUE_LABELS: u32 = 62;
const NAME_LABELS: u32 = 170;
/// Characters of a bar's name that fit.
const NAME_LENGTH: usize = 26;
/// Room to the right of the longest bar for its value, as a part of the axis.
const VALUE_ROOM: f64 = 0.24;
/// Length of the marks at the axes, which keep the labels off them.
const TICK: i32 = 5;
const FONT: &str = "sans-serif";
const FONT_SIZE: i32 = 14;
/// About the width of a character, for the legend.
const CHARACTER: i32 = 8;

const INK: RGBColor = RGBColor(38, 50, 56);
const GRID: RGBColor = RGBColor(220, 224, 226);
/// Dark, light, middle, darker: apart in lightness, so also apart on a black and white printer.
const PALETTE: [RGBColor; 4] =
    [RGBColor(11, 93, 59), RGBColor(232, 178, 61), RGBColor(98, 128, 150), RGBColor(140, 26, 40)];

/// What is drawn: groups of as many values as there are series.
#[derive(Debug, Clone, Copy)]
pub struct Chart<'a> {
    /// What it is, for who cannot see it; the page has a heading of its own.
    pub title: &'a str,
    /// What it shows, in a sentence.
    pub description: &'a str,
    /// How numbers are written.
    pub lang: Lang,
    /// The series' names; a legend is drawn if there is more than one. At most four have colours of their own.
    pub series: &'a [&'a str],
    /// The groups, in order.
    pub groups: &'a [Group],
}

/// A place on the axis: one column or bar for each series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub label: String,
    /// A value for each series; may be negative.
    pub values: Vec<i128>,
}

/// Why a chart was not drawn: what plotters said.
#[derive(Debug, thiserror::Error)]
#[error("chart: {0}")]
pub struct ChartError(String);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Chart<'_> {
    /// Columns side by side, for values over time. Groups beyond [`MAX_COLUMNS`] are left out.
    pub fn columns(&self) -> Result<String, ChartError> {
        let groups = self.groups.get(..MAX_COLUMNS).unwrap_or(self.groups);
        self.svg(COLUMNS_HEIGHT, |area| self.draw_columns(area, groups))
    }

    /// Bars below each other with their values, for few kinds of things. Groups beyond [`MAX_BARS`] are left out.
    pub fn bars(&self) -> Result<String, ChartError> {
        let groups = self.groups.get(..MAX_BARS).unwrap_or(self.groups);
        let count = u32::try_from(groups.len().max(1) * self.series.len().max(1)).unwrap_or(1);
        let gaps = if self.series.len() > 1 { BAR_HEIGHT / 2 } else { 0 };
        let height = BARS_FRAME + count * (BAR_HEIGHT - gaps / 2) + self.legend_height();
        self.svg(height, |area| self.draw_bars(area, groups))
    }

    /// Draws into SVG text and gives it its accessible name.
    fn svg(
        &self,
        height: u32,
        draw: impl FnOnce(&Area<'_>) -> Result<(), ChartError>,
    ) -> Result<String, ChartError> {
        let mut drawn = String::new();
        {
            let root = SVGBackend::with_string(&mut drawn, (WIDTH, height)).into_drawing_area();
            let (legend, area) = root.split_vertically(self.legend_height());
            self.draw_legend(&legend)?;
            draw(&area)?;
            root.present().map_err(failed)?;
        }
        let body = drawn.find('>').and_then(|end| drawn.get(end + 1..)).unwrap_or_default();
        Ok(format!(
            "<svg class=\"chart\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" \
             xmlns=\"http://www.w3.org/2000/svg\"><title>{}</title><desc>{}</desc>{}\n",
            escape(self.title),
            escape(self.description),
            body.trim()
        ))
    }

    const fn legend_height(&self) -> u32 {
        if self.series.len() > 1 { LEGEND_HEIGHT } else { 0 }
    }

    fn draw_legend(&self, area: &Area<'_>) -> Result<(), ChartError> {
        if self.series.len() < 2 {
            return Ok(());
        }
        let mut left = i32::try_from(VALUE_LABELS).unwrap_or_default();
        for (i, name) in self.series.iter().enumerate() {
            let mark = Rectangle::new([(left, 6), (left + 12, 18)], colour(i).filled());
            area.draw(&mark).map_err(failed)?;
            let style = text(HPos::Left, VPos::Center);
            area.draw(&Text::new((*name).to_owned(), (left + 18, 12), style)).map_err(failed)?;
            left += 18 + CHARACTER * i32::try_from(name.chars().count() + 2).unwrap_or_default();
        }
        Ok(())
    }

    fn draw_columns(&self, area: &Area<'_>, groups: &[Group]) -> Result<(), ChartError> {
        let (low, high) = limits(groups);
        let room = (high - low) * 0.05;
        let (low, high) = (if low < 0.0 { low - room } else { 0.0 }, high + room);
        let mut chart = ChartBuilder::on(area)
            .margin_top(8)
            .margin_right(8)
            .set_label_area_size(LabelAreaPosition::Left, VALUE_LABELS)
            .set_label_area_size(LabelAreaPosition::Bottom, 28)
            .build_cartesian_2d(-0.5..real(groups.len().max(1)) - 0.5, low..high)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style((FONT, FONT_SIZE, &INK))
            .set_all_tick_mark_size(TICK)
            .x_labels(if groups.len() > MAX_LABELS { MAX_LABELS } else { groups.len() + 1 })
            .x_label_formatter(&|place| label(groups, *place))
            .y_labels(6)
            .y_label_formatter(&|value| self.compact(*value))
            .draw()
            .map_err(failed)?;
        let shapes = self.slots(groups).map(|(series, from, to, value)| {
            Rectangle::new([(from, 0.0), (to, value)], colour(series).filled())
        });
        chart.draw_series(shapes).map_err(failed)?;
        let zero = PathElement::new(vec![(-0.5, 0.0), (real(groups.len().max(1)) - 0.5, 0.0)], INK);
        chart.draw_series([zero]).map(drop).map_err(failed)
    }

    fn draw_bars(&self, area: &Area<'_>, groups: &[Group]) -> Result<(), ChartError> {
        let (low, high) = limits(groups);
        let room = (high - low) * VALUE_ROOM;
        let (low, high) =
            (if low < 0.0 { low - room } else { 0.0 }, if high > 0.0 { high + room } else { 0.0 });
        let mut chart = ChartBuilder::on(area)
            .margin_top(4)
            .margin_right(8)
            .set_label_area_size(LabelAreaPosition::Left, NAME_LABELS)
            .set_label_area_size(LabelAreaPosition::Bottom, 28)
            .build_cartesian_2d(low..high, real(groups.len().max(1)) - 0.5..-0.5)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style((FONT, FONT_SIZE, &INK))
            .set_all_tick_mark_size(TICK)
            .y_labels(groups.len() + 1)
            .y_label_formatter(&|place| label(groups, *place))
            .x_labels(6)
            .x_label_formatter(&|value| self.compact(*value))
            .draw()
            .map_err(failed)?;
        let shapes = self.slots(groups).map(|(series, from, to, value)| {
            Rectangle::new([(0.0, from), (value, to)], colour(series).filled())
        });
        chart.draw_series(shapes).map_err(failed)?;
        let values = self.slots(groups).zip(groups.iter().flat_map(|group| &group.values)).map(
            |((_, from, to, at), value)| {
                let side = if *value < 0 { HPos::Right } else { HPos::Left };
                let away = if *value < 0 { -5 } else { 5 };
                let text = Text::new(self.lang.number(*value), (away, 0), text(side, VPos::Center));
                EmptyElement::at((at, f64::midpoint(from, to))) + text
            },
        );
        chart.draw_series(values).map_err(failed)?;
        let ends = vec![(0.0, -0.5), (0.0, real(groups.len().max(1)) - 0.5)];
        chart.draw_series([PathElement::new(ends, INK)]).map(drop).map_err(failed)
    }

    /// Of each value: its series, where on the axis it begins and ends, and how long it is.
    fn slots<'a>(&self, groups: &'a [Group]) -> impl Iterator<Item = (usize, f64, f64, f64)> + 'a {
        let series = real(self.series.len().max(1));
        let breadth = 0.76 / series;
        groups.iter().enumerate().flat_map(move |(place, group)| {
            group.values.iter().enumerate().map(move |(i, value)| {
                let from = real(place) - 0.38 + real(i) * breadth;
                (i, from, from + breadth, length(*value))
            })
        })
    }

    /// `1.5 M`, in French `1,5 M`: for an axis, where three figures are enough.
    fn compact(&self, value: f64) -> String {
        let units =
            [(1e12, self.lang.pick("tn", "Bn")), (1e9, self.lang.pick("bn", "Md")), (1e6, "M"), (1e3, "k")];
        let (divisor, unit) =
            units.into_iter().find(|(divisor, _)| value.abs() >= *divisor).unwrap_or((1.0, ""));
        let number = format!("{:.2}", value / divisor);
        let number = number.trim_end_matches('0').trim_end_matches('.').replace('-', "\u{2212}");
        let number = number.replace('.', self.lang.pick(".", ","));
        if unit.is_empty() { number } else { format!("{number}\u{a0}{unit}") }
    }
}

/// The lowest and the highest value, zero among them, and never the same.
fn limits(groups: &[Group]) -> (f64, f64) {
    let values = groups.iter().flat_map(|group| &group.values).map(|value| length(*value));
    let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low < high { (low, high) } else { (0.0, 1.0) }
}

/// The label of the group that stands at this place of the axis; none between two.
fn label(groups: &[Group], place: f64) -> String {
    let at = |group: &usize| (real(*group) - place).abs() < 1e-6;
    let Some(index) = (0..groups.len()).find(at) else { return String::new() };
    let label = groups.get(index).map(|group| group.label.as_str()).unwrap_or_default();
    if label.chars().count() <= NAME_LENGTH {
        return label.to_owned();
    }
    let start: String = label.chars().take(NAME_LENGTH - 1).collect();
    format!("{}…", start.trim_end())
}

fn colour(series: usize) -> RGBColor {
    PALETTE[series % PALETTE.len()]
}

fn text(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    (FONT, FONT_SIZE).into_font().color(&INK).pos(Pos::new(horizontal, vertical))
}

#[expect(clippy::cast_precision_loss, reason = "a place on paper, not money")]
fn length(value: i128) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a count of what is drawn")]
fn real(count: usize) -> f64 {
    count as f64
}

/// For XML's text; what XML cannot hold at all becomes a blank.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

fn failed(error: impl std::fmt::Display) -> ChartError {
    ChartError(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn groups(values: &[i128]) -> Vec<Group> {
        let group = |(i, value): (usize, &i128)| Group { label: format!("<{i}&>"), values: vec![*value] };
        values.iter().enumerate().map(group).collect()
    }

    fn chart<'a>(series: &'a [&'a str], groups: &'a [Group]) -> Chart<'a> {
        Chart { title: "Payé <b>", description: "a & \"b\"", lang: Lang::Fr, series, groups }
    }

    #[test]
    fn everything_is_escaped_and_named() {
        let groups = groups(&[5, 1_234_567, 0]);
        for svg in [chart(&["<x>"], &groups).columns().unwrap(), chart(&["<x>"], &groups).bars().unwrap()] {
            assert!(svg.contains("<title>Payé &lt;b&gt;</title><desc>a &amp; &quot;b&quot;</desc>"), "{svg}");
            assert!(svg.contains("&lt;1&amp;&gt;") && !svg.contains("<1&"), "{svg}");
            assert_eq!(svg.matches("<svg").count(), 1);
            assert!(svg.trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn bars_tell_their_values_exactly() {
        let groups = groups(&[9_007_199_254_740_993, -12_000]);
        let svg = chart(&["x"], &groups).bars().unwrap();
        assert!(svg.contains("9\u{202f}007\u{202f}199\u{202f}254\u{202f}740\u{202f}993"), "{svg}");
        assert!(svg.contains("\u{2212}12\u{202f}000"), "{svg}");
    }

    #[test]
    fn nothing_zeros_extremes_and_very_much_are_drawn() {
        let many = groups(&[7; MAX_COLUMNS + 9]);
        for groups in [vec![], groups(&[0]), groups(&[i128::MAX, i128::MIN]), groups(&[-5]), many] {
            let chart = chart(&["a", "b"], &groups);
            assert!(chart.columns().unwrap().contains("</svg>"));
            assert!(chart.bars().unwrap().contains("</svg>"));
        }
    }

    #[test]
    fn an_axis_is_short() {
        let groups = [];
        let chart = chart(&[], &groups);
        for (value, text) in [
            (0.0, "0"),
            (950.0, "950"),
            (1_500.0, "1,5\u{a0}k"),
            (-2e6, "\u{2212}2\u{a0}M"),
            (1e10, "10\u{a0}Md"),
            (100.0, "100"),
        ] {
            assert_eq!(chart.compact(value), text);
        }
    }
}
