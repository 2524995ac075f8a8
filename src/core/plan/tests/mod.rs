//! Tests of the planners, one file a planner.

mod allocator;
mod constraint;
mod enforcer;
mod global;
mod ids;
mod jobs;
mod limits;
mod nodes;
mod properties;
mod reaper;
mod replicated;
mod restart;
mod scheduler;
mod update;
mod why;
pub(in crate::plan) mod world;
