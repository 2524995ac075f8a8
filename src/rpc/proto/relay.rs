//! Messages of the service `skep.v1.Relay`.

/// Bytes on their way to a container's engine or back.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Piece {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: bytes::Bytes,
    /// Whether nothing more comes from this side; the other may go on.
    #[prost(bool, tag = "2")]
    pub end: bool,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Piece({} bytes{})", self.data.len(), if self.end { ", the last" } else { "" })
    }
}

/// Asks to be told who wants to reach this node's tasks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListenRelaysRequest {}

/// Asks a node to connect somebody with the engine, about one task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RelayWish {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
}
