//! Pixels from files, and files from pixels. Nothing here knows what a picture is used for.

pub mod depth;
pub mod encode;
pub mod heatmap;

pub use flawd_decode as decode;
