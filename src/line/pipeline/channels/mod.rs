//! What parts travel through and stages stand on: queues, buffers, threads and their end. Nothing
//! here knows what a part is.

pub mod link;
pub mod log_limit;
pub mod pool;
pub mod shutdown;
pub mod threads;
