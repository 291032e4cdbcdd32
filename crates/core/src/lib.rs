//! The pure part of flawd: what a model is, what a score means, what a verdict says.
//!
//! Nothing here opens a file, a socket or a device, reads a clock, starts a thread or runs a
//! model; everything is a function of its arguments, so everything is tested by calling it.

pub mod anomaly;
pub mod calibration;
mod components;
pub mod condition;
pub mod depth;
pub mod digest;
pub mod drift;
pub mod evaluation;
pub mod event;
pub mod flow;
pub mod image;
pub mod interrupted;
pub mod light;
pub mod manifest;
pub mod normalisation;
pub mod outliers;
pub mod percentiles;
pub mod permutation;
pub mod preprocess;
pub mod quality;
pub mod random;
pub mod regions;
pub mod request;
mod resample;
pub mod transform;
pub mod verdict;
