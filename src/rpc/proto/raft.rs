//! Messages of the service `skep.v1.Raft`.

/// A frame of consensus, which has a codec of its own.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Frame {
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes)", self.data.len())
    }
}

/// Asks to be taken into the consensus group. It may be asked again with the same id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinGroupRequest {
    /// A new id, never used before.
    #[prost(uint64, tag = "1")]
    pub raft_id: u64,
    /// `ip:port` that the others reach the node at.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// Says that the node is in the group, without a vote yet.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinGroupResponse {
    /// `ip:port` of all members.
    #[prost(string, repeated, tag = "1")]
    pub managers: Vec<String>,
}
