//! The kernel's end of the encrypted way: a link that encrypts by itself. It outlives the daemon, and its private key is in it
//! alone, as a process's is in that process.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel says more than skep wants to know, and each version of it more"
)]

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkWireguard};
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wire_link::{Carrier, WireLink, WireOp, wire_steps};
use skep_core::net::wireguard::{LINK, MTU, PORT, PREFIX, WireGuard};
use tracing::debug;
use zeroize::Zeroizing;

use super::genl::{self, WireFamily};
use crate::clock;

/// The kernel's link, known by its key.
pub(super) struct KernelLink {
    handle: Handle,
    family: WireFamily,
    key: TunnelKey,
    /// Whether it was once all that it should be.
    settled: bool,
}

impl KernelLink {
    /// Finds the one that an earlier daemon left.
    pub(super) async fn find(handle: &Handle) -> io::Result<Option<Self>> {
        let Some(seen) = see(handle).await? else { return Ok(None) };
        let Some((family, key)) = seen.sealed() else { return Ok(None) };
        Ok(Some(Self { handle: handle.clone(), family, key, settled: true }))
    }

    /// Makes it, with a new key pair, in place of whatever has its name.
    pub(super) async fn start(handle: &Handle, family: WireFamily) -> io::Result<Self> {
        remove(handle).await?;
        let link = LinkMessageBuilder::<LinkWireguard>::new(LINK).mtu(MTU.into()).build();
        handle.link().add(link).execute().await.map_err(refused)?;
        match give_key(handle, family).await {
            Ok(key) => Ok(Self { handle: handle.clone(), family, key, settled: false }),
            Err(error) => {
                // Nobody has its key.
                remove(handle).await?;
                Err(error)
            }
        }
    }

    pub(super) const fn key(&self) -> TunnelKey {
        self.key
    }

    /// Makes it what it should be; tells whether it is still there, and the same.
    pub(super) async fn follow(&mut self, wanted: Option<&WireGuard>) -> io::Result<bool> {
        let Some(seen) = see(&self.handle).await? else { return Ok(false) };
        if seen.sealed().map(|(_, key)| key) != Some(self.key) {
            return Ok(false);
        }
        let steps = wire_steps(wanted, &seen.link);
        for step in &steps {
            debug!(?step, "encrypted link");
            self.carry_out(seen.index, step).await?;
        }
        let family = self.family;
        blocking(move || family.set_peers(seen.index, &steps)).await?;
        self.settled = true;
        Ok(true)
    }

    async fn carry_out(&self, link: u32, step: &WireOp) -> io::Result<()> {
        let set = |change: LinkMessageBuilder<LinkUnspec>| {
            self.handle.link().set(change.build()).execute()
        };
        let change = LinkUnspec::new_with_index(link);
        match *step {
            WireOp::RemoveAddr(addr, prefix) => {
                let mut address = AddressMessage::default();
                address.header.family = netlink_packet_route::AddressFamily::Inet;
                address.header.index = link;
                address.header.prefix_len = prefix;
                address.attributes.push(AddressAttribute::Local(addr.into()));
                self.handle.address().del(address).execute().await.map_err(refused)
            }
            WireOp::AddAddr(addr) => {
                let request = self.handle.address().add(link, addr.into(), PREFIX).replace();
                request.execute().await.map_err(refused)
            }
            WireOp::SetMtu(mtu) => set(change.mtu(mtu.into())).await.map_err(refused),
            WireOp::TakeUp => set(change.up()).await.map_err(refused),
            WireOp::SetPort(port) => {
                let family = self.family;
                blocking(move || family.set_port(link, port)).await
            }
            // Told all at once.
            WireOp::RemovePeer(_) | WireOp::SetPeer(..) => Ok(()),
        }
    }

    /// What goes wrong once is tried again without losing the key; a link that was never right is made anew.
    pub(super) async fn after_failure(self) -> Option<Self> {
        if self.settled {
            return Some(self);
        }
        self.end().await;
        None
    }

    pub(super) async fn end(self) {
        if let Err(error) = remove(&self.handle).await {
            debug!(%error, "the encrypted link is not removed");
        }
    }
}

/// Says who has the link.
pub(super) async fn carrier(handle: &Handle) -> io::Result<Carrier> {
    let seen = see(handle).await?;
    Ok(seen.map_or(Carrier::Nobody, |seen| match seen.kernel {
        Some(_) => Carrier::Kernel(seen.link),
        None => Carrier::Process,
    }))
}

/// Removes whatever has the link's name.
pub(super) async fn remove(handle: &Handle) -> io::Result<()> {
    let Some(link) = find(handle).await? else { return Ok(()) };
    let removed = handle.link().del(link.header.index).execute().await.map_err(refused);
    match removed {
        // Its process ended meanwhile.
        Err(error) if is_absent(&error) => Ok(()),
        removed => removed,
    }
}

/// A link of that name, whoever has it.
struct Seen {
    index: u32,
    /// Number of the kernel's WireGuard, and the link's key, where it is one of these.
    kernel: Option<(WireFamily, Option<TunnelKey>)>,
    link: WireLink,
}

impl Seen {
    /// Returns what is needed to talk about it, if it can encrypt.
    fn sealed(&self) -> Option<(WireFamily, TunnelKey)> {
        let (family, key) = self.kernel?;
        Some((family, key?))
    }
}

async fn see(handle: &Handle) -> io::Result<Option<Seen>> {
    let Some(link) = find(handle).await? else { return Ok(None) };
    let index = link.header.index;
    let mut seen = WireLink { up: link.header.flags.contains(LinkFlags::Up), ..Default::default() };
    let mut is_wireguard = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => seen.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                is_wireguard = infos.contains(&LinkInfo::Kind(InfoKind::Wireguard));
            }
            _ => {}
        }
    }
    if !is_wireguard {
        return Ok(Some(Seen { index, kernel: None, link: seen }));
    }
    let held = handle.address().get().set_link_index_filter(index).execute();
    let held: Vec<AddressMessage> = held.try_collect().await.map_err(refused)?;
    for address in &held {
        seen.addrs.extend(address.attributes.iter().filter_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(addr)) => Some((*addr, address.header.prefix_len)),
            _ => None,
        }));
    }
    let asked = blocking(move || match genl::family()? {
        Some(family) => Ok((family, family.get(index)?)),
        None => Err(io::ErrorKind::Unsupported.into()),
    });
    let (family, device) = match asked.await {
        Err(error) if is_absent(&error) => return Ok(None),
        asked => asked?,
    };
    (seen.port, seen.peers) = (device.port, device.peers);
    Ok(Some(Seen { index, kernel: Some((family, device.key)), link: seen }))
}

async fn find(handle: &Handle) -> io::Result<Option<LinkMessage>> {
    let mut found = Box::pin(handle.link().get().match_name(LINK).execute());
    match found.try_next().await.map_err(refused) {
        Err(error) if is_absent(&error) => Ok(None),
        found => found,
    }
}

async fn give_key(handle: &Handle, family: WireFamily) -> io::Result<TunnelKey> {
    let index = find(handle).await?.ok_or(io::ErrorKind::NotFound)?.header.index;
    let secret = Zeroizing::new(clock::random_bytes::<32>());
    let asked = blocking(move || {
        family.set_key(index, &secret)?;
        family.set_port(index, PORT)?;
        family.get(index)
    });
    asked.await?.key.ok_or_else(|| io::Error::other("the link has no key"))
}

/// The kernel says either where there is no such link.
fn is_absent(error: &io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::ENODEV, Errno::ENOENT].iter().any(|it| error.raw_os_error() == Some(*it as i32))
}

/// Returns the kernel's own error where it is one.
fn refused(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        error => io::Error::other(error),
    }
}

/// Talks to the kernel on a thread that may wait for it.
async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(ask).await.map_err(io::Error::other)?
}

/// Finds WireGuard in the kernel; nothing where it has none.
pub(super) async fn family() -> io::Result<Option<WireFamily>> {
    blocking(genl::family).await
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
