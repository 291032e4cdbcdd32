//! Plots as inline SVG: two axes with ticks, and marks in the units of the data.
//!
//! Colours and fonts are classes of the page's style sheet, so that a plot is right in a light
//! scheme, in a dark one and on paper. Nothing here knows what is plotted.

use std::fmt::Write;

use super::html::escape;

const LEFT: f64 = 58.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// How numbers are mapped to positions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// Equal steps.
    Linear { from: f64, to: f64 },
    /// Equal ratios; both ends are above 0.
    Log { from: f64, to: f64 },
}

impl Scale {
    /// Returns the position of a number relative to the ends: 0 to 1 inside.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => (value / from).ln() / (to / from).ln(),
        }
    }

    /// Returns round numbers between the ends, approximately `about` of them.
    fn ticks(self, about: usize) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = nice((to - from) / about as f64);
                let first = (from / step - 1e-9).ceil() as i64;
                let last = (to / step + 1e-9).floor() as i64;
                (first..=last).map(|tick| tick as f64 * step).collect()
            }
            Self::Log { from, to } => {
                let decades = (to / from).log10();
                let marks: &[f64] = match decades {
                    ..1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
                    ..3.5 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let stride = (decades / about as f64).ceil().max(1.0) as usize;
                let powers =
                    (from.log10().floor() as i32..=to.log10().ceil() as i32).step_by(stride);
                powers
                    .flat_map(|power| marks.iter().map(move |mark| mark * 10_f64.powi(power)))
                    .filter(|tick| (from * (1.0 - 1e-9)..=to * (1.0 + 1e-9)).contains(tick))
                    .collect()
            }
        }
    }
}

/// Returns the nearest of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    power
        * match step / power {
            ..1.5 => 1.0,
            ..3.5 => 2.0,
            ..7.5 => 5.0,
            _ => 10.0,
        }
}

/// The kind of numbers on an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Plain numbers.
    Number,
    /// Whole numbers.
    Count,
    /// Shares, written in per cent.
    Percent,
    /// Shares in both directions from 0, written in per cent without a sign.
    PercentBothWays,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
    pub(crate) unit: Unit,
}

impl Axis {
    /// Returns an axis of shares from 0 to `to`.
    pub(crate) fn share(label: &'static str, to: f64) -> Self {
        Self {
            label,
            scale: Scale::Linear { from: 0.0, to },
            unit: Unit::Percent,
        }
    }

    fn ticks(&self, about: usize) -> Vec<f64> {
        let mut ticks = self.scale.ticks(about);
        if matches!(self.unit, Unit::Count) {
            ticks.retain(|tick| tick.fract() == 0.0);
        }
        ticks
    }

    fn written(&self, tick: f64) -> String {
        match self.unit {
            Unit::Number | Unit::Count => plain(tick),
            Unit::Percent => format!("{} %", plain(100.0 * tick)),
            Unit::PercentBothWays => format!("{} %", plain(100.0 * tick.abs())),
        }
    }
}

/// Formats a number without trailing zeros, as short as its tick allows.
fn plain(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// The direction in which a text extends from its position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    End,
}

/// A plot under construction.
pub(crate) struct Plot {
    width: f64,
    height: f64,
    x: Axis,
    y: Axis,
    has_y_ticks: bool,
    marks: String,
}

impl Plot {
    /// Creates an empty plot of this many units, which are pixels if the page shows it at full
    /// size.
    pub(crate) fn new(width: f64, height: f64, x: Axis, y: Axis) -> Self {
        Self {
            width,
            height,
            x,
            y,
            has_y_ticks: true,
            marks: String::new(),
        }
    }

    /// Returns the same without numbers on the ordinate, for rows that have names.
    pub(crate) fn without_y_ticks(mut self) -> Self {
        self.has_y_ticks = false;
        self
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + self.x.scale.place(x) * (self.width - LEFT - RIGHT)
    }

    fn down(&self, y: f64) -> f64 {
        self.height - BOTTOM - self.y.scale.place(y) * (self.height - TOP - BOTTOM)
    }

    fn add(&mut self, mark: std::fmt::Arguments<'_>) {
        writeln!(self.marks, "{mark}").expect("a string takes it");
    }

    /// Draws a line through points. Points that are visually indistinguishable are left out.
    pub(crate) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let path = self.path(points);
        if !path.is_empty() {
            self.add(format_args!("<path class=\"line {class}\" d=\"{path}\" />"));
        }
    }

    /// Draws the area between two lines with the same abscissas.
    pub(crate) fn band(&mut self, class: &str, points: &[(f64, [f64; 2])]) {
        let low = points.iter().map(|&(x, [low, _])| (x, low));
        let high = points.iter().rev().map(|&(x, [_, high])| (x, high));
        let path = self.path(low.chain(high));
        if path.is_empty() {
            return;
        }
        self.add(format_args!(
            "<path class=\"band {class}\" d=\"{path}Z\" />"
        ));
    }

    fn path(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let places = points
            .into_iter()
            .map(|(x, y)| (self.across(x), self.down(y)));
        let mut path = String::new();
        let mut last: Option<(f64, f64)> = None;
        let mut passed_over = None;
        for (x, y) in places {
            let near = last.is_some_and(|(a, b)| (x - a).abs() + (y - b).abs() < 0.3);
            if near {
                passed_over = Some((x, y));
                continue;
            }
            let letter = if last.is_none() { 'M' } else { 'L' };
            write!(path, "{letter}{x:.1} {y:.1}").expect("a string takes it");
            last = Some((x, y));
            passed_over = None;
        }
        if let Some((x, y)) = passed_over {
            write!(path, "L{x:.1} {y:.1}").expect("a string takes it");
        }
        path
    }

    /// Draws a rectangle between two corners; `told` is its tooltip.
    pub(crate) fn bar(&mut self, class: &str, from: (f64, f64), to: (f64, f64), told: &str) {
        let (left, right) = (self.across(from.0), self.across(to.0));
        let (top, bottom) = (self.down(from.1.max(to.1)), self.down(from.1.min(to.1)));
        self.add(format_args!(
            "<rect class=\"bar {class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\"><title>{}</title></rect>",
            (right - left - 1.0).max(0.5),
            (bottom - top).max(0.5),
            escape(told)
        ));
    }

    /// Draws a dot; `told` is its tooltip.
    pub(crate) fn dot(&mut self, class: &str, radius: f64, at: (f64, f64), told: &str) {
        let (x, y) = (self.across(at.0), self.down(at.1));
        self.add(format_args!(
            "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\">\
             <title>{}</title></circle>",
            escape(told)
        ));
    }

    /// Draws text beside a position, offset by this many units.
    pub(crate) fn text(
        &mut self,
        class: &str,
        anchor: Anchor,
        at: (f64, f64),
        moved: (f64, f64),
        text: &str,
    ) {
        let (x, y) = (self.across(at.0) + moved.0, self.down(at.1) + moved.1);
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::End => "end",
        };
        self.add(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(text)
        ));
    }

    /// Draws the legend of lines and areas: the classes of each one's area and line, and its name.
    pub(crate) fn legend(&mut self, entries: &[(Option<&str>, Option<&str>, &str)]) {
        for (row, (area, line, name)) in entries.iter().enumerate() {
            let (x, y) = (LEFT + 12.0, TOP + 12.0 + 19.0 * row as f64);
            if let Some(class) = area {
                self.add(format_args!(
                    "<rect class=\"band {class}\" x=\"{x}\" y=\"{}\" width=\"22\" height=\"12\" />",
                    y - 6.0
                ));
            }
            if let Some(class) = line {
                self.add(format_args!(
                    "<path class=\"line {class}\" d=\"M{x} {y}h22\" />"
                ));
            }
            self.add(format_args!(
                "<text x=\"{}\" y=\"{}\">{}</text>",
                x + 29.0,
                y + 4.0,
                escape(name)
            ));
        }
    }

    /// Returns the SVG element; `told` is its text alternative, a sentence that describes the plot.
    pub(crate) fn svg(self, told: &str) -> String {
        let Self { width, height, .. } = self;
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {width} \
             {height}\" role=\"img\" aria-label=\"{}\">\n",
            escape(told)
        );
        self.draw_axes(&mut svg).expect("a string takes it");
        svg + &self.marks + "</svg>\n"
    }

    fn draw_axes(&self, svg: &mut String) -> std::fmt::Result {
        let (right, bottom) = (self.width - RIGHT, self.height - BOTTOM);
        let ticks = if self.has_y_ticks {
            self.y.ticks(5)
        } else {
            Vec::new()
        };
        for tick in ticks {
            let y = self.down(tick);
            writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\" />\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 7.0,
                y + 4.0,
                self.y.written(tick)
            )?;
        }
        let about = ((right - LEFT) / 75.0).ceil() as usize;
        for tick in self.x.ticks(about) {
            let x = self.across(tick);
            writeln!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v4\" />\
                 <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 17.0,
                self.x.written(tick)
            )?;
        }
        writeln!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\" />\n\
             <text class=\"label\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n\
             <text class=\"label\" text-anchor=\"middle\" \
             transform=\"translate(13 {:.1}) rotate(-90)\">{}</text>",
            (LEFT + right) / 2.0,
            self.height - 8.0,
            escape(self.x.label),
            (TOP + bottom) / 2.0,
            escape(self.y.label)
        )
    }
}

/// Returns a rate with its interval on a line from 0 to 1, small enough for a table cell.
pub(crate) fn whisker(class: &str, value: f64, interval: [f64; 2]) -> String {
    const WIDTH: f64 = 116.0;
    let place = |share: f64| 4.0 + share * (WIDTH - 8.0);
    let [low, high] = interval.map(place);
    format!(
        "<svg class=\"whisker\" viewBox=\"0 0 {WIDTH} 14\" \
         aria-hidden=\"true\"><path class=\"grid\" d=\"M4 7H{}M4 3v8M{} 3v8\" />\
         <path class=\"line {class}\" d=\"M{low:.1} 7H{high:.1}\" />\
         <circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"7\" r=\"3.5\" /></svg>",
        WIDTH - 4.0,
        WIDTH - 4.0,
        place(value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(scale: Scale, unit: Unit) -> Vec<String> {
        let axis = Axis {
            label: "",
            scale,
            unit,
        };
        axis.ticks(5)
            .into_iter()
            .map(|tick| axis.written(tick))
            .collect()
    }

    #[test]
    fn ticks_are_round_numbers_inside_the_scale() {
        let shares = Scale::Linear { from: 0.0, to: 1.0 };
        assert_eq!(
            written(shares, Unit::Percent),
            ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
        );
        let both_ways = Scale::Linear {
            from: -0.31,
            to: 0.22,
        };
        assert_eq!(
            written(both_ways, Unit::PercentBothWays),
            ["30 %", "20 %", "10 %", "0 %", "10 %", "20 %"]
        );
        let ratios = Scale::Log {
            from: 0.3,
            to: 40.0,
        };
        assert_eq!(
            written(ratios, Unit::Number),
            ["0.5", "1", "2", "5", "10", "20"]
        );
        let wide = Scale::Log { from: 0.3, to: 1e6 };
        assert_eq!(written(wide, Unit::Number), ["10", "1000", "100000"]);
    }

    #[test]
    fn a_place_is_that_of_its_number() {
        let plot = Plot::new(282.0, 160.0, Axis::share("x", 0.5), Axis::share("y", 1.0));
        assert_eq!((plot.across(0.0), plot.across(0.25)), (58.0, 158.0));
        assert_eq!((plot.down(0.0), plot.down(1.0)), (114.0, 14.0));
        let log = Scale::Log {
            from: 1.0,
            to: 100.0,
        };
        assert!((log.place(10.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn points_that_no_eye_tells_apart_are_left_out_and_the_last_one_is_kept() {
        let plot = Plot::new(282.0, 160.0, Axis::share("x", 1.0), Axis::share("y", 1.0));
        let crowd = (0..=100_000).map(|i| (f64::from(i) / 100_000.0, 0.5));
        let path = plot.path(crowd);
        assert!(path.len() < 12_000, "{}", path.len());
        assert!(
            path.starts_with("M58.0 64.0") && path.ends_with("L258.0 64.0"),
            "{path}"
        );
    }
}
