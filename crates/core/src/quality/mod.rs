//! Whether a picture can be judged at all: how bright, how sharp and how noisy it is, against the
//! good pictures of the calibration, and whether the camera repeats itself.
//!
//! Brightness and sharpness are measured on the model's input tensor, after cutting out and
//! resizing, at the resolution that the model sees; noise, which the resize hides, in the picture's
//! own pixels. Calibration and line measure alike. A picture outside the limits is not a defect:
//! nothing can be said about it. The limits are wide; for smaller changes of the pictures see
//! [`condition`](crate::condition).

mod frozen;
mod limits;
mod measure;

pub use frozen::FrozenPicture;
pub use limits::{QualityError, QualityLimits};
pub use measure::{Measured, measure};

#[cfg(test)]
mod tests;
