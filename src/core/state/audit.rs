//! Every consistency rule of a state, as a list.
