//! Plots as inline SVG: two axes with ticks, and marks in the units of the data.
//!
//! Colours and fonts are classes of the page's style sheet, so that a plot is right in a light
//! scheme, in a dark one and on paper. Nothing here knows what is plotted.

use maud::{Markup, html};

use super::axis::Axis;

const LEFT: f64 = 58.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

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
    marks: Vec<Markup>,
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
            marks: Vec::new(),
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

    /// Draws a line through points. Points that are visually indistinguishable are left out.
    pub(crate) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let path = self.path(points);
        if !path.is_empty() {
            self.marks
                .push(html! { path class={ "line " (class) } d=(path) {} });
        }
    }

    /// Draws the area between two lines with the same abscissas.
    pub(crate) fn band(&mut self, class: &str, points: &[(f64, [f64; 2])]) {
        let low = points.iter().map(|&(x, [low, _])| (x, low));
        let high = points.iter().rev().map(|&(x, [_, high])| (x, high));
        let path = self.path(low.chain(high));
        if !path.is_empty() {
            self.marks
                .push(html! { path class={ "band " (class) } d={ (path) "Z" } {} });
        }
    }

    fn path(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let mut kept: Vec<(f64, f64)> = Vec::new();
        let mut passed_over = None;
        for (x, y) in points {
            let (x, y) = (self.across(x), self.down(y));
            let is_near = |&(a, b): &(f64, f64)| (x - a).abs() + (y - b).abs() < 0.3;
            if kept.last().is_some_and(is_near) {
                passed_over = Some((x, y));
            } else {
                kept.push((x, y));
                passed_over = None;
            }
        }
        kept.extend(passed_over);
        let letters = std::iter::once('M').chain(std::iter::repeat('L'));
        letters
            .zip(kept)
            .map(|(letter, (x, y))| format!("{letter}{x:.1} {y:.1}"))
            .collect()
    }

    /// Draws a rectangle between two corners; `told` is its tooltip.
    pub(crate) fn bar(&mut self, class: &str, from: (f64, f64), to: (f64, f64), told: &str) {
        let (left, right) = (self.across(from.0), self.across(to.0));
        let (top, bottom) = (self.down(from.1.max(to.1)), self.down(from.1.min(to.1)));
        let width = tenths((right - left - 1.0).max(0.5));
        let height = tenths((bottom - top).max(0.5));
        self.marks.push(html! {
            rect class={ "bar " (class) } x=(tenths(left)) y=(tenths(top))
                width=(width) height=(height) { title { (told) } }
        });
    }

    /// Draws a dot; `told` is its tooltip.
    pub(crate) fn dot(&mut self, class: &str, radius: f64, at: (f64, f64), told: &str) {
        let (x, y) = (self.across(at.0), self.down(at.1));
        self.marks.push(html! {
            circle class={ "dot " (class) } cx=(tenths(x)) cy=(tenths(y)) r=(radius) {
                title { (told) }
            }
        });
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
        self.marks.push(html! {
            text class=(class) text-anchor=(anchor) x=(tenths(x)) y=(tenths(y)) { (text) }
        });
    }

    /// Draws the legend of lines and areas: the classes of each one's area and line, and its name.
    pub(crate) fn legend(&mut self, entries: &[(Option<&str>, Option<&str>, &str)]) {
        for (row, (area, line, name)) in entries.iter().enumerate() {
            let (x, y) = (LEFT + 12.0, TOP + 12.0 + 19.0 * row as f64);
            self.marks.push(html! {
                @if let Some(class) = area {
                    rect class={ "band " (class) } x=(x) y=(y - 6.0) width="22" height="12" {}
                }
                @if let Some(class) = line {
                    path class={ "line " (class) } d=(format!("M{x} {y}h22")) {}
                }
                text x=(x + 29.0) y=(y + 4.0) { (name) }
            });
        }
    }

    /// Returns the SVG element; `told` is its text alternative, a sentence that describes the plot.
    pub(crate) fn svg(self, told: &str) -> Markup {
        html! {
            svg.plot viewBox={ "0 0 " (self.width) " " (self.height) } role="img" aria-label=(told) {
                @if self.has_y_ticks { (self.y_ticks()) }
                (self.x_ticks())
                (self.axes())
                @for mark in self.marks { (mark) }
            }
        }
    }

    fn y_ticks(&self) -> Markup {
        let right = self.width - RIGHT;
        html! {
            @for tick in self.y.ticks(5) {
                @let y = self.down(tick);
                path.grid d=(format!("M{LEFT} {y:.1}H{right}")) {}
                text.tick text-anchor="end" x=(tenths(LEFT - 7.0)) y=(tenths(y + 4.0)) {
                    (self.y.written(tick))
                }
            }
        }
    }

    fn x_ticks(&self) -> Markup {
        let bottom = self.height - BOTTOM;
        let about = ((self.width - RIGHT - LEFT) / 75.0).ceil() as usize;
        html! {
            @for tick in self.x.ticks(about) {
                @let x = self.across(tick);
                path.axis d=(format!("M{x:.1} {bottom}v4")) {}
                text.tick text-anchor="middle" x=(tenths(x)) y=(tenths(bottom + 17.0)) {
                    (self.x.written(tick))
                }
            }
        }
    }

    fn axes(&self) -> Markup {
        let (right, bottom) = (self.width - RIGHT, self.height - BOTTOM);
        let (x, y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        html! {
            path.axis d=(format!("M{LEFT} {bottom}H{right}")) {}
            text.label text-anchor="middle" x=(tenths(x)) y=(tenths(self.height - 8.0)) {
                (self.x.label)
            }
            text.label text-anchor="middle" transform=(format!("translate(13 {y:.1}) rotate(-90)")) {
                (self.y.label)
            }
        }
    }
}

/// Formats a position or length; less than a tenth of a pixel is not visible.
fn tenths(units: f64) -> String {
    format!("{units:.1}")
}

/// Returns a rate with its interval on a line from 0 to 1, small enough for a table cell.
pub(crate) fn whisker(class: &str, value: f64, interval: [f64; 2]) -> Markup {
    const WIDTH: f64 = 116.0;
    const END: f64 = WIDTH - 4.0;
    let place = |share: f64| 4.0 + share * (WIDTH - 8.0);
    let [low, high] = interval.map(place);
    html! {
        svg.whisker viewBox={ "0 0 " (WIDTH) " 14" } aria-hidden="true" {
            path.grid d=(format!("M4 7H{END}M4 3v8M{END} 3v8")) {}
            path class={ "line " (class) } d=(format!("M{low:.1} 7H{high:.1}")) {}
            circle class={ "dot " (class) } cx=(tenths(place(value))) cy="7" r="3.5" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis::Scale;
    use super::*;

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
