//! Several bundles on several data sets in one evaluation, paired by their names, and the mean over
//! them: one row each, as in published tables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::compared::AcrossCategories;
use super::{Evaluation, Metrics};
use crate::bundle::{Bundle, BundleError};
use crate::files::path_text;
use crate::lab::dataset::TestSet;

/// A bundle and the folder it is evaluated on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// Name of the folder.
    pub name: String,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The folder with the labelled images.
    pub data: PathBuf,
}

/// What to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationTarget {
    /// One bundle on one folder.
    One(Category),
    /// Every bundle of a folder, on the folder of the same name.
    Several {
        /// In the order of their names; at least one.
        categories: Vec<Category>,
        /// Folders with labelled images that have no bundle.
        left_out: Vec<String>,
    },
}

/// Why bundles and folders do not form pairs.
#[derive(Debug, thiserror::Error)]
pub enum CategoryError {
    /// A folder cannot be listed.
    #[error("cannot list the folder {}", path.display())]
    Unlistable {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The given path is neither a bundle nor a folder of bundles.
    #[error(transparent)]
    NoBundle(BundleError),
    /// A bundle has nothing to be evaluated on.
    #[error(
        "there are no images for the bundle {}: {} has no folder `test`; each bundle of {} is \
         evaluated on the folder of the same name",
        bundle.display(),
        data.display(),
        bundle.parent().unwrap_or(bundle).display()
    )]
    NoData {
        /// The bundle.
        bundle: PathBuf,
        /// Where its images are expected.
        data: PathBuf,
    },
}

impl EvaluationTarget {
    /// Returns one category if `bundle` is a bundle, else one for each bundle in it. Nothing is
    /// opened yet.
    ///
    /// # Errors
    /// If `bundle` is not a bundle and contains none, a folder cannot be listed, or one of several
    /// bundles has no folder of its name.
    pub fn find(bundle: &Path, data: &Path) -> Result<Self, CategoryError> {
        let named = |name: String, bundle: &Path, data: PathBuf| Category {
            name,
            bundle: bundle.to_owned(),
            data,
        };
        let is_one = Bundle::is_at(bundle);
        let bundles = if is_one || !bundle.is_dir() {
            Vec::new()
        } else {
            folders(bundle, Bundle::is_at)?
        };
        if bundles.is_empty() && !is_one {
            let path = bundle.to_owned();
            return Err(CategoryError::NoBundle(BundleError::NotABundle { path }));
        }
        if is_one {
            let name = text(data.file_name().unwrap_or_default());
            return Ok(Self::One(named(name, bundle, data.to_owned())));
        }
        let mut categories = Vec::new();
        for name in &bundles {
            let (bundle, data) = (bundle.join(name), data.join(name));
            if !TestSet::is_at(&data) {
                return Err(CategoryError::NoData { bundle, data });
            }
            categories.push(named(text(name), &bundle, data));
        }
        let mut left_out = folders(data, TestSet::is_at)?;
        left_out.retain(|name| !bundles.contains(name));
        Ok(Self::Several {
            categories,
            left_out: left_out.iter().map(|name| text(name)).collect(),
        })
    }

    /// Returns the categories, at least one.
    pub fn categories(&self) -> &[Category] {
        match self {
            Self::One(category) => std::slice::from_ref(category),
            Self::Several { categories, .. } => categories,
        }
    }
}

fn text(name: &OsStr) -> String {
    path_text::text(Path::new(name)).into_owned()
}

/// Returns the names of those folders in `folder` that are wanted, in order.
fn folders(folder: &Path, is_wanted: fn(&Path) -> bool) -> Result<Vec<OsString>, CategoryError> {
    let list = || -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            if is_wanted(&entry.path()) {
                names.push(entry.file_name());
            }
        }
        names.sort();
        Ok(names)
    };
    list().map_err(|source| CategoryError::Unlistable {
        path: folder.to_owned(),
        source,
    })
}

/// The reports of several categories.
#[derive(Debug, Serialize)]
pub struct Overview<'a> {
    /// By name.
    pub categories: BTreeMap<&'a str, &'a Evaluation>,
    /// The mean over all of them.
    pub mean: Mean,
    /// Every method in every category, the bundles' flow first; empty without a comparison.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparison: Vec<AcrossCategories<'a>>,
    /// Folders with labelled images that have no bundle.
    pub left_out: &'a [String],
}

impl<'a> Overview<'a> {
    /// Summarises reports.
    pub fn new(categories: BTreeMap<&'a str, &'a Evaluation>, left_out: &'a [String]) -> Self {
        let compared = categories.iter();
        let compared =
            compared.filter_map(|(&name, report)| Some((name, report.comparison.as_ref()?)));
        Self {
            mean: Mean::new(categories.values().map(|report| &report.overall)),
            comparison: AcrossCategories::of(&compared.collect::<Vec<_>>()),
            categories,
            left_out,
        }
    }
}

/// The arithmetic mean over categories, all weighted equally. A number that one of them lacks has
/// no mean: one over the rest would be the mean of another table.
#[derive(Debug, PartialEq, Serialize)]
pub struct Mean {
    /// Mean of [`Metrics::image_auroc`].
    pub image_auroc: Option<f64>,
    /// Mean of [`Metrics::image_ap`].
    pub image_ap: Option<f64>,
    /// Mean of [`Metrics::f1_max`].
    pub f1_max: Option<f64>,
    /// Mean of [`Metrics::false_reject_rate`].
    pub false_reject_rate: Option<f64>,
    /// Mean of [`Metrics::escape_rate`].
    pub escape_rate: Option<f64>,
    /// Mean of [`Metrics::pixel_auroc`].
    pub pixel_auroc: Option<f64>,
    /// Mean of [`Metrics::aupro`].
    pub aupro: Option<f64>,
}

impl Mean {
    fn new<'a>(metrics: impl Iterator<Item = &'a Metrics> + Clone) -> Self {
        let mean = |number: fn(&Metrics) -> Option<f64>| {
            let numbers: Option<Vec<f64>> = metrics.clone().map(number).collect();
            numbers
                .filter(|numbers| !numbers.is_empty())
                .map(|numbers| numbers.iter().sum::<f64>() / numbers.len() as f64)
        };
        Self {
            image_auroc: mean(|metrics| metrics.image_auroc),
            image_ap: mean(|metrics| metrics.image_ap),
            f1_max: mean(|metrics| metrics.f1_max),
            false_reject_rate: mean(|metrics| metrics.false_reject_rate),
            escape_rate: mean(|metrics| metrics.escape_rate),
            pixel_auroc: mean(|metrics| metrics.pixel_auroc),
            aupro: mean(|metrics| metrics.aupro),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Creates a folder with these bundles, all empty, and one with these data sets.
    fn place(bundles: &[&str], data: &[&str]) -> TempDir {
        let place = TempDir::new().expect("a temporary folder");
        let make = |folder: PathBuf| fs::create_dir_all(folder).expect("it can be made");
        make(place.path().join("bundles"));
        make(place.path().join("data"));
        for name in bundles {
            let folder = place.path().join("bundles").join(name);
            make(folder.clone());
            fs::write(folder.join("bundle.toml"), "").expect("it can be written");
        }
        for name in data {
            make(place.path().join("data").join(name).join("test"));
        }
        place
    }

    fn find(place: &TempDir) -> Result<EvaluationTarget, CategoryError> {
        let place = place.path();
        EvaluationTarget::find(&place.join("bundles"), &place.join("data"))
    }

    #[test]
    fn bundles_and_data_are_paired_by_name_and_what_is_left_out_is_named() {
        let place = place(&["cable", "bottle"], &["bottle", "cable", "wood"]);
        let Ok(EvaluationTarget::Several {
            categories,
            left_out,
        }) = find(&place)
        else {
            panic!("there are several bundles");
        };
        let names: Vec<_> = categories.iter().map(|category| &category.name).collect();
        assert_eq!(names, ["bottle", "cable"]);
        assert!(categories[1].bundle.ends_with("bundles/cable"));
        assert!(categories[1].data.ends_with("data/cable"));
        assert_eq!(left_out, ["wood"]);
    }

    #[test]
    fn a_bundle_without_data_is_named_with_the_place_where_it_is_missed() {
        let place = place(&["cable", "bottle"], &["cable"]);
        let error = find(&place).expect_err("no bottle").to_string();
        assert!(
            error.contains("bundles/bottle") && error.contains("data/bottle"),
            "{error}"
        );
    }

    #[test]
    fn what_is_a_bundle_is_one_category_and_what_holds_none_is_named() {
        let one = place(&[""], &["cable"]);
        let one = find(&one).expect("a bundle");
        assert!(matches!(one, EvaluationTarget::One(_)));
        assert_eq!(one.categories()[0].name, "data");
        let none = TempDir::new().expect("a temporary folder");
        let data = none.path().join("data");
        for bundle in [none.path(), &none.path().join("nothing")] {
            let error = EvaluationTarget::find(bundle, &data).expect_err("no bundle");
            assert!(
                error.to_string().contains(&bundle.display().to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn a_mean_is_over_all_categories_or_none() {
        let metrics = |image_auroc, aupro| Metrics {
            image_auroc: Some(image_auroc),
            image_ap: None,
            f1_max: None,
            f1_max_threshold: None,
            false_reject_rate: None,
            false_reject_rate_interval: None,
            escape_rate: None,
            escape_rate_interval: None,
            pixel_auroc: None,
            aupro,
            aupro_error: None,
            counts: crate::lab::evaluation::Counts {
                good: 1,
                false_rejects: 0,
                defect: 1,
                escapes: 0,
            },
        };
        let both = [metrics(0.5, Some(0.25)), metrics(1.0, None)];
        let mean = Mean::new(both.iter());
        assert_eq!(mean.image_auroc, Some(0.75));
        assert_eq!(mean.aupro, None);
        assert_eq!(Mean::new([].iter()).image_auroc, None);
    }
}
