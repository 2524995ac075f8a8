//! The Docker Engine API as skep serves it: wire types, routes, conversions. Knows no consensus and no engine.

pub mod backend;
