//! What is known about the pixels of a labelled picture.

use std::path::Path;

use flawd_core::digest::Digest;
use flawd_core::evaluation::PixelTruth;
use flawd_core::image::{CHANNELS, RgbImage, Size};
use flawd_core::preprocess::PreprocessError;
use image::ImageFormat;

use super::mask::{self, MaskError};
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::files::digest::sha256;
use crate::lab::dataset::Sample;
use crate::lab::variation::{Change, move_mask};
use crate::pictures::decode::{self, DecodeError};

/// Why a sample, or its mask, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The image cannot be scored.
    #[error(transparent)]
    Score(#[from] ScorerError),
    /// The mask cannot be decoded.
    #[error(transparent)]
    MaskFile(#[from] DecodeError),
    /// The mask is not reliable.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// The mask has no region of interest.
    #[error(transparent)]
    Geometry(#[from] PreprocessError),
}

/// What is known about the pixels of a picture, and the files that this comes from.
pub(crate) struct Truth<'a> {
    pub(crate) pixels: PixelTruth,
    pub(crate) files: Vec<(Digest, &'a Path)>,
}

/// A file that cannot be used.
pub(crate) struct Unusable<'a> {
    pub(crate) path: &'a Path,
    pub(crate) error: Box<SampleError>,
}

/// Returns the truth about the pixels of a sample whose picture has this size and was changed by
/// `changes`; `None` for a defect without a mask. Where a change moves the picture, the mask moves
/// with it.
pub(crate) fn truth_of<'a>(
    scorer: &Scorer,
    sample: &'a Sample,
    size: Size,
    changes: &[Change],
) -> Result<Option<Truth<'a>>, Unusable<'a>> {
    if sample.masks.is_empty() && sample.is_defect() {
        return Ok(None);
    }
    let mut marked = vec![false; size.area()];
    let mut files = Vec::new();
    let last = sample.masks.last().unwrap_or(&sample.path);
    for path in &sample.masks {
        let unusable = |error| Unusable {
            path,
            error: Box::new(error),
        };
        let (bytes, own) = read_mask(path, size).map_err(unusable)?;
        files.push((sha256(&bytes), path.as_path()));
        marked
            .iter_mut()
            .zip(own)
            .for_each(|(all, own)| *all |= own);
    }
    let is_marked = marked.contains(&true);
    let contradiction = match (sample.is_defect(), is_marked) {
        (true, false) => Some(MaskError::Empty),
        (false, true) => Some(MaskError::Good),
        _ => None,
    };
    let unusable = |error| Unusable {
        path: last,
        error: Box::new(error),
    };
    if let Some(contradiction) = contradiction {
        return Err(unusable(contradiction.into()));
    }
    let marked = move_mask(changes, marked, size);
    let pixels = inspected(scorer, marked, size).map_err(|error| unusable(error.into()))?;
    Ok(Some(Truth { pixels, files }))
}

/// Returns the bytes of a mask, and which pixels of a picture of this size it marks; possibly none.
fn read_mask(path: &Path, size: Size) -> Result<(Vec<u8>, Vec<bool>), SampleError> {
    let bytes = decode::read(path)?;
    let mask = decode::as_saved(path, &bytes)?;
    let is_lossy = image::guess_format(&bytes).is_ok_and(|it| it == ImageFormat::Jpeg);
    match mask::marked(&mask, is_lossy, size) {
        Ok(marked) => Ok((bytes, marked)),
        Err(MaskError::Empty) => Ok((bytes, vec![false; size.area()])),
        Err(error) => Err(error.into()),
    }
}

/// Returns the truth about the inspected part of a picture.
fn inspected(
    scorer: &Scorer,
    marked: Vec<bool>,
    size: Size,
) -> Result<PixelTruth, PreprocessError> {
    let pixels = marked.into_iter().flat_map(|is| [u8::from(is); CHANNELS]);
    let whole = RgbImage::new(size, pixels.collect()).expect("one value a channel");
    let inspected = scorer.geometry().apply(&whole)?;
    let pixels = inspected.pixels().chunks_exact(CHANNELS);
    let is_defect = pixels.map(|pixel| pixel[0] > 0).collect();
    Ok(PixelTruth::new(inspected.size(), is_defect))
}
