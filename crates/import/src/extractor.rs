//! The feature extractor inside an anomalib checkpoint.
//!
//! anomalib stores it twice: as the network that it was cut out of (`backbone`), and as the part
//! that runs (`feature_extractor`); older versions stored the second one only, without that name.
//! The part that runs is taken, with the statistics of its batch normalisation as they are in the
//! file: some versions kept adapting them while training the flow.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::tensors::{TensorError, TensorFile};

/// Where the extractor lies below the model.
pub(crate) const EXTRACTOR: &str = "feature_extractor.";

/// Where its copies lie below that, in order of preference.
const COPIES: [&str; 3] = [
    "feature_extractor.feature_extractor.",
    "feature_extractor.",
    "feature_extractor.backbone.",
];

/// The prefix of every name of the network itself.
const NETWORK: &str = "features.";

/// A feature extractor's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Extractor {
    /// Tensors under the names of torchvision, `features.0.0.weight` and so on.
    pub tensors: BTreeMap<String, ArrayD<f32>>,
    /// A tensor of which the checkpoint has a second copy with other numbers; the copy that runs
    /// was taken.
    pub differs: Option<String>,
}

impl Extractor {
    /// Reads the extractor of the model whose names begin with `model`; `None` if it has none.
    pub(crate) fn read(file: &TensorFile, model: &str) -> Result<Option<Self>, TensorError> {
        let mut copies = COPIES
            .iter()
            .map(|copy| format!("{model}{EXTRACTOR}{copy}"))
            .filter(|copy| file.names().any(|name| network(name, copy).is_some()));
        let Some(taken) = copies.next() else {
            return Ok(None);
        };
        let others: Vec<String> = copies.collect();
        let mut tensors = BTreeMap::new();
        let mut differs = None;
        for name in file.names() {
            let Some(own) = network(name, &taken) else {
                continue;
            };
            // Counters of batches, which no computation uses.
            if !file.is_float(name)? {
                continue;
            }
            let tensor = file.read(name)?;
            for other in &others {
                let other = format!("{other}{own}");
                if file.contains(&other) && file.read(&other)? != tensor {
                    differs.get_or_insert(other);
                }
            }
            tensors.insert(own.to_owned(), tensor);
        }
        Ok(Some(Self { tensors, differs }))
    }
}

/// Returns what `name` is called within the network, if it belongs to the copy under `prefix`.
fn network<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)
        .filter(|own| own.starts_with(NETWORK))
}
