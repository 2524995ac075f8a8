//! The laboratory of the real tier: genuine Docker Engines in network namespaces, the built skep
//! binary beside them, and the stock `docker` CLI as the only client. It needs root and asserts
//! nothing itself; the tests in `real/` do.

mod clock;
mod cluster;
mod disk;
mod docker;
mod engine;
mod hosts;
pub mod http;
mod lab;
mod namespace;
mod power;
mod process;
mod skep;
mod wait;

pub use clock::Clock;
pub use cluster::{Cluster, address as cluster_address};
pub use disk::SmallDisk;
pub use docker::{Docker, Follow};
pub use engine::{Engine, Generation};
pub use hosts::{Host, Hosts};
pub use lab::{ADDRESS, Lab};
pub use namespace::{Fabric, Namespace};
pub use process::{Output, sh};
pub use skep::{Skep, binary};
pub use wait::wait_for;
