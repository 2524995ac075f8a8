//! The real tier: each test runs on both generations of the engine, as `AREA::debian20::TEST` and
//! `AREA::engine28::TEST`. Helpers live in the library of this package.

use anyhow::Result;
use skep_integration::{Generation, Lab};

/// Makes each named test of a module twice, once for each generation of the engine.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod debian20 {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(skep_integration::Generation::Debian20)
            })+
        }
        mod engine28 {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(skep_integration::Generation::Engine28)
            })+
        }
    };
}

mod adopt;
mod anywhere;
mod app;
mod attachable;
mod clients;
mod custom_mesh;
mod daemon;
mod dual_stack;
mod encrypted;
mod external;
mod faults;
mod full_disk;
mod kill9;
mod lost;
mod managers;
mod overlays;
mod packets;
mod power_cut;
mod proxy;
mod renewal;
mod restart;
mod rules;
mod stack;
mod starved;
mod stock_workers;
mod two_daemons;
mod workers;

/// Runs a test in a fresh swarm of one node.
fn in_swarm(generation: Generation, test: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    Lab::with(generation, test)
}
