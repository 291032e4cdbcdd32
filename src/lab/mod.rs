//! The first half: from pictures of good parts to a bundle, and how good that bundle is.
//!
//! ```text
//! dataset ─► features ─► training ─► calibration ─► bundle ─► evaluation ─► report
//! ```
//! Nothing here knows a camera, a broker, a clock or a configuration of the line.

pub mod ablation;
pub mod calibration;
pub mod comparison;
pub(crate) mod contender;
pub mod conversion;
pub mod dataset;
pub mod evaluation;
pub mod features;
pub mod import;
pub mod package;
pub(crate) mod picture;
pub mod report;
pub mod synthetic;
pub mod training;
pub mod variation;
