//! Unix and TCP sockets of the Docker API, and the way through to the local engine.

mod body;
pub mod exchange;
#[cfg(test)]
mod hostile;
mod listen;
mod presence;
mod proxy;

pub use listen::{ListenError, Sockets, listen};
pub use proxy::EngineProxy;

#[cfg(test)]
mod tests;
