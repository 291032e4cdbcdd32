//! What travels through the pipeline: frames, triggers, answers to them, and what is stored about a
//! part. Nothing here waits, sends, or depends on a stage.

pub mod frame;
pub mod model;
pub mod moment;
pub mod refusal;
pub(crate) mod reply;
pub(crate) mod stored;
pub mod trigger;
