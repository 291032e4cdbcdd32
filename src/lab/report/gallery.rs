//! The pictures of a report: the defects with the lowest scores and the good parts with the
//! highest, collected as small JPEG files during an evaluation.
//!
//! All overlays of a bundle have the colour scale of [`overlay`](crate::pictures::heatmap), so that
//! they can be compared. If the test data show where a defect is, its outline is drawn.

use std::path::PathBuf;

use flawd_core::anomaly::AnomalyMap;
use flawd_core::evaluation::PixelTruth;
use flawd_core::image::{CHANNELS, RgbImage, Size};
use flawd_core::preprocess::{Geometry, PreprocessError, Preprocessor};

use crate::lab::dataset::Sample;
use crate::lab::evaluation::EvaluationStep;
use crate::pictures::encode;
use crate::pictures::heatmap::overlay;

/// Pictures of each kind.
const KEPT: usize = 6;

/// Longest side of a picture in pixels.
const LONGEST: usize = 320;

/// JPEG quality of the pictures.
const QUALITY: u8 = 82;

/// Colour of an outline: a blue that differs from the overlay's yellow and red, also to the
/// red-green colour-blind.
const OUTLINE: [u8; CHANNELS] = [0, 114, 255];

/// Why a picture cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// The region of interest does not lie inside the picture.
    #[error(transparent)]
    Geometry(#[from] PreprocessError),
    /// It cannot be encoded.
    #[error("cannot encode a picture of the report")]
    Encode(#[from] image::ImageError),
}

/// The pictures that a report shows.
pub struct Gallery {
    threshold: f32,
    geometry: Geometry,
    good: Vec<Shown>,
    defect: Vec<Shown>,
}

/// A picture and its overlay, as JPEG files.
pub(crate) struct Shown {
    pub(crate) path: PathBuf,
    pub(crate) kind: String,
    pub(crate) score: f32,
    pub(crate) size: Size,
    pub(crate) picture: Vec<u8>,
    pub(crate) overlay: Vec<u8>,
    pub(crate) has_outline: bool,
}

impl Gallery {
    /// Creates an empty gallery of what `geometry` inspects, with overlays anchored at `threshold`.
    pub fn new(threshold: f32, geometry: Geometry) -> Self {
        Self {
            threshold,
            geometry,
            good: Vec::new(),
            defect: Vec::new(),
        }
    }

    /// Receives what an evaluation reports, and keeps the picture if it is among the worst.
    ///
    /// # Errors
    /// If the picture cannot be cut out or encoded.
    pub fn observe(&mut self, step: &EvaluationStep<'_>) -> Result<(), GalleryError> {
        let EvaluationStep::Scored {
            sample,
            image,
            prediction,
            truth,
        } = step
        else {
            return Ok(());
        };
        // The higher, the worse.
        let badness = |score: f32| if sample.is_defect() { -score } else { score };
        let kept = if sample.is_defect() {
            &self.defect
        } else {
            &self.good
        };
        let score = prediction.score;
        let place = kept.partition_point(|shown| badness(shown.score) >= badness(score));
        if place >= KEPT {
            return Ok(());
        }
        let shown = self.draw(sample, image, score, &prediction.anomaly_map, *truth)?;
        let kept = if sample.is_defect() {
            &mut self.defect
        } else {
            &mut self.good
        };
        kept.insert(place, shown);
        kept.truncate(KEPT);
        Ok(())
    }

    /// Returns the good parts with the highest scores, the highest first.
    pub(crate) fn good(&self) -> &[Shown] {
        &self.good
    }

    /// Returns the defects with the lowest scores, the lowest first.
    pub(crate) fn defect(&self) -> &[Shown] {
        &self.defect
    }

    fn draw(
        &self,
        sample: &Sample,
        image: &RgbImage,
        score: f32,
        map: &AnomalyMap,
        truth: Option<&PixelTruth>,
    ) -> Result<Shown, GalleryError> {
        let picture = self.small(image)?;
        let size = picture.size();
        let mut drawn = overlay(&picture, map, self.threshold);
        let outline = truth.map(|truth| outline(truth, size)).unwrap_or_default();
        if !outline.is_empty() {
            drawn = paint(drawn, &outline);
        }
        Ok(Shown {
            path: sample.path.clone(),
            kind: sample.kind.clone(),
            score,
            size,
            picture: encode::jpeg(&picture, QUALITY)?,
            overlay: encode::jpeg(&drawn, QUALITY)?,
            has_outline: !outline.is_empty(),
        })
    }

    /// Returns the inspected part of a picture, not enlarged and at most [`LONGEST`] pixels long.
    fn small(&self, image: &RgbImage) -> Result<RgbImage, GalleryError> {
        let inspected = self.geometry.apply(image)?;
        let Size { height, width } = inspected.size();
        let longest = height.max(width);
        if longest <= LONGEST {
            return Ok(inspected);
        }
        let side = |length: usize| (length * LONGEST).div_ceil(longest);
        let size = Size::new(side(height), side(width));
        let mut preprocessor = Preprocessor::new(size, Geometry::default());
        let mut pixels = vec![0; preprocessor.tensor_len()];
        preprocessor.run(&inspected, &mut pixels)?;
        Ok(RgbImage::new(size, pixels).expect("a tensor has the size's pixels"))
    }
}

/// Returns the pixels of a picture of size `size` that surround its defects.
fn outline(truth: &PixelTruth, size: Size) -> Vec<usize> {
    let full = truth.size();
    // A small pixel belongs to a defect if any of the pixels that it covers does: nothing vanishes.
    let mut inside = vec![false; size.area()];
    for (place, _) in truth.is_defect().iter().enumerate().filter(|(_, is)| **is) {
        let row = place / full.width * size.height / full.height;
        let column = place % full.width * size.width / full.width;
        inside[row * size.width + column] = true;
    }
    let touches = |place: &usize| {
        let (row, column) = (place / size.width, place % size.width);
        let rows = row.saturating_sub(1)..=(row + 1).min(size.height - 1);
        rows.into_iter().any(|row| {
            let columns = column.saturating_sub(1)..=(column + 1).min(size.width - 1);
            columns
                .into_iter()
                .any(|column| inside[row * size.width + column])
        })
    };
    (0..size.area())
        .filter(|&place| !inside[place])
        .filter(touches)
        .collect()
}

fn paint(image: RgbImage, places: &[usize]) -> RgbImage {
    let size = image.size();
    let mut pixels = image.into_pixels();
    for place in places {
        pixels[place * CHANNELS..][..CHANNELS].copy_from_slice(&OUTLINE);
    }
    RgbImage::new(size, pixels).expect("the pixels are as many as before")
}

#[cfg(test)]
mod tests {
    use flawd_onnx::Prediction;

    use super::*;

    fn offer(gallery: &mut Gallery, kind: &str, score: f32) {
        let size = Size::new(4, 4);
        let prediction = Prediction {
            score,
            anomaly_map: AnomalyMap::new(size, vec![1.0; 16]).expect("it fits"),
        };
        let sample = Sample {
            path: PathBuf::from(format!("{score}.png")),
            kind: kind.to_owned(),
            masks: Vec::new(),
        };
        let image = RgbImage::new(Size::new(400, 800), vec![90; 960_000]).expect("it fits");
        let step = EvaluationStep::Scored {
            sample: &sample,
            image: &image,
            prediction: &prediction,
            truth: None,
        };
        gallery.observe(&step).expect("it can be drawn");
    }

    fn scores(shown: &[Shown]) -> Vec<f32> {
        shown.iter().map(|shown| shown.score).collect()
    }

    #[test]
    fn the_highest_good_parts_and_the_lowest_defects_are_kept_small() {
        let mut gallery = Gallery::new(5.0, Geometry::default());
        for score in [3.0, 9.0, 1.0, 7.0, 2.0, 8.0, 4.0, 6.0] {
            offer(&mut gallery, "good", score);
            offer(&mut gallery, "scratch", score);
        }
        assert_eq!(scores(gallery.good()), [9.0, 8.0, 7.0, 6.0, 4.0, 3.0]);
        assert_eq!(scores(gallery.defect()), [1.0, 2.0, 3.0, 4.0, 6.0, 7.0]);
        assert_eq!(gallery.good()[0].size, Size::new(160, LONGEST));
        assert!(gallery.good()[0].picture.starts_with(&[0xff, 0xd8]));
    }

    /// The style sheet draws the colour key; its colours must match the overlay's.
    #[test]
    fn the_key_has_the_colours_of_the_overlay_and_of_the_outline() {
        let hex = |colour: [u8; CHANNELS]| {
            let digits = colour.map(|channel| format!("{channel:02x}"));
            format!("#{}", digits.concat())
        };
        let [from, to] = crate::pictures::heatmap::COLOURS
            .map(|colour| hex(colour.map(|channel| channel as u8)));
        let style = include_str!("style.css");
        assert!(style.contains(&format!("linear-gradient(to right, {from}, {to})")));
        assert!(style.contains(&format!("solid {}", hex(OUTLINE))));
        assert_eq!(
            crate::pictures::heatmap::DOUBLINGS.exp2(),
            8.0,
            "the key says 8 ×"
        );
    }

    #[test]
    fn an_outline_goes_around_the_smallest_defect_without_covering_it() {
        let mut is_defect = vec![false; 40 * 40];
        is_defect[20 * 40 + 20] = true;
        let truth = PixelTruth::new(Size::new(40, 40), is_defect);
        let outline = outline(&truth, Size::new(10, 10));
        let around = [44, 45, 46, 54, 56, 64, 65, 66];
        assert_eq!(outline, around);
    }
}
