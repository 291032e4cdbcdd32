//! Axes of a plot: from numbers to positions, and which numbers are written.

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
    pub(crate) fn place(self, value: f64) -> f64 {
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
    /// Returns an axis of equal steps between two ends.
    pub(crate) fn linear(label: &'static str, [from, to]: [f64; 2], unit: Unit) -> Self {
        Self {
            label,
            scale: Scale::Linear { from, to },
            unit,
        }
    }

    /// Returns an axis of shares from 0 to `to`.
    pub(crate) fn share(label: &'static str, to: f64) -> Self {
        Self::linear(label, [0.0, to], Unit::Percent)
    }

    /// Returns the numbers that are written, approximately `about` of them.
    pub(crate) fn ticks(&self, about: usize) -> Vec<f64> {
        let mut ticks = self.scale.ticks(about);
        if matches!(self.unit, Unit::Count) {
            ticks.retain(|tick| tick.fract() == 0.0);
        }
        ticks
    }

    /// Returns the text of a number.
    pub(crate) fn written(&self, tick: f64) -> String {
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
}
