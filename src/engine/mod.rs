//! The Docker Engine as the agent sees it.
