//! Everything ONNX: reading backbones, writing model files, running them.
//!
//! Only this crate names ONNX Runtime. It knows what a flow's graph looks like, and nothing about
//! training, bundles, configuration or cameras.
//!
//! * writing: [`Backbone`] → [`feature_graph`] and [`model_graph`], with a [`GraphBuilder`];
//! * running: [`Runtime`] → [`FeatureExtractor`] for the first, [`Model`] for the second.

mod anomaly_map;
mod backbone;
mod binding;
pub mod builder;
mod coupling;
pub mod efficientnet;
mod export;
mod extractor;
mod features;
pub mod filter_bank;
mod flow;
mod half;
#[cfg(test)]
mod kinds_tests;
mod light;
mod maps;
mod model;
mod names;
mod plugin;
mod proto;
mod provider;
#[cfg(test)]
mod published_tests;
mod range;
#[cfg(test)]
mod range_tests;
mod runtime;
mod session;
mod shapes;
mod upsampled;

pub use flawd_core::normalisation::{ChannelOrder, Normalisation, NormalisationError};

pub use backbone::{Backbone, BackboneError};
pub use builder::{GraphBuilder, ModelTooLarge};
pub use export::{ExportError, feature_graph, model_graph};
pub use extractor::FeatureExtractor;
pub use features::{FeatureChoice, FeatureError, FeatureShape, FeatureSpec};
pub use half::{HalfCount, HalfError, half_graph};
pub use model::{Model, Prediction};
pub use plugin::{
    LONGEST_PLUGIN_NAME, PluginDevice, PluginError, PluginOptions, UnknownPluginDevice,
};
pub use provider::{
    CudaOptions, OpenVinoDevice, OpenVinoOptions, Precision, Provider, TensorRtOptions,
    UnknownDevice, UnknownPrecision, UnknownProvider,
};
pub use runtime::{LIBRARY_VARIABLE, Origin, Runtime, RuntimeError};
pub use session::{Execution, ModelError, SessionOptions};
pub use shapes::ShapeError;
