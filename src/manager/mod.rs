//! What only managers run: the leader's loop and the cluster behind the API.
