//! The key of an engine: everything that it depends on and nothing else.

use flawd_core::digest::Digest;
use flawd_onnx::TensorRtOptions;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::files::digest::sha256;

/// What an engine was built for. Another key means another engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineKey {
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
    pub machine: Machine,
}

impl EngineKey {
    /// Creates the key of a model's engine on a machine.
    pub fn new(model: Digest, options: &TensorRtOptions, machine: &Machine) -> Self {
        Self {
            model,
            fp16: options.fp16,
            memory_limit: options.workspace_limit,
            device: options.device,
            machine: machine.clone(),
        }
    }

    /// Returns the name of the engine's folder: the beginnings of two digests, the model's and that
    /// of the rest.
    pub fn folder_name(&self) -> String {
        let rest = sha256(self.text().as_bytes());
        format!("{}-{}", &self.model.hex()[..16], &rest.hex()[..16])
    }

    /// Returns its differences from another key, human-readable.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let differs = |name: &str, here: &dyn ToString, there: &dyn ToString| {
            let (here, there) = (here.to_string(), there.to_string());
            (here != there).then(|| format!("{name} is {here} there and {there} here"))
        };
        let limit = |key: &Self| match key.memory_limit {
            Some(bytes) => format!("{bytes} bytes"),
            None => "TensorRT's own".to_owned(),
        };
        let machines = (&self.machine, &other.machine);
        [
            differs("model", &self.model, &other.model),
            differs("fp16", &self.fp16, &other.fp16),
            differs("memory limit", &limit(self), &limit(other)),
            differs("device", &self.device, &other.device),
            differs(
                "ONNX Runtime",
                &machines.0.onnxruntime,
                &machines.1.onnxruntime,
            ),
            differs("TensorRT", &machines.0.tensorrt, &machines.1.tensorrt),
            differs("driver", &machines.0.driver, &machines.1.driver),
            differs("GPU", &machines.0.gpu, &machines.1.gpu),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn text(&self) -> String {
        toml::to_string(self).expect("strings, numbers and flags can be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is changed, and how.
    type Change = (&'static str, fn(&mut EngineKey));

    fn key() -> EngineKey {
        EngineKey {
            model: Digest::new([7; 32]),
            fp16: true,
            memory_limit: None,
            device: 0,
            machine: Machine {
                onnxruntime: "1.32.0".to_owned(),
                tensorrt: "10.3.0".to_owned(),
                driver: "540.4.0".to_owned(),
                gpu: "NVIDIA Jetson Orin Nano".to_owned(),
            },
        }
    }

    #[test]
    fn whatever_an_engine_depends_on_gives_it_another_folder_and_is_named() {
        let changes: [Change; 8] = [
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
        assert!(key().differences(&key()).is_empty());
        let mut folders = vec![key().folder_name()];
        for (name, change) in changes {
            let mut other = key();
            change(&mut other);
            let differences = key().differences(&other);
            assert_eq!(differences.len(), 1, "{differences:?}");
            assert!(differences[0].starts_with(name), "{differences:?}");
            folders.push(other.folder_name());
        }
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), 9);
    }

    #[test]
    fn the_same_key_has_the_same_folder_in_every_process() {
        assert_eq!(key().folder_name(), "0707070707070707-43b02e13eec61742");
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        assert_eq!(toml::from_str::<EngineKey>(&key().text()), Ok(key()));
    }
}
