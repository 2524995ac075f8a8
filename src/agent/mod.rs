//! One node's agent: runs what it is assigned and reports what came of it. Decides nothing.
