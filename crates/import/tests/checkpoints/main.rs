//! Published checkpoints: what is read of whole ones, what is said of others, and that no bytes
//! make a panic.

mod files;
mod hostile;
mod published;
mod refused;
mod weights;
