//! Determines from a mask file which pixels of a picture belong to a defect.
//!
//! Black is good; what else is there shows how the mask was made:
//!
//! ```text
//! one other level              any of it is a defect, be it 1 or 255
//! several, in areas            labels of several defects: any of them
//! many, without areas          soft edges: above half of the highest level
//! a transparent ground         what was painted on it
//! ```
//! A mask that fits none of these is refused by file name, with the ambiguity: a wrong mask yields
//! wrong numbers that look right.

use flawd_core::image::Size;
use image::DynamicImage;

/// The highest level of soft edges must be above this, of 65535: 16 of 255. Anything below is the
/// noise that a lossy file adds to black. Not measured; ours have 176 and more.
const FAINT: u16 = 16 * 257;

/// Soft edges make up at most this share of a mask; with more intermediate levels, it is a
/// photograph or a heat map. Those of the magnetic tiles in docs/training.md have at most 0.9 %.
const SOFT_AT_MOST: f64 = 0.25;

/// If areas have more levels than this, they are not labels of kinds of defects.
const LABELS: usize = 16;

/// How far the proportions of a mask may differ from those of its picture, because a side was
/// rounded.
const PROPORTIONS: f64 = 0.01;

/// Why a mask is not reliable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// Nothing is marked.
    #[error(
        "the mask is black all over, though its image lies in a folder of a defect: the image has \
         no pixel truth"
    )]
    Empty,
    /// Everything is marked, or nothing is black.
    #[error(
        "the mask has no black pixel, and black has to be what is good: if it is inverted, or has \
         another colour for what is good, save it again"
    )]
    NoBlack,
    /// Only grey levels that are nearly black.
    #[error(
        "the mask has grey levels up to {highest} of 255 alone, which a lossy file makes of black: \
         save it as PNG, with one colour for the defect"
    )]
    Faint {
        /// The highest level.
        highest: u16,
    },
    /// Areas of an intermediate level, and soft edges.
    #[error(
        "the mask has areas of {level} of 255 beside those of {highest}, and levels in between: \
         whether they are part of the defect is not known; save it with one colour for the defect"
    )]
    Levels {
        /// An intermediate level that fills an area.
        level: u16,
        /// The highest level.
        highest: u16,
    },
    /// Too many pixels of intermediate levels.
    #[error(
        "the mask has levels between black and its highest one at {} of 100 pixels, as a photograph \
         or a heat map has: save it with one colour for the defect",
        percent
    )]
    Photograph {
        /// Share of the pixels, in per cent.
        percent: u16,
    },
    /// The proportions differ from those of its image.
    #[error(
        "the mask is {mask} and its image {image}, height x width, which are not the same \
         proportions: the image has no pixel truth"
    )]
    Proportions {
        /// Size of the mask.
        mask: Size,
        /// Size of the image.
        image: Size,
    },
    /// A good part with a defect.
    #[error("the mask marks a defect, and its image lies in the folder of the good parts")]
    Good,
}

/// Returns which pixels of a picture of size `image` a mask marks, row-major. `is_lossy` says that
/// the file format does not preserve every level.
///
/// # Errors
/// A [`MaskError`] if that is ambiguous. [`MaskError::Empty`] if none are marked.
pub(crate) fn marked(
    mask: &DynamicImage,
    is_lossy: bool,
    image: Size,
) -> Result<Vec<bool>, MaskError> {
    let size = Size::new(mask.height() as usize, mask.width() as usize);
    let proportions = |size: Size| size.width as f64 / size.height as f64;
    if (proportions(size) / proportions(image) - 1.0).abs() > PROPORTIONS {
        return Err(MaskError::Proportions { mask: size, image });
    }
    let marked = defects(&levels(mask), size, is_lossy)?;
    Ok(fit(&marked, size, image))
}

/// Returns the brightness of each pixel: its strongest channel, so that all colours count equally.
fn levels(mask: &DynamicImage) -> Vec<u16> {
    let pixels = mask.to_rgba16();
    let strongest = |pixel: &image::Rgba<u16>| pixel[0].max(pixel[1]).max(pixel[2]);
    let mut alphas = pixels.pixels().map(|pixel| pixel[3]);
    let first = alphas.next().unwrap_or(u16::MAX);
    if alphas.all(|alpha| alpha == first) {
        return pixels.pixels().map(strongest).collect();
    }
    // Painted on a transparent layer: if the paint is black all over, or nowhere, it is the defect.
    let mut visible = pixels.pixels().filter(|pixel| pixel[3] > 0);
    let is_black = visible.next().is_none_or(|pixel| strongest(pixel) == 0);
    if visible.all(|pixel| (strongest(pixel) == 0) == is_black) {
        return pixels.pixels().map(|pixel| pixel[3]).collect();
    }
    let before_black = |pixel: &image::Rgba<u16>| {
        let product = u32::from(strongest(pixel)) * u32::from(pixel[3]);
        u16::try_from(product / u32::from(u16::MAX)).expect("no more than either")
    };
    pixels.pixels().map(before_black).collect()
}

/// Returns which pixels belong to a defect.
fn defects(levels: &[u16], size: Size, is_lossy: bool) -> Result<Vec<bool>, MaskError> {
    let mut counts = vec![0_usize; 1 << 16];
    for &level in levels {
        counts[usize::from(level)] += 1;
    }
    let present: Vec<u16> = (0..=u16::MAX)
        .filter(|&level| counts[usize::from(level)] > 0)
        .collect();
    let (lowest, highest) = match present[..] {
        [] | [0] => return Err(MaskError::Empty),
        [lowest, .., highest] => (lowest, highest),
        [_] => return Err(MaskError::NoBlack),
    };
    // A lossy file does not store black exactly.
    let black = if is_lossy { highest / 8 } else { 0 };
    if lowest > black {
        return Err(MaskError::NoBlack);
    }
    let above = |limit: u16| levels.iter().map(|&level| level > limit).collect();
    if !is_lossy {
        let between = &present[1..present.len() - 1];
        let areas = areas(levels, size);
        let in_areas = between.iter().filter(|&&level| areas[usize::from(level)]);
        let in_areas: Vec<u16> = in_areas.copied().collect();
        // Soft edges have no areas of one level, and no edge has as few levels as a faint mask.
        let are_labels = in_areas.len() == between.len() && between.len() < LABELS;
        if are_labels || (highest < FAINT && !in_areas.is_empty()) {
            return Ok(above(0));
        }
        if let Some(&level) = in_areas.first() {
            return Err(MaskError::Levels {
                level: level / 257,
                highest: highest / 257,
            });
        }
    }
    if highest < if is_lossy { u16::MAX / 2 } else { FAINT } {
        return Err(MaskError::Faint {
            highest: highest / 257,
        });
    }
    let soft: usize = counts[usize::from(highest / 8) + 1..=usize::from(highest / 8 * 7)]
        .iter()
        .sum();
    let share = soft as f64 / levels.len() as f64;
    if share > SOFT_AT_MOST {
        return Err(MaskError::Photograph {
            percent: (100.0 * share).round() as u16,
        });
    }
    Ok(above(highest / 2))
}

/// Returns for each level whether it fills a square of three pixels somewhere.
fn areas(levels: &[u16], Size { height, width }: Size) -> Vec<bool> {
    let mut areas = vec![false; 1 << 16];
    for row in 2..height {
        for column in 2..width {
            let level = levels[row * width + column];
            let square =
                (row - 2..=row).flat_map(|row| &levels[row * width..][column - 2..=column]);
            if !areas[usize::from(level)] && square.into_iter().all(|&other| other == level) {
                areas[usize::from(level)] = true;
            }
        }
    }
    areas
}

/// Scales the marks of a mask of size `mask` to the size `image`. A mark never vanishes: a pixel is
/// marked if any pixel that it covers is marked.
fn fit(marked: &[bool], mask: Size, image: Size) -> Vec<bool> {
    if mask == image {
        return marked.to_vec();
    }
    let mut fitted = vec![false; image.area()];
    if mask.area() >= image.area() {
        for place in (0..marked.len()).filter(|&place| marked[place]) {
            let row = place / mask.width * image.height / mask.height;
            let column = place % mask.width * image.width / mask.width;
            fitted[row * image.width + column] = true;
        }
    } else {
        for (place, fitted) in fitted.iter_mut().enumerate() {
            let row = (2 * (place / image.width) + 1) * mask.height / (2 * image.height);
            let column = (2 * (place % image.width) + 1) * mask.width / (2 * image.width);
            *fitted = marked[row * mask.width + column];
        }
    }
    fitted
}

#[cfg(test)]
mod tests;
