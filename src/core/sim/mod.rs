//! A seeded world: many cluster lives in seconds.
