//! The built `flawd` on files: what a user sees of training, calibration, evaluation and
//! prediction, and of everything that can be wrong with what they are given.

mod fixture;

mod ablate;
mod calibrate;
mod comparison;
mod doctor;
mod engine;
mod evaluate;
mod model;
mod predict;
mod train;
mod usage;
