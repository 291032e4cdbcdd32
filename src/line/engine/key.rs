//! The key of an engine: everything that it depends on and nothing else.

use flawd_core::digest::Digest;
use flawd_onnx::{OpenVinoOptions, Provider, SessionOptions, TensorRtOptions};
use serde::{Deserialize, Serialize};

use super::machine::{Machine, OpenVinoHost, TensorRtHost, UNKNOWN};
use crate::files::digest::sha256;

/// What an engine was built for. Another key means another engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EngineKey {
    /// An engine of TensorRT's.
    TensorRt(TensorRtKey),
    /// A model that OpenVINO has compiled.
    OpenVino(OpenVinoKey),
}

/// What an engine of TensorRT's was built for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRtKey {
    /// Digest of the model file.
    pub model: Digest,
    /// Whether half precision is used when that is faster.
    pub fp16: bool,
    /// Limit of the scratch memory in bytes; `None` for TensorRT's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<usize>,
    /// Which of the machine's GPUs, counted from 0.
    pub device: u32,
    /// The machine that it runs on.
    pub machine: TensorRtHost,
}

/// What OpenVINO has compiled a model for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenVinoKey {
    /// Digest of the model file.
    pub model: Digest,
    /// OpenVINO's name of the device.
    pub device: String,
    /// The numbers that it computes with.
    pub precision: String,
    /// The machine that it runs on.
    pub machine: OpenVinoHost,
}

/// A property of a key: its name and its value, human-readable.
type Property = (&'static str, String);

impl EngineKey {
    /// Creates the key of a model's engine on a machine; `None` if no listed provider keeps any.
    pub fn new(model: Digest, options: &SessionOptions, machine: &Machine) -> Option<Self> {
        options
            .providers
            .iter()
            .find_map(|provider| match provider {
                Provider::TensorRt(options) => {
                    Some(Self::of_tensorrt(model, options, &machine.tensorrt))
                }
                Provider::OpenVino(options) => {
                    Some(Self::of_openvino(model, options, &machine.openvino))
                }
                Provider::Cpu | Provider::Cuda(_) | Provider::Plugin(_) => None,
            })
    }

    fn of_tensorrt(model: Digest, options: &TensorRtOptions, machine: &TensorRtHost) -> Self {
        Self::TensorRt(TensorRtKey {
            model,
            fp16: options.fp16,
            memory_limit: options.workspace_limit,
            device: options.device,
            machine: machine.clone(),
        })
    }

    fn of_openvino(model: Digest, options: &OpenVinoOptions, machine: &OpenVinoHost) -> Self {
        Self::OpenVino(OpenVinoKey {
            model,
            device: options.device.to_string(),
            precision: options.precision.name().to_owned(),
            machine: machine.clone(),
        })
    }

    /// Returns the digest of the model file.
    pub fn model(&self) -> Digest {
        match self {
            Self::TensorRt(key) => key.model,
            Self::OpenVino(key) => key.model,
        }
    }

    /// Returns the provider's name, as its maker writes it.
    pub fn provider(&self) -> &'static str {
        match self {
            Self::TensorRt(_) => "TensorRT",
            Self::OpenVino(_) => "OpenVINO",
        }
    }

    /// Returns how the name of an engine's file ends.
    pub(crate) fn extension(&self) -> &'static str {
        match self {
            Self::TensorRt(_) => ".engine",
            Self::OpenVino(_) => ".blob",
        }
    }

    /// Returns the name of the engine's folder: the beginnings of two digests, the model's and that
    /// of the rest.
    pub fn folder_name(&self) -> String {
        let rest = sha256(self.text().as_bytes());
        format!("{}-{}", &self.model().hex()[..16], &rest.hex()[..16])
    }

    /// Returns the key that the engine would have on this machine.
    pub(crate) fn on(&self, machine: &Machine) -> Self {
        let mut here = self.clone();
        match &mut here {
            Self::TensorRt(key) => key.machine = machine.tensorrt.clone(),
            Self::OpenVino(key) => key.machine = machine.openvino.clone(),
        }
        here
    }

    /// Returns the machine's properties that the engine depends on.
    pub fn machine(&self) -> Vec<Property> {
        match self {
            Self::TensorRt(key) => vec![
                ("ONNX Runtime", key.machine.onnxruntime.clone()),
                ("TensorRT", key.machine.tensorrt.clone()),
                ("driver", key.machine.driver.clone()),
                ("GPU", key.machine.gpu.clone()),
            ],
            Self::OpenVino(key) => vec![
                ("ONNX Runtime", key.machine.onnxruntime.clone()),
                ("OpenVINO", key.machine.openvino.clone()),
                ("processor", key.machine.processor.clone()),
            ],
        }
    }

    /// Returns the names of what could not be read of the machine: changes to it go unnoticed.
    pub fn unknown(&self) -> Vec<&'static str> {
        let machine = self.machine().into_iter();
        let unknown = machine.filter(|(_, value)| value == UNKNOWN);
        unknown.map(|(name, _)| name).collect()
    }

    /// Returns its differences from another key, human-readable.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        if self.provider() != other.provider() {
            let (there, here) = (self.provider(), other.provider());
            return vec![format!("provider is {there} there and {here} here")];
        }
        let pairs = self.properties().into_iter().zip(other.properties());
        pairs
            .filter(|(here, there)| here != there)
            .map(|((name, here), (_, there))| format!("{name} is {here} there and {there} here"))
            .collect()
    }

    fn properties(&self) -> Vec<Property> {
        let mut properties = vec![("model", self.model().to_string())];
        match self {
            Self::TensorRt(key) => properties.extend([
                ("fp16", key.fp16.to_string()),
                (
                    "memory limit",
                    match key.memory_limit {
                        Some(bytes) => format!("{bytes} bytes"),
                        None => "TensorRT's own".to_owned(),
                    },
                ),
                ("device", key.device.to_string()),
            ]),
            Self::OpenVino(key) => properties.extend([
                ("device", key.device.clone()),
                ("precision", key.precision.clone()),
            ]),
        }
        properties.extend(self.machine());
        properties
    }

    fn text(&self) -> String {
        toml::to_string(self).expect("strings, numbers and flags can be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is changed, and how.
    type Change<K> = (&'static str, fn(&mut K));

    fn tensorrt() -> TensorRtKey {
        TensorRtKey {
            model: Digest::new([7; 32]),
            fp16: true,
            memory_limit: None,
            device: 0,
            machine: TensorRtHost {
                onnxruntime: "1.32.0".to_owned(),
                tensorrt: "10.3.0".to_owned(),
                driver: "540.4.0".to_owned(),
                gpu: "NVIDIA Jetson Orin Nano".to_owned(),
            },
        }
    }

    fn openvino() -> OpenVinoKey {
        OpenVinoKey {
            model: Digest::new([7; 32]),
            device: "CPU".to_owned(),
            precision: "f32".to_owned(),
            machine: OpenVinoHost {
                onnxruntime: "1.24.1".to_owned(),
                openvino: "2025.4.1".to_owned(),
                processor: "Intel(R) Xeon(R) Processor".to_owned(),
            },
        }
    }

    /// Each change gives another folder, and is named as the only difference.
    fn each_is_told_apart<K: Clone>(key: K, wrap: fn(K) -> EngineKey, changes: &[Change<K>]) {
        let original = wrap(key.clone());
        assert!(original.differences(&original).is_empty());
        let mut folders = vec![original.folder_name()];
        for (name, change) in changes {
            let mut other = key.clone();
            change(&mut other);
            let other = wrap(other);
            let differences = original.differences(&other);
            assert_eq!(differences.len(), 1, "{differences:?}");
            assert!(differences[0].starts_with(name), "{differences:?}");
            folders.push(other.folder_name());
        }
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), changes.len() + 1);
    }

    #[test]
    fn whatever_an_engine_of_tensorrt_depends_on_gives_it_another_folder_and_is_named() {
        let changes: [Change<TensorRtKey>; 8] = [
            ("model", |key| key.model = Digest::new([8; 32])),
            ("fp16", |key| key.fp16 = false),
            ("memory limit", |key| key.memory_limit = Some(1 << 30)),
            ("device", |key| key.device = 1),
            ("ONNX Runtime", |key| {
                key.machine.onnxruntime = "1.33.0".to_owned()
            }),
            ("TensorRT", |key| key.machine.tensorrt = "10.9.0".to_owned()),
            ("driver", |key| key.machine.driver = "unknown".to_owned()),
            ("GPU", |key| key.machine.gpu = "NVIDIA L4".to_owned()),
        ];
        each_is_told_apart(tensorrt(), EngineKey::TensorRt, &changes);
    }

    #[test]
    fn whatever_a_model_of_openvino_depends_on_gives_it_another_folder_and_is_named() {
        let changes: [Change<OpenVinoKey>; 6] = [
            ("model", |key| key.model = Digest::new([8; 32])),
            ("device", |key| key.device = "GPU.0".to_owned()),
            ("precision", |key| key.precision = "bf16".to_owned()),
            ("ONNX Runtime", |key| {
                key.machine.onnxruntime = "1.25.0".to_owned()
            }),
            ("OpenVINO", |key| key.machine.openvino = "2026.0".to_owned()),
            ("processor", |key| key.machine.processor = "Atom".to_owned()),
        ];
        each_is_told_apart(openvino(), EngineKey::OpenVino, &changes);
    }

    #[test]
    fn engines_of_two_providers_differ_in_the_provider() {
        let (one, other) = (
            EngineKey::TensorRt(tensorrt()),
            EngineKey::OpenVino(openvino()),
        );
        assert_eq!(
            one.differences(&other),
            ["provider is TensorRT there and OpenVINO here"]
        );
        assert_ne!(one.folder_name(), other.folder_name());
    }

    #[test]
    fn the_same_key_has_the_same_folder_in_every_process() {
        let key = EngineKey::TensorRt(tensorrt());
        assert_eq!(key.folder_name(), "0707070707070707-43b02e13eec61742");
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        for key in [
            EngineKey::TensorRt(tensorrt()),
            EngineKey::OpenVino(openvino()),
        ] {
            assert_eq!(toml::from_str::<EngineKey>(&key.text()), Ok(key));
        }
    }
}
