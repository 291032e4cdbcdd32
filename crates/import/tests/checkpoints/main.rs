//! Published checkpoints: what is read from whole ones, the errors for others, and that no bytes
//! cause a panic.

mod files;
mod hostile;
mod published;
mod refused;
mod strided;
mod weights;
mod wheel;
