//! Messages of package `docker.swarmkit.v1`, as far as a worker needs them, and of `skep.v1`. Field numbers are facts of the protocol; what
//! is left out (cluster volumes, the control API) may be added under its own numbers. No meaning lives here.

mod agent;
mod allocator;
mod certificate;
mod common;
mod container;
mod dispatch;
mod logs;
mod network;
mod node;
mod raft;
mod relay;
mod task;

pub use agent::*;
pub use allocator::*;
pub use certificate::*;
pub use common::*;
pub use container::*;
pub use dispatch::*;
pub use logs::*;
pub use network::*;
pub use node::*;
pub use raft::*;
pub use relay::*;
pub use task::*;

/// Implements `Debug` by the type's name alone, for messages that hold secrets.
macro_rules! opaque {
    ($($message:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), "(redacted)"))
            }
        }
    )+};
}
pub(crate) use opaque;
