//! What a node does for each of its tasks. Talks to no engine.
