//! Messages of the service `ResourceAllocator`.

use super::NetworkAttachmentConfig;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AttachNetworkRequest {
    #[prost(message, optional, tag = "1")]
    pub config: Option<NetworkAttachmentConfig>,
    #[prost(string, tag = "2")]
    pub container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AttachNetworkResponse {
    #[prost(string, tag = "1")]
    pub attachment_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DetachNetworkRequest {
    #[prost(string, tag = "1")]
    pub attachment_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DetachNetworkResponse {}
