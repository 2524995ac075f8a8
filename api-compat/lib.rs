//! The Docker Engine API as skep serves it: wire types, routes, conversions. Knows no consensus and no engine.

pub mod attachments;
pub mod backend;
pub mod backup;
mod budget;
pub mod call;
pub mod configs;
pub mod containers;
pub mod convert;
pub mod dialect;
pub mod error;
pub mod events;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod filters;
pub mod json;
mod logs;
pub mod net;
pub mod networks;
pub mod nodes;
pub mod query;
pub mod reply;
pub mod route;
pub mod router;
pub mod secrets;
pub mod services;
pub mod swarm;
pub mod system;
pub mod tasks;
pub mod validate;
pub mod why;
pub mod wire;

pub use router::serve;
