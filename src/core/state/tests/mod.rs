//! Tests of the state: tables of commands, lookups, and properties over arbitrary commands.

mod commands;
mod fixture;
