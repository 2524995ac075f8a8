//! What only managers run: the leader's loop and the cluster behind the API.

pub(crate) mod addresses;
mod attempts;
pub mod ca;
mod cfssl;
pub mod clocks;
pub mod cluster;
pub mod control;
mod desired_root;
pub mod dispatcher;
pub mod events;
mod external;
pub mod group;
pub mod leader;
pub mod log_broker;
pub mod log_relay;
pub mod peers;
pub mod presence;
pub mod relay;
pub mod resource_allocator;
pub mod roster;
pub mod rotation;
pub mod signer;
pub mod streams;

pub use addresses::{AddressError, InterfaceAddress, SwarmAddresses, host_addresses};
