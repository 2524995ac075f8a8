//! What is answered with a status above 499 on purpose, because Docker does; tests take anything else for a bug.

/// Beginnings of the texts.
pub const SERVER_ERRORS: &[&str] = &[
    "Bad parameters: you must choose at least one stream",
    "Could not attach to network ",
    "Datapath port number is not in valid range",
    "Invalid availability filter",
    "Invalid desired-state filter",
    "Invalid membership filter",
    "Invalid role filter",
    "This node is already part of a swarm",
    "This node is not a swarm manager",
    "This node is not part of a swarm",
    "Timeout was reached before node joined",
    "attaching to network failed, make sure ",
    "cannot connect to the local Docker Engine",
    "cluster volumes are not supported",
    "could not parse since timestamp: ",
    "error updating cluster settings: rpc error",
    "failed to parse value as time or duration",
    "invalid CIDR: ",
    "invalid base pool ",
    "negative tail values not supported",
    "rpc error: code = ResourceExhausted",
    "rpc error: code = Unimplemented",
    "rpc error: code = Unknown",
    "runtime type \"",
    "service does not have a previous spec",
    "subnet size is out of range",
    "tail value must be a positive integer",
    "this node cannot attach containers just now",
    "too many large requests at a time",
    "unrecognized rollback option",
    "unsupported registryAuthFrom value",
    "volume update only valid for cluster volumes",
];

/// Tells whether an answer with this status and text is meant.
pub fn is_deliberate(status: u16, message: &str) -> bool {
    // A network that a service names and nobody knows is one of Docker's odd ones.
    let network = message.starts_with("network ") && message.ends_with(" not found");
    status < 500 || network || SERVER_ERRORS.iter().any(|start| message.starts_with(start))
}
