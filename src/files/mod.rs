//! Files on disk: digested, cached, and named in text. Nothing here knows their
//! contents.

pub mod cache;
pub mod digest;
pub mod directories;
pub mod identity;
pub mod path_text;
