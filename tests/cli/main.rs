//! The built `flawd` on files: what a user sees of training, calibration, evaluation and
//! prediction, and of everything that can be wrong with their input.

mod fixture;

mod ablate;
mod backbone;
mod cache;
mod calibrate;
mod categories;
mod comparison;
mod convert;
mod cross;
mod demo;
mod depth;
mod doctor;
mod engine;
mod evaluate;
mod fetch;
mod import;
mod light;
mod memory;
mod messages;
mod model;
mod odd_data;
mod openvino;
mod predict;
mod report;
mod runtime;
mod train;
mod under;
mod usage;
