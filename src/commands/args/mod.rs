//! Arguments that several commands share.

pub(crate) mod features;
pub(crate) mod flow;
pub mod runtime;
