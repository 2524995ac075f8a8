//! What the daemon and the process that has the encrypted link say to each other: a length, then JSON. No secret is part of it.

use std::net::Ipv4Addr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wireguard::WirePeer;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Raised with every change that an older side does not understand. [`Hello`] and [`Ask::End`] are never changed, so that any
/// daemon can end any process.
pub(super) const VERSION: u32 = 1;

/// Ten thousand peers fit into it.
const BYTES_MAX: u32 = 4 << 20;

/// The first word of the process to whoever comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) key: TunnelKey,
    pub(super) endpoint: Ipv4Addr,
    pub(super) addr: Ipv4Addr,
}

/// What the daemon asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) enum Ask {
    /// To know these nodes, and no others.
    Peers(Vec<(TunnelKey, WirePeer)>),
    /// To end.
    End,
}

pub(super) async fn send<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(&body).await
}

pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = from.read_u32().await?;
    if length > BYTES_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut body = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut body).await?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_and_bounded() {
        let peer = WirePeer { endpoint: [192, 0, 2, 1].into(), addr: [240, 0, 2, 1].into() };
        for ask in [Ask::End, Ask::Peers(vec![(TunnelKey([255; 32]), peer); 10_000])] {
            let mut bytes = Vec::new();
            send(&mut bytes, &ask).await.expect("it fits");
            assert_eq!(receive::<Ask>(&mut &*bytes).await.ok(), Some(ask));
        }
        for bytes in [&[255, 255, 255, 255, 1][..], &[0, 0, 0, 9, b'"'], &[0, 0], &[]] {
            assert!(receive::<Ask>(&mut &*bytes).await.is_err(), "{bytes:?}");
        }
    }
}
