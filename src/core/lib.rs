//! The pure core of skep: what a cluster is, how it changes, what to do next. No clock, randomness, file, socket or future.

pub mod agent;
pub mod assign;
pub mod clocks;
pub mod command;
pub mod error;
pub mod grace;
pub mod id;
pub mod labels;
pub mod managers;
pub mod model;
pub mod net;
pub mod plan;
pub mod rotation;
pub mod sessions;
#[cfg(feature = "sim")]
pub mod sim;
pub mod state;
pub mod time;
pub mod view;

pub use command::{Change, Command, Proposal};
pub use state::{Applied, Rejected, State};
