//! What is there, asked of the kernel in one dump a kind.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel says more than skep wants to know, and each version of it more"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};
use skep_core::net::family::Family;
use skep_core::net::kernel::{
    Forward, Kernel, LINK_PREFIX, Link, LinkKind, Local, Neighbour, RETURN_LINK, Return, Selector,
    TUNNEL_PREFIX, Tunnel,
};
use skep_core::net::mac::Mac;
use skep_core::net::plan::{MARK, MARK_MASK};

use super::KernelError;

/// By this number routes are known to be skep's.
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(200);

/// The table of addresses that are the host's own.
pub(super) const TABLE_LOCAL: u8 = 255;

/// The way to the kernel, with what it said last.
pub(super) struct Netlink {
    pub(super) handle: Handle,
    /// Indexes of links by name.
    pub(super) indexes: BTreeMap<String, u32>,
    /// Rules of skep's by their family and mark.
    pub(super) rules: BTreeMap<Selector, RuleMessage>,
}

pub(super) fn refused(what: &str) -> impl FnOnce(rtnetlink::Error) -> KernelError {
    let what = what.to_owned();
    move |source| KernelError::Refused { what, source }
}

impl Netlink {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, indexes: BTreeMap::new(), rules: BTreeMap::new() }
    }

    pub(super) async fn observe(&mut self) -> Result<Kernel, KernelError> {
        let mut kernel = Kernel::default();
        self.look_at_links(&mut kernel).await?;
        let names: BTreeMap<u32, String> =
            self.indexes.iter().map(|(name, index)| (*index, name.clone())).collect();
        self.look_at_entries(&names, &mut kernel).await?;
        self.look_at_routes(&names, &mut kernel).await?;
        Ok(kernel)
    }

    async fn look_at_links(&mut self, kernel: &mut Kernel) -> Result<(), KernelError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(refused("list links"))?;
        let facts: Vec<Facts> = links.iter().map(Facts::of).collect();
        let names: BTreeMap<u32, String> =
            facts.iter().map(|link| (link.index, link.name.clone())).collect();
        self.indexes = facts.iter().map(|link| (link.name.clone(), link.index)).collect();
        for link in facts {
            let bridge = link.master.and_then(|index| names.get(&index).cloned());
            if let Some((name, link)) = link.judge(bridge) {
                kernel.links.insert(name, link);
            }
        }
        self.look_at_addresses(&names, kernel).await
    }

    async fn look_at_addresses(
        &self,
        names: &BTreeMap<u32, String>,
        kernel: &mut Kernel,
    ) -> Result<(), KernelError> {
        let mut addresses = self.handle.address().get().execute().boxed();
        while let Some(held) = addresses.try_next().await.map_err(refused("list addresses"))? {
            let Some(name) = names.get(&held.header.index) else { continue };
            for attribute in &held.attributes {
                let AddressAttribute::Address(IpAddr::V4(addr)) = attribute else { continue };
                kernel.addressed.insert(*addr, name.clone());
                let link = kernel.links.get_mut(name);
                if let Some(Link { kind: LinkKind::Tunnel(tunnel), .. }) = link {
                    tunnel.addr = Some(*addr);
                }
            }
        }
        Ok(())
    }

    async fn look_at_entries(
        &self,
        names: &BTreeMap<u32, String>,
        kernel: &mut Kernel,
    ) -> Result<(), KernelError> {
        let is_tunnel = |link: &String| {
            kernel.links.get(link).is_some_and(|it| matches!(it.kind, LinkKind::Tunnel(_)))
        };
        let mut request = self.handle.neighbours().get();
        request.message_mut().header.family = AddressFamily::Bridge;
        let mut entries = request.execute().boxed();
        while let Some(entry) = entries.try_next().await.map_err(refused("list forwards"))? {
            let Some(link) = names.get(&entry.header.ifindex).filter(|it| is_tunnel(it)) else {
                continue;
            };
            kernel.forwards.extend(forward(link, &entry));
        }
        for family in Family::ALL {
            self.look_at_neighbours(family, names, kernel).await?;
        }
        self.look_at_proxies(names, kernel).await
    }

    async fn look_at_neighbours(
        &self,
        family: Family,
        names: &BTreeMap<u32, String>,
        kernel: &mut Kernel,
    ) -> Result<(), KernelError> {
        let mut request = self.handle.neighbours().get();
        request.message_mut().header.family = family_of(family);
        let mut entries = request.execute().boxed();
        while let Some(entry) = entries.try_next().await.map_err(refused("list neighbours"))? {
            let Some(link) = names.get(&entry.header.ifindex) else { continue };
            if !kernel.links.contains_key(link) || entry.header.state != NeighbourState::Permanent {
                continue;
            }
            if let (Some(mac), Some(addr)) = (mac_of(&entry), destination(&entry)) {
                kernel.neighbours.insert(Neighbour { link: link.clone(), addr, mac });
            }
        }
        Ok(())
    }

    async fn look_at_proxies(
        &self,
        names: &BTreeMap<u32, String>,
        kernel: &mut Kernel,
    ) -> Result<(), KernelError> {
        let mut request = self.handle.neighbours().get();
        request.message_mut().header.family = AddressFamily::Inet6;
        request.message_mut().header.flags = NeighbourFlags::Proxy;
        let mut entries = request.execute().boxed();
        while let Some(entry) = entries.try_next().await.map_err(refused("list proxies"))? {
            let link = names.get(&entry.header.ifindex);
            let link = link.filter(|link| kernel.links.contains_key(*link));
            if let (Some(link), Some(addr)) = (link, destination(&entry)) {
                kernel.proxies.insert(Local { addr, link: link.clone() });
            }
        }
        Ok(())
    }

    async fn look_at_routes(
        &mut self,
        names: &BTreeMap<u32, String>,
        kernel: &mut Kernel,
    ) -> Result<(), KernelError> {
        self.rules.clear();
        for family in Family::ALL {
            let (all, version) = match family {
                Family::V4 => (RouteMessageBuilder::<Ipv4Addr>::new().build(), IpVersion::V4),
                Family::V6 => (RouteMessageBuilder::<Ipv6Addr>::new().build(), IpVersion::V6),
            };
            let mut routes = self.handle.route().get(all).execute().boxed();
            while let Some(route) = routes.try_next().await.map_err(refused("list routes"))? {
                if route.header.protocol == PROTOCOL {
                    note_route(&route, names, kernel);
                }
            }
            let mut rules = self.handle.rule().get(version).execute().boxed();
            while let Some(rule) = rules.try_next().await.map_err(refused("list rules"))? {
                let mark = rule.attributes.iter().find_map(|attribute| match attribute {
                    RuleAttribute::FwMark(mark) if is_ours(*mark) => Some(*mark),
                    _ => None,
                });
                if let Some(mark) = mark {
                    kernel.selectors.insert((family, mark));
                    self.rules.insert((family, mark), rule);
                }
            }
        }
        Ok(())
    }
}

/// Notes a route of skep's.
fn note_route(route: &RouteMessage, names: &BTreeMap<u32, String>, kernel: &mut Kernel) {
    let facts = RouteFacts::of(route);
    if facts.table == u32::from(TABLE_LOCAL) {
        let link = facts.link.and_then(|index| names.get(&index).cloned());
        if let (Some(addr), Some(link)) = (facts.destination, link) {
            kernel.locals.insert(Local { addr, link });
        }
    } else if is_ours(facts.table)
        && let Some(to) = facts.gateway
    {
        kernel.returns.insert(Return { mark: facts.table, to });
    }
}

const fn family_of(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

const fn is_ours(mark: u32) -> bool {
    mark & MARK_MASK == MARK
}

/// What a link says of itself, as far as it matters.
#[derive(Default)]
struct Facts {
    index: u32,
    name: String,
    mac: Mac,
    master: Option<u32>,
    mtu: u32,
    kind: Option<InfoKind>,
    vxlan: Vec<InfoVxlan>,
    port: Vec<InfoBridgePort>,
}

impl Facts {
    fn of(link: &LinkMessage) -> Self {
        let mut facts = Self { index: link.header.index, ..Self::default() };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => facts.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    facts.mac = Mac(bytes.as_slice().try_into().unwrap_or_default());
                }
                LinkAttribute::Controller(index) => facts.master = Some(*index),
                LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
                LinkAttribute::LinkInfo(infos) => facts.take(infos),
                _ => {}
            }
        }
        facts
    }

    fn take(&mut self, infos: &[LinkInfo]) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.clone()),
                LinkInfo::Data(InfoData::Vxlan(vxlan)) => self.vxlan.clone_from(vxlan),
                LinkInfo::PortData(InfoPortData::BridgePort(port)) => self.port.clone_from(port),
                _ => {}
            }
        }
    }

    /// Returns what the link is to skep, if anything.
    fn judge(self, bridge: Option<String>) -> Option<(String, Link)> {
        let on_ours = bridge.as_ref().is_some_and(|bridge| bridge.starts_with(LINK_PREFIX));
        let named = self.name.starts_with(LINK_PREFIX);
        let is_tunnel = self.name.starts_with(TUNNEL_PREFIX) || self.name == RETURN_LINK;
        let kind = match &self.kind {
            Some(InfoKind::Bridge) if named => LinkKind::Bridge,
            Some(InfoKind::Vxlan) if is_tunnel => LinkKind::Tunnel(self.tunnel(bridge.clone())),
            _ if on_ours => LinkKind::Port,
            _ => return None,
        };
        let tuned = match &kind {
            LinkKind::Bridge => true,
            LinkKind::Tunnel(_) => is_quiet(&self.port),
            LinkKind::Port => self.port.contains(&InfoBridgePort::HairpinMode(true)),
        };
        Some((self.name, Link { kind, mac: self.mac, bridge, tuned }))
    }

    fn tunnel(&self, bridge: Option<String>) -> Tunnel {
        let mut tunnel = Tunnel {
            vni: 0,
            local: Ipv4Addr::UNSPECIFIED,
            port: 0,
            mtu: self.mtu,
            bridge,
            mac: (self.name == RETURN_LINK).then_some(self.mac),
            addr: None,
        };
        for info in &self.vxlan {
            match info {
                InfoVxlan::Id(vni) => tunnel.vni = *vni,
                InfoVxlan::Local(addr) => tunnel.local = *addr,
                InfoVxlan::Port(port) => tunnel.port = *port,
                _ => {}
            }
        }
        tunnel
    }
}

/// What a tunnel's port is told: nobody floods, nobody learns, the bridge itself answers for who is behind it.
pub(super) const QUIET: [InfoBridgePort; 4] = [
    InfoBridgePort::Learning(false),
    InfoBridgePort::UnicastFlood(false),
    InfoBridgePort::MulticastFlood(false),
    InfoBridgePort::NeighSupress(true),
];

fn is_quiet(port: &[InfoBridgePort]) -> bool {
    QUIET.iter().all(|wanted| port.contains(wanted))
}

fn mac_of(entry: &NeighbourMessage) -> Option<Mac> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => {
            Some(Mac(bytes.as_slice().try_into().ok()?))
        }
        _ => None,
    })
}

fn destination(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => Some((*addr).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(addr)) => Some((*addr).into()),
        // In a list of forwards the family is that of bridges and says nothing of the address.
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from)
        }
        _ => None,
    })
}

/// Reads an entry of a tunnel, or of its bridge about it. The addresses of the links themselves are the kernel's business.
fn forward(link: &str, entry: &NeighbourMessage) -> Option<Forward> {
    let mac = mac_of(entry)?;
    let link = link.to_owned();
    if entry.header.flags.contains(NeighbourFlags::Own) {
        let IpAddr::V4(to) = destination(entry)? else { return None };
        return Some(Forward { link, mac, to: Some(to) });
    }
    (entry.header.state == NeighbourState::Noarp).then_some(Forward { link, mac, to: None })
}

const fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        _ => None,
    }
}

struct RouteFacts {
    table: u32,
    link: Option<u32>,
    destination: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl RouteFacts {
    fn of(route: &RouteMessage) -> Self {
        let mut facts =
            Self { table: route.header.table.into(), link: None, destination: None, gateway: None };
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Table(table) => facts.table = *table,
                RouteAttribute::Oif(link) => facts.link = Some(*link),
                RouteAttribute::Destination(to) => facts.destination = ip(to),
                RouteAttribute::Gateway(to) => facts.gateway = ip(to),
                _ => {}
            }
        }
        facts
    }
}
