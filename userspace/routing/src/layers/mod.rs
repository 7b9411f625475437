//! What can be put around any backend.
//!
//! Owns [`Retry`] and [`Timeout`]. Never changes what a backend answers.
//!
//! **Invariant:** a layer repeats only what is idempotent.

mod retry;
mod timeout;

pub use retry::Retry;
pub use timeout::Timeout;
