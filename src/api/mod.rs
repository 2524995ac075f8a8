//! Unix and TCP sockets of the Docker API, and the way through to the local engine.
