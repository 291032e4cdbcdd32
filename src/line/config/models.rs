//! `[inference]`, and which bundles judge a camera's parts: from what was written to what takes
//! effect. Whether a folder holds a bundle is checked when it is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use flawd_core::event::LONGEST_RECIPE;
use flawd_onnx::{
    CudaOptions, LONGEST_PLUGIN_NAME, OpenVinoOptions, PluginOptions, Provider, SessionOptions,
    TensorRtOptions,
};

use super::settings::ModelSettings;
use super::{Camera, Config, ConfigError, Document, Inference, InferenceSettings, OpenVino};
use crate::files::cache;

impl Config {
    pub(crate) fn validate_inference(
        &self,
        document: &Document,
    ) -> Result<InferenceSettings, ConfigError> {
        let inference = &self.inference;
        let bundle = document.require("inference.bundle", inference.bundle.clone())?;
        let providers = inference
            .providers
            .iter()
            .map(|name| inference.provider(name, document))
            .collect::<Result<Vec<_>, _>>()?;
        if providers.is_empty() {
            return Err(document.value_error("inference.providers", "names no provider"));
        }
        let engines = providers.iter().find(|provider| provider.keeps_engines());
        let engines = engines.map(|provider| inference.engines(provider, document));
        Ok(InferenceSettings {
            bundle: document.path("inference.bundle", &bundle)?,
            shadow: document.optional_path("inference.shadow", inference.shadow.as_deref())?,
            onnxruntime: document
                .optional_path("inference.onnxruntime", inference.onnxruntime.as_deref())?,
            session: SessionOptions {
                providers,
                intra_threads: inference.threads,
            },
            engines: engines.transpose()?,
        })
    }
}

impl Inference {
    /// Builds the provider of this name with its settings.
    fn provider(&self, name: &str, document: &Document) -> Result<Provider, ConfigError> {
        let bytes = |key: &str, mebibytes: Option<u64>| {
            let bytes = |mebibytes: u64| {
                let bytes = mebibytes.checked_mul(1 << 20)?;
                usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
            };
            mebibytes
                .map(|mebibytes| {
                    bytes(mebibytes).ok_or_else(|| {
                        document.value_error(key, format!("{mebibytes} MiB is not a limit"))
                    })
                })
                .transpose()
        };
        if name == "plugin" {
            return Ok(Provider::Plugin(self.plugin(document)?));
        }
        let provider = name.parse().map_err(|error: flawd_onnx::UnknownProvider| {
            document.value_error("inference.providers", error.to_string())
        })?;
        Ok(match provider {
            Provider::Cpu => Provider::Cpu,
            Provider::Cuda(_) => Provider::Cuda(CudaOptions {
                device: self.cuda.device,
                memory_limit: bytes(
                    "inference.cuda.memory_limit_mib",
                    self.cuda.memory_limit_mib,
                )?,
            }),
            Provider::TensorRt(_) => Provider::TensorRt(TensorRtOptions {
                device: self.tensorrt.device,
                fp16: self.tensorrt.fp16,
                workspace_limit: bytes(
                    "inference.tensorrt.memory_limit_mib",
                    self.tensorrt.memory_limit_mib,
                )?,
                ..TensorRtOptions::default()
            }),
            Provider::OpenVino(_) => Provider::OpenVino(self.openvino(document)?),
            Provider::Plugin(_) => Provider::Plugin(self.plugin(document)?),
        })
    }

    fn plugin(&self, document: &Document) -> Result<PluginOptions, ConfigError> {
        let plugin = &self.plugin;
        let library = document.require("inference.plugin.library", plugin.library.clone())?;
        let key = "inference.plugin.provider";
        let provider = document.require(key, plugin.provider.clone())?;
        if provider.is_empty() || provider.len() > LONGEST_PLUGIN_NAME {
            let problem = format!("the name has to have 1 to {LONGEST_PLUGIN_NAME} bytes");
            return Err(document.value_error(key, problem));
        }
        Ok(PluginOptions {
            library: document.path("inference.plugin.library", &library)?,
            provider,
            device: parsed(
                "inference.plugin.device",
                plugin.device.as_deref(),
                document,
            )?,
            options: plugin.options.clone(),
        })
    }

    fn openvino(&self, document: &Document) -> Result<OpenVinoOptions, ConfigError> {
        let OpenVino {
            device, precision, ..
        } = &self.openvino;
        Ok(OpenVinoOptions {
            device: parsed("inference.openvino.device", device.as_deref(), document)?,
            precision: parsed(
                "inference.openvino.precision",
                precision.as_deref(),
                document,
            )?,
            model_cache: None,
        })
    }

    /// Returns the folder in which this provider keeps engines.
    fn engines(&self, provider: &Provider, document: &Document) -> Result<PathBuf, ConfigError> {
        let (key, cache) = match provider {
            Provider::OpenVino(_) => ("inference.openvino.cache", &self.openvino.cache),
            _ => ("inference.tensorrt.cache", &self.tensorrt.cache),
        };
        match cache {
            Some(cache) => document.path(key, cache),
            None => cache::engines().ok_or_else(|| {
                document.value_error(
                    key,
                    "is missing, and there is neither $CACHE_DIRECTORY nor a home folder to keep \
                     engines in",
                )
            }),
        }
    }
}

/// Reads the text of a key, or takes the default if it is unset.
fn parsed<T>(key: &str, text: Option<&str>, document: &Document) -> Result<T, ConfigError>
where
    T: Default + FromStr<Err: fmt::Display>,
{
    let Some(text) = text else {
        return Ok(T::default());
    };
    text.parse()
        .map_err(|error: T::Err| document.value_error(key, error.to_string()))
}

impl Camera {
    /// Resolves the bundles of the camera whose section is `key`.
    pub(crate) fn validate_models(
        &self,
        key: &str,
        inference: &InferenceSettings,
        document: &Document,
    ) -> Result<ModelSettings, ConfigError> {
        let recipe = |(name, recipe): (&String, &super::Recipe)| {
            let key = format!("{key}.recipe.{name}");
            document.check_text(&key, name)?;
            if name.chars().count() > LONGEST_RECIPE {
                let problem = format!("no trigger can name more than {LONGEST_RECIPE} characters");
                return Err(document.value_error(&key, problem));
            }
            let key = format!("{key}.bundle");
            let bundle = document.require(&key, recipe.bundle.clone())?;
            Ok((name.clone(), document.path(&key, &bundle)?))
        };
        let recipes = self
            .recipe
            .iter()
            .map(recipe)
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let own = |name: &str, path: &Option<PathBuf>| {
            document.optional_path(&format!("{key}.{name}"), path.as_deref())
        };
        // A shadow is compared with the bundle that it belongs to and with no other.
        let inherited = match self.bundle {
            None => inference.shadow.clone(),
            Some(_) => None,
        };
        Ok(ModelSettings {
            bundle: own("bundle", &self.bundle)?.unwrap_or_else(|| inference.bundle.clone()),
            recipes,
            shadow: own("shadow", &self.shadow)?.or(inherited),
        })
    }
}
