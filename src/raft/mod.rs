//! Consensus: openraft over redb.
