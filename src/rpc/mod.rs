//! The protocol between nodes: gRPC over mutual TLS on the cluster's port. SwarmKit's services and our own share one
//! server, one place that authorises, one way to build messages. What the services do is the managers' part.

pub mod authorize;
pub mod client;
pub mod convert;
pub mod glue;
pub mod line;
pub mod proto;
pub mod server;
pub mod tls;

#[cfg(test)]
mod tests;

/// Longest message that is taken: a report of very many tasks, a complete assignment.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Request metadata by which skep's own agent tells its version; engines send none.
pub const AGENT_KEY: &str = "skep-agent";

/// Metadata of a refusal by which a manager that does not lead names the address of the one that does.
pub const LEADER_KEY: &str = "skep-leader";

/// Metadata that tells what a call of `skep.v1.Relay` is about: the task to be reached, or the wish that is answered.
pub const RELAY_KEY: &str = "skep-relay";
