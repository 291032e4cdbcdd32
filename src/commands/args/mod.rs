//! Arguments that several commands have.

pub(crate) mod features;
pub(crate) mod flow;
pub mod runtime;
