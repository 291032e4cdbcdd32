//! Files on disk: written whole, digested, cached, and named in text. Nothing here knows their
//! contents.

pub mod atomic;
pub mod cache;
pub mod digest;
pub mod directories;
pub mod path_text;
