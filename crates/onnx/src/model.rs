//! Runs the shipped model: image in, score and anomaly map out.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::anomaly::AnomalyMap;
use flawd_core::image::Size;

use crate::binding::Binding;
use crate::names::{ANOMALY_MAP, SCORE};
use crate::session::{Execution, ModelError, Source};

/// A session over a [`model_graph`](crate::model_graph).
pub struct Model {
    binding: Binding,
    map_size: Size,
    metadata: BTreeMap<String, String>,
    provider: &'static str,
}

/// The result of a model for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// How unusual the image is; finite. Around 0.5 for a good part.
    pub score: f32,
    /// How unusual each place of the image is.
    pub anomaly_map: AnomalyMap,
}

impl Model {
    /// Opens a session over the model file `path`.
    ///
    /// # Errors
    /// If the file is unreadable, damaged or not a flawd model, or a provider is unavailable.
    pub fn load(execution: Execution, path: &Path) -> Result<Self, ModelError> {
        let binding = Binding::open(execution, &Source::File(path))?;
        let outputs: Vec<_> = binding.outputs().collect();
        let map_size = match outputs[..] {
            [(SCORE, &[1]), (ANOMALY_MAP, &[1, 1, height, width])] => Size::new(height, width),
            _ => {
                return Err(ModelError::WrongKind {
                    path: path.to_owned(),
                    what: format!(
                        "its outputs must be `{SCORE}` [1] and `{ANOMALY_MAP}` [1, 1, h, w]"
                    ),
                });
            }
        };
        let metadata = read_metadata(&binding).map_err(|source| ModelError::NotLoaded {
            path: path.to_owned(),
            source,
        })?;
        let provider = execution.options.providers[0].name();
        Ok(Self {
            binding,
            map_size,
            metadata,
            provider,
        })
    }

    /// Returns the size of the image it takes.
    pub fn input_size(&self) -> Size {
        self.binding.input_size()
    }

    /// Returns the size of the anomaly map it gives.
    pub fn map_size(&self) -> Size {
        self.map_size
    }

    /// Returns a property that was written into the file.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Returns the name of the provider that runs it: the first of those listed.
    pub fn provider(&self) -> &str {
        self.provider
    }

    /// Scores one image of [`Self::input_size`]: RGB bytes, row by row.
    ///
    /// # Errors
    /// If the image has another size, the run fails, or the results are not finite numbers.
    pub fn run(&mut self, tensor: &[u8]) -> Result<Prediction, ModelError> {
        let map_size = self.map_size;
        let outputs = self.binding.run(tensor)?;
        // The shape [1] was checked when the session was opened.
        let score = outputs.elements(0)?[0];
        if !score.is_finite() {
            return Err(ModelError::NotFinite(score));
        }
        let anomaly_map = AnomalyMap::new(map_size, outputs.elements(1)?.to_vec())?;
        Ok(Prediction { score, anomaly_map })
    }
}

fn read_metadata(binding: &Binding) -> ort::Result<BTreeMap<String, String>> {
    let metadata = binding.session().metadata()?;
    let keys = metadata.custom_keys()?;
    let entry = |key: String| metadata.custom(&key).map(|value| (key, value));
    Ok(keys.into_iter().filter_map(entry).collect())
}
