//! Trains a CS-Flow: the forward pass, exact gradients written by hand, Adam, checkpoints.
//!
//! The flow is a closed set of operations (convolution, bilinear doubling, a soft clamp, a gather),
//! so its gradients are a few pages of Rust rather than a machine-learning framework. The expensive
//! part, the matrix product, is left to the `gemm` crate, which only [`matrix`] names.
//!
//! This crate knows nothing about images, ONNX or bundles: it turns feature maps into parameters.

pub mod features;
pub mod transform;
pub mod view;

pub mod adam;
pub mod baseline;
pub mod checkpoint;
pub mod settings;
pub mod trainer;
pub mod variant;

mod convolution;
mod coupling;
mod epoch;
mod initialise;
pub mod maps;
mod matrix;
pub mod network;
mod subnet;
mod upsample;
