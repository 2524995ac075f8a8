//! Lookups and list filters over a state.
