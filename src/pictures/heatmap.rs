//! Human-readable heatmaps: where a picture is unusual, drawn over the picture.
//!
//! All overlays of a bundle share one colour scale, anchored at its threshold, so that a good part
//! looks calm and two pictures can be compared. Whatever is at most as unusual as a part at the
//! threshold keeps its own colours; from there to eight times as much, yellow turns to red.

use std::io;
use std::path::{Path, PathBuf};

use flawd_core::anomaly::AnomalyMap;
use flawd_core::image::{CHANNELS, RgbImage};
use flawd_core::preprocess::{Geometry, PreprocessError};

use super::encode;

/// The scale ends at the anchor times two to this power.
pub(crate) const DOUBLINGS: f32 = 3.0;

/// How much of the picture is covered at the start and at the end of the scale.
const COVER: [f32; 2] = [0.25, 0.75];

/// Colours at the start and at the end of the scale.
pub(crate) const COLOURS: [[f32; CHANNELS]; 2] = [[255.0, 230.0, 0.0], [215.0, 0.0, 30.0]];

/// Why an overlay cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The region of interest does not lie inside the picture.
    #[error(transparent)]
    Geometry(#[from] PreprocessError),
    /// It cannot be encoded.
    #[error("cannot encode the heatmap {}", path.display())]
    Encode {
        /// The destination.
        path: PathBuf,
        /// The encoder's error.
        source: image::ImageError,
    },
    /// It cannot be written.
    #[error("cannot write the heatmap {}; make room there, or name another folder", path.display())]
    Write {
        /// The destination.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Saves an overlay as a PNG file; creates its parent folders. `image` is the decoded picture, of
/// which `geometry` is the inspected part.
///
/// # Errors
/// If the file cannot be written, or the geometry does not fit the picture.
pub fn save_overlay(
    path: &Path,
    image: &RgbImage,
    geometry: &Geometry,
    map: &AnomalyMap,
    threshold: f32,
) -> Result<(), OverlayError> {
    let drawn = overlay(&geometry.apply(image)?, map, threshold);
    let bytes = encode::png(&drawn).map_err(|source| OverlayError::Encode {
        path: path.to_owned(),
        source,
    })?;
    flawd_files::write(path, &bytes).map_err(|source| OverlayError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Draws `map` over `image`, which is the inspected part of the picture
/// ([`Geometry::apply`](flawd_core::preprocess::Geometry::apply)) at any resolution.
///
/// A score is half the mean square of the latent variables. A map is their mean square at the
/// finest scale, or the geometric mean of that of all scales: for both kinds, the map's value that
/// corresponds to the threshold is twice the threshold.
pub fn overlay(image: &RgbImage, map: &AnomalyMap, threshold: f32) -> RgbImage {
    let anchor = 2.0 * threshold;
    let map = map.upsample(image.size());
    let pixels = image.pixels().chunks_exact(CHANNELS).zip(map.values());
    let blended = pixels.flat_map(|(pixel, &value)| blend(pixel, value / anchor));
    RgbImage::new(image.size(), blended.collect()).expect("one pixel for each of the picture's")
}

/// Returns the pixel overlaid with the colour for `strength`, 1 being the anchor.
fn blend(pixel: &[u8], strength: f32) -> [u8; CHANNELS] {
    // The comparison is also false for NaN, as with an anchor of 0.
    let covered = strength > 1.0;
    let place = (strength.log2() / DOUBLINGS).clamp(0.0, 1.0);
    let mix = |[from, to]: [f32; 2], share: f32| from + (to - from) * share;
    std::array::from_fn(|channel| {
        let own = f32::from(pixel[channel]);
        if !covered {
            return pixel[channel];
        }
        let colour = mix(COLOURS.map(|colour| colour[channel]), place);
        mix([own, colour], mix(COVER, place)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use flawd_core::image::Size;

    use super::*;

    const GREY: [u8; CHANNELS] = [100; CHANNELS];

    #[test]
    fn what_is_usual_keeps_its_colours() {
        assert_eq!(blend(&GREY, 0.2), GREY);
        assert_eq!(blend(&GREY, 1.0), GREY);
        assert_eq!(blend(&GREY, f32::NAN), GREY);
    }

    #[test]
    fn the_more_unusual_the_redder_up_to_the_end_of_the_scale() {
        let greens = [1.01, 2.0, 4.0, 8.0].map(|strength| blend(&GREY, strength)[1]);
        assert!(greens.is_sorted_by(|a, b| a > b), "{greens:?}");
        let reds = [1.01, 2.0, 4.0, 8.0].map(|strength| blend(&GREY, strength)[0]);
        assert!(reds.is_sorted() && reds[0] > GREY[0], "{reds:?}");
        assert_eq!(blend(&GREY, 8.0), blend(&GREY, 1e6));
    }

    #[test]
    fn the_colour_depends_on_the_threshold_and_not_on_the_rest_of_the_picture() {
        let size = Size::new(1, 2);
        let image = RgbImage::new(size, GREY.repeat(2)).expect("it fits");
        let drawn = |values: [f32; 2], threshold| {
            let map = AnomalyMap::new(size, values.to_vec()).expect("it fits");
            overlay(&image, &map, threshold).pixels()[..CHANNELS].to_vec()
        };
        assert_eq!(drawn([3.0, 0.1], 1.0), drawn([3.0, 900.0], 1.0));
        assert_ne!(drawn([3.0, 0.1], 1.0), GREY);
        assert_eq!(drawn([3.0, 0.1], 1.5), GREY);
    }
}
