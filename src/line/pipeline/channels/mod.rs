//! What carries parts and runs stages: queues, buffers, threads and their end. Nothing here depends
//! on what a part is.

pub(crate) mod backoff;
pub mod link;
pub mod log_limit;
pub mod pool;
pub mod shutdown;
pub mod threads;
