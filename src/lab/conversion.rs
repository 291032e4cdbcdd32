//! From a bundle to one whose model is in half precision.
//!
//! ```text
//! model.onnx ─► half precision ─► golden inputs and pictures, scored by both ─► bundle
//! ```
//! It ships only if no verdict differs, and no score by more than a golden input may. Threshold,
//! promise and golden scores stay those of the model in single precision, so that the golden test
//! compares a device in half precision with it.
//!
//! The module prints nothing.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use flawd_core::image::RgbImage;
use flawd_core::interrupted::Interrupted;
use flawd_core::manifest::{ConversionRecord, GoldenRecord, Manifest, ModelPrecision};
use flawd_onnx::{Execution, HalfCount, HalfError, half_graph};
use jiff::Timestamp;

use crate::bundle::scorer::{Scorer, ScorerError};
use crate::bundle::stress::{self, StressError};
use crate::bundle::{Bundle, BundleError, Draft, GoldenInput};
use crate::pictures::decode::decode_file;

/// Why a bundle is not converted; nothing is written.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// The model file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The model cannot be brought to half precision.
    #[error("cannot convert {}", path.display())]
    Half {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HalfError,
    },
    /// The bundle cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A picture has no score.
    #[error("cannot score {picture}")]
    Unscored {
        /// The picture.
        picture: String,
        /// Why.
        source: Box<ScorerError>,
    },
    /// The model in half precision has no score for a picture of something else than a part.
    #[error("in half precision, the model cannot be used")]
    Stress(#[source] StressError),
    /// A score differs by too much, or a verdict.
    #[error("the bundle stays in single precision: {0}")]
    Differs(Box<Difference>),
    /// The user has stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// The scores of a picture in both precisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The picture: a file, or the name of a golden input.
    pub picture: String,
    /// The score in single precision.
    pub single: f32,
    /// The score in half precision.
    pub half: f32,
    /// The threshold.
    pub threshold: f32,
}

impl Difference {
    /// Returns the difference relative to the score in single precision.
    pub fn relative(&self) -> f32 {
        let difference = (self.half - self.single).abs();
        match difference == 0.0 {
            true => 0.0,
            false => difference / self.single.abs(),
        }
    }

    fn is_flipped(&self) -> bool {
        (self.half > self.threshold) != (self.single > self.threshold)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            picture,
            single,
            half,
            threshold,
        } = self;
        let percent = 100.0 * self.relative();
        write!(
            f,
            "{picture} scores {single} in single precision and {half} in half, {percent:.3} % apart"
        )?;
        match self.is_flipped() {
            true => write!(f, ", and the threshold {threshold} lies between"),
            false => write!(
                f,
                "; at most {} % are accepted",
                100.0 * GoldenRecord::RELATIVE_TOLERANCE
            ),
        }
    }
}

/// What a conversion did.
#[derive(Debug)]
pub struct Converted {
    /// The new bundle.
    pub bundle: Bundle,
    /// Its operators by precision.
    pub count: HalfCount,
    /// The largest difference of all pictures.
    pub largest: Difference,
    /// The number of pictures that were compared, golden inputs included.
    pub compared: usize,
}

/// Writes a bundle whose model is `bundle`'s in half precision to `draft`, if it judges the golden
/// inputs and `pictures` alike. `observe` is told how many of how many pictures are compared, and may
/// stop.
///
/// # Errors
/// Any [`ConversionError`]; what was at the draft's place is then unchanged.
pub fn convert(
    bundle: &Bundle,
    mut draft: Draft,
    pictures: &[PathBuf],
    execution: Execution<'_>,
    observe: &mut dyn FnMut(usize, usize) -> Result<(), Interrupted>,
) -> Result<Converted, ConversionError> {
    let path = bundle.model_path();
    let bytes = bundle.load_model(|path| {
        fs::read(path).map_err(|source| ConversionError::Unreadable {
            path: path.to_owned(),
            source,
        })
    })?;
    let (half, count) =
        half_graph(&bytes).map_err(|source| ConversionError::Half { path, source })?;
    let half = draft.write_model(&half)?;
    draft.copy_training_files(bundle)?;

    let unscored = |picture: &str, source: ScorerError| ConversionError::Unscored {
        picture: picture.to_owned(),
        source: Box::new(source),
    };
    let opened =
        |scorer: Result<Scorer, ScorerError>| scorer.map_err(|it| unscored("any picture", it));
    let stated = &bundle.manifest().model;
    let mut both = Both {
        single: opened(Scorer::open(bundle, execution))?,
        half: opened(Scorer::load(&half, stated.geometry, execution))?.reading(stated.depth),
        bundle,
        largest: None,
        compared: 0,
    };
    let golden = both.golden()?;
    for (done, picture) in pictures.iter().enumerate() {
        observe(done, pictures.len())?;
        both.file(picture)?;
    }
    stress::check(&mut both.half).map_err(ConversionError::Stress)?;
    let (largest, compared) = (both.largest, both.compared);
    let largest = largest.expect("a bundle has a golden input");
    let conversion = ConversionRecord {
        precision: ModelPrecision::Half,
        of: stated.digest,
        pictures: compared,
        largest_difference: largest.relative(),
    };
    let bundle = write(bundle, draft, &golden, conversion)?;
    Ok(Converted {
        bundle,
        count,
        largest,
        compared,
    })
}

/// Finishes the draft with the manifest of `bundle`, in which only the model is another one.
fn write(
    bundle: &Bundle,
    draft: Draft,
    golden: &[GoldenInput],
    conversion: ConversionRecord,
) -> Result<Bundle, BundleError> {
    draft.finish(golden, |record| {
        let mut manifest: Manifest = bundle.manifest().clone();
        manifest.version = manifest.version.recalibrated();
        manifest.created = Timestamp::now();
        manifest.model.digest = record.model;
        manifest.conversion = Some(conversion);
        // Measured with the other model.
        manifest.metrics = None;
        manifest.golden = record.golden;
        manifest
    })
}

/// Both models, and what they have shown.
struct Both<'a> {
    single: Scorer,
    half: Scorer,
    bundle: &'a Bundle,
    largest: Option<Difference>,
    compared: usize,
}

impl Both<'_> {
    /// Compares the golden inputs, and returns them with the scores that they have.
    fn golden(&mut self) -> Result<Vec<GoldenInput>, ConversionError> {
        let bundle = self.bundle;
        let mut inputs = Vec::new();
        for golden in &bundle.manifest().golden {
            let image = bundle.golden_image(golden)?;
            self.compare(&golden.file, &image, golden.is_part())?;
            inputs.push(GoldenInput {
                image,
                score: golden.score,
                is_part: golden.is_part(),
            });
        }
        Ok(inputs)
    }

    /// Compares the scores of a file.
    fn file(&mut self, path: &Path) -> Result<(), ConversionError> {
        let name = path.display().to_string();
        let image = decode_file(path, self.single.depth());
        let image = image.map_err(|error| ConversionError::Unscored {
            picture: name.clone(),
            source: Box::new(error.into()),
        })?;
        self.compare(&name, &image, true)
    }

    /// Compares the scores of a picture; of one that is not a part, only the verdicts have to agree.
    fn compare(
        &mut self,
        name: &str,
        image: &RgbImage,
        is_part: bool,
    ) -> Result<(), ConversionError> {
        let score = |scorer: &mut Scorer| {
            let scored = scorer.score(image);
            scored
                .map(|prediction| prediction.score)
                .map_err(|source| ConversionError::Unscored {
                    picture: name.to_owned(),
                    source: Box::new(source),
                })
        };
        let difference = Difference {
            picture: name.to_owned(),
            single: score(&mut self.single)?,
            half: score(&mut self.half)?,
            threshold: self.bundle.calibration().threshold(),
        };
        self.compared += 1;
        let is_far = difference.relative() > GoldenRecord::RELATIVE_TOLERANCE;
        if difference.is_flipped() || (is_part && is_far) {
            return Err(ConversionError::Differs(Box::new(difference)));
        }
        let largest = self.largest.as_ref().map_or(-1.0, Difference::relative);
        if is_part && difference.relative() > largest {
            self.largest = Some(difference);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_with_its_number_and_what_it_breaks() {
        let mut difference = Difference {
            picture: "a.png".to_owned(),
            single: 2.0,
            half: 2.5,
            threshold: 3.0,
        };
        let told = difference.to_string();
        assert!(
            told.contains("a.png scores 2 in single precision and 2.5 in half, 25.000 % apart")
        );
        assert!(told.ends_with("at most 1 % are accepted"), "{told}");
        difference.threshold = 2.25;
        let told = difference.to_string();
        assert!(told.ends_with("the threshold 2.25 lies between"), "{told}");
        difference.half = 2.0;
        assert!(difference.relative() == 0.0 && !difference.is_flipped());
    }
}
