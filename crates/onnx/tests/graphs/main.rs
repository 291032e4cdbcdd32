//! Exported graphs, run by ONNX Runtime: what the files that this crate writes actually compute.

mod common;
mod features;
mod filter_bank;
mod mobilenet;
mod model;
mod reference;
mod runtime;
