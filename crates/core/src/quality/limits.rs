//! The limits that good pictures set, and what lies outside.

use serde::{Deserialize, Serialize};

use super::Measured;

/// The lowest brightness that passes, as a share of the darkest good picture's. Luma is gamma
/// coded, so half of it is about a fifth of the light (2^-2.2): no working lamp gives so little.
const DARKEST: f64 = 0.5;

/// The share of the range between the brightest good picture and white that may be used. Relative
/// to that range, not to the brightness, so that the limit stays below white.
const BRIGHTEST: f64 = 0.5;

/// The lowest sharpness that passes, as a share of the least sharp good picture's. A variance grows
/// with the square of contrast, so a quarter is all edges at half their height.
const BLURRED: f64 = 0.25;

/// The grey levels by which noise may exceed that of the noisiest good picture: a tenth of white,
/// twenty times the shot noise of a sensor whose pixels hold 10,000 electrons, at half of white
/// (EMVA 1288). Only a fault does that; not measured.
const NOISIER: f64 = 25.5;

/// The least difference in brightness by which a picture stands apart: near black or white, the
/// share alone exaggerates small differences. A sixteenth of the range; not measured.
const APART: f64 = 16.0;

/// The number of pictures that may stand apart on one side, if a tenth of all is less.
pub(crate) const FEW: usize = 3;

/// The largest value of a byte.
const WHITE: f64 = 255.0;

/// The range in which pictures can be judged, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLimits {
    /// Lowest mean luma.
    pub brightness_min: f64,
    /// Highest mean luma.
    pub brightness_max: f64,
    /// Lowest variance of the Laplacian.
    pub sharpness_min: f64,
    /// Highest deviation of the noise, in grey levels. Absent if it was not measured: any passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_max: Option<f64>,
}

/// Why a picture cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum QualityError {
    /// Darker than the limit.
    #[error("too dark: mean luma {brightness:.1}, and good pictures have at least {min:.1}")]
    TooDark {
        /// Its mean luma.
        brightness: f64,
        /// The lowest that passes.
        min: f64,
    },
    /// Brighter than the limit.
    #[error("too bright: mean luma {brightness:.1}, and good pictures have at most {max:.1}")]
    TooBright {
        /// Its mean luma.
        brightness: f64,
        /// The highest that passes.
        max: f64,
    },
    /// Less sharp than the limit.
    #[error("blurred: sharpness {sharpness:.2}, and good pictures have at least {min:.2}")]
    Blurred {
        /// Its variance of the Laplacian.
        sharpness: f64,
        /// The lowest that passes.
        min: f64,
    },
    /// Noisier than the limit.
    #[error("noisy: {noise:.1} grey levels of noise, and good pictures have at most {max:.1}")]
    Noisy {
        /// Its deviation of the noise.
        noise: f64,
        /// The highest that passes.
        max: f64,
    },
}

impl QualityLimits {
    /// Returns the limits for pictures like these good ones: their range, widened, so that each of
    /// them passes with room to spare. `None` if there are none.
    ///
    /// A black frame, a white one or a covered lens among them does not set a limit: the few that
    /// lie beyond the limits of all the others, by the same margin again, are ignored, and
    /// [`Self::check`] refuses them.
    ///
    /// From half of the lowest brightness to half of the room that the highest one leaves below
    /// white, and from a quarter of the lowest sharpness. The limits catch a lamp that failed, an
    /// exposure that ran away, a lens that turned; small changes are left to the score to tolerate.
    pub fn from_good(good: &[Measured]) -> Option<Self> {
        let lowest = |value: fn(&Measured) -> f64, share: f64, apart: f64| {
            lowest(good.iter().map(value).collect(), share, apart)
        };
        let darkest = lowest(|picture| picture.brightness, DARKEST, APART)?;
        let room = lowest(|picture| WHITE - picture.brightness, BRIGHTEST, APART)?;
        Some(Self {
            brightness_min: darkest * DARKEST,
            brightness_max: WHITE - room * BRIGHTEST,
            sharpness_min: lowest(|picture| picture.sharpness, BLURRED, 0.0)? * BLURRED,
            noise_max: noisiest(good).map(|noise| noise + NOISIER),
        })
    }

    /// Returns limits that pass what either passes.
    pub fn or(self, other: Self) -> Self {
        Self {
            brightness_min: self.brightness_min.min(other.brightness_min),
            brightness_max: self.brightness_max.max(other.brightness_max),
            sharpness_min: self.sharpness_min.min(other.sharpness_min),
            noise_max: self.noise_max.zip(other.noise_max).map(|(a, b)| a.max(b)),
        }
    }

    /// Returns limits that leave as much room again as [`Self::from_good`] leaves: what lies beyond
    /// shows no part that anything could be said of.
    pub fn with_as_much_room_again(self) -> Self {
        Self {
            brightness_min: self.brightness_min * DARKEST,
            brightness_max: WHITE - (WHITE - self.brightness_max) * BRIGHTEST,
            sharpness_min: self.sharpness_min * BLURRED,
            noise_max: self.noise_max.map(|noise| noise + NOISIER),
        }
    }

    /// Returns `true` if a picture can lie within the limits.
    pub fn is_possible(&self) -> bool {
        let brightness = self.brightness_min..=self.brightness_max;
        !brightness.is_empty()
            && brightness.start() <= &WHITE
            && brightness.end() >= &0.0
            && self.sharpness_min.is_finite()
            && self.noise_max.is_none_or(|noise| noise >= 0.0)
    }

    /// Compares a picture with the limits; brightness first, since what is too dark is blurred
    /// as well.
    ///
    /// # Errors
    /// The first limit that it violates.
    pub fn check(&self, measured: &Measured) -> Result<(), QualityError> {
        let &Measured {
            brightness,
            sharpness,
            ref condition,
        } = measured;
        if brightness < self.brightness_min {
            return Err(QualityError::TooDark {
                brightness,
                min: self.brightness_min,
            });
        }
        if brightness > self.brightness_max {
            return Err(QualityError::TooBright {
                brightness,
                max: self.brightness_max,
            });
        }
        if sharpness < self.sharpness_min {
            return Err(QualityError::Blurred {
                sharpness,
                min: self.sharpness_min,
            });
        }
        if let (Some(condition), Some(max)) = (condition, self.noise_max) {
            let noise = f64::from(condition.noise);
            if noise > max {
                return Err(QualityError::Noisy { noise, max });
            }
        }
        Ok(())
    }
}

/// Returns the highest noise of those pictures that do not stand apart; `None` unless all have one.
/// The few highest stand apart if they lie twice the margin above the next one.
fn noisiest(good: &[Measured]) -> Option<f64> {
    let noise = |it: &Measured| it.condition.as_ref().map(|it| -f64::from(it.noise));
    let noise: Option<Vec<f64>> = good.iter().map(noise).collect();
    lowest(noise?, 1.0, 2.0 * NOISIER).map(|noise| -noise)
}

/// Returns the lowest value of those that do not stand apart; `None` if there are none. The few
/// lowest stand apart if they lie below `share` of `share` of the next one, and `apart` below it.
fn lowest(mut values: Vec<f64>, share: f64, apart: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let most = (values.len() / 10)
        .max(FEW)
        .min(values.len().saturating_sub(1) / 2);
    let gap = |&few: &usize| {
        let (value, next) = (values[few - 1], values[few]);
        value < next * share * share && value < next - apart
    };
    let few = (1..=most).rev().find(gap).unwrap_or(0);
    values.get(few).copied()
}
