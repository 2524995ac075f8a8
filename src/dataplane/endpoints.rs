//! Gives containers the hardware addresses by which other nodes know them. Engines from 28 on choose one themselves for a container
//! that joins a network after it was made, whatever they are told.

use std::fs::File;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::LinkAttribute;
use nix::sched::{CloneFlags, setns};
use rtnetlink::{Handle, LinkUnspec};
use skep_core::net::mac::Mac;
use tokio::sync::oneshot;
use tracing::{debug, warn};

/// Why a container does not have the hardware address that others expect.
#[derive(Debug, thiserror::Error)]
enum EndpointError {
    #[error("cannot enter the container's network")]
    Enter(#[source] io::Error),
    #[error("cannot change the container's network")]
    Change(#[from] rtnetlink::Error),
}

/// The ends of networks in this host's containers.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// Whether anything leads to them from other hosts.
    kernel: bool,
}

impl Endpoints {
    /// Makes the way to those of a node.
    pub fn new(settings: &super::Settings) -> Self {
        Self { kernel: settings.kernel }
    }

    /// Sees to it that a running container, known by the id of its first process, has what others expect at these addresses.
    pub async fn settle(self, pid: i64, addrs: Vec<IpAddr>) {
        if !self.kernel || pid <= 0 || addrs.is_empty() {
            return;
        }
        match settle(pid, addrs).await {
            Ok(()) => {}
            // It ended meanwhile.
            Err(EndpointError::Enter(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let error = skep_core::error::chain(&error);
                warn!(%error, container.pid = pid, "other hosts may not reach a container");
            }
        }
    }
}

/// Does it in a thread of its own, which ends with it: a thread is in one network.
async fn settle(pid: i64, addrs: Vec<IpAddr>) -> Result<(), EndpointError> {
    let (tell, told) = oneshot::channel();
    let inside = move || {
        // Nobody listens any more where the daemon stops.
        let _ = tell.send(settle_inside(pid, &addrs));
    };
    let thread = std::thread::Builder::new().name("endpoint".to_owned());
    thread.spawn(inside).map_err(EndpointError::Enter)?;
    told.await.unwrap_or_else(|_| Err(EndpointError::Enter(io::ErrorKind::BrokenPipe.into())))
}

fn settle_inside(pid: i64, addrs: &[IpAddr]) -> Result<(), EndpointError> {
    let network = File::open(format!("/proc/{pid}/ns/net")).map_err(EndpointError::Enter)?;
    let entered = setns(network, CloneFlags::CLONE_NEWNET);
    entered.map_err(|error| EndpointError::Enter(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.map_err(EndpointError::Enter)?.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(EndpointError::Enter)?;
        tokio::spawn(connection);
        set(&handle, addrs).await.map_err(EndpointError::Change)
    })
}

async fn set(handle: &Handle, addrs: &[IpAddr]) -> Result<(), rtnetlink::Error> {
    let held: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    for addr in addrs {
        // Hardware addresses follow from those of IPv4.
        let IpAddr::V4(v4) = *addr else { continue };
        let has_it = |message: &&AddressMessage| {
            message.attributes.contains(&AddressAttribute::Address(*addr))
        };
        let Some(link) = held.iter().find(has_it).map(|it| it.header.index) else { continue };
        let wanted = Mac::of_endpoint(v4).0.to_vec();
        let links = handle.link().get().match_index(link).execute();
        let links: Vec<_> = links.try_collect().await?;
        let has_wanted = links
            .iter()
            .flat_map(|link| &link.attributes)
            .any(|it| *it == LinkAttribute::Address(wanted.clone()));
        if !has_wanted {
            debug!(%addr, "a container gets the hardware address that others expect");
            let link = LinkUnspec::new_with_index(link).address(wanted).build();
            handle.link().set(link).execute().await?;
        }
    }
    Ok(())
}
