//! What travels through the pipeline: frames, triggers, answers to them, and what is stored of a
//! part. Nothing here waits, sends, or knows a stage.

pub mod frame;
pub mod model;
pub mod moment;
pub(crate) mod reply;
pub(crate) mod stored;
pub mod trigger;
