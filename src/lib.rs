//! The shells around skep's core: consensus, manager, agent, engine, data plane, API sockets.

pub mod agent;
pub mod api;
pub mod clock;
pub mod config;
pub mod dataplane;
pub mod engine;
pub mod manager;
pub mod node;
pub mod rpc;
