//! Tests of the state: tables of commands, lookups, and properties over arbitrary commands.

mod audit;
mod commands;
mod fixture;
mod networks;
mod nodes;
mod properties;
mod query;
mod rotation;
mod view;
