//! Wire types into the model's types and back, one resource a file. Total, or a typed error.

pub mod cluster;
pub mod container;
pub mod network;
pub mod node;
pub mod secret;
pub mod service;
pub mod task;

#[cfg(test)]
pub(crate) mod tests;
