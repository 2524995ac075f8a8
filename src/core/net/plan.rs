//! What the kernel's network of one node should be: bridges joined to those of other nodes, virtual addresses, the routing
//! mesh. A function of the state; what is there already makes no difference.
//!
//! Nothing is flooded and nothing learned: every node knows where each endpoint is, and by which hardware address, because
//! the state says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::draft::Draft;
use super::family::Family;
use super::kernel::{
    Accepts, Desired, Forward, Neighbour, RETURN_LINK, Return, TUNNEL_PREFIX, Tunnel,
};
use super::mac::Mac;
use super::pairs::Pairs;
use super::peers::{Peer, peers, wireguard};
use super::rules;
use super::wireguard::{WireGuard, addr_of};
use crate::agent::network::{bridge_name, is_encrypted, is_overlay, overlay_mtu};
use crate::id::{NetworkId, NodeId};
use crate::model::network::Network;
use crate::model::service::Service;
use crate::model::task::{Task, TaskState};
use crate::state::State;

/// UDP port of overlays where the cluster names none.
const PORT_DEFAULT: u16 = 4789;

/// Network identifier of the tunnel that answers of the routing mesh return through; none of a network.
pub const RETURN_VNI: u32 = 4095;

/// Address of that tunnel on every node, link-local: no packet is ever sent to it.
const RETURN_ADDR: Ipv4Addr = Ipv4Addr::new(169, 254, 94, 1);

/// Where tunnels to a node end.
pub use super::peers::underlay;

/// Where this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The node.
    pub node: NodeId,
    /// Its address among the nodes, the end of its tunnels.
    pub addr: Ipv4Addr,
}

/// A bridge of this node and what it joins.
pub(super) struct Segment<'a> {
    pub(super) network: &'a Arc<Network>,
    pub(super) encrypted: bool,
    pub(super) bridge: String,
    pub(super) gateway: Ipv4Addr,
    pub(super) pairs: Pairs,
}

impl Segment<'_> {
    /// This node's address on it in a family.
    pub(super) fn gateway_in(&self, family: Family) -> Option<IpAddr> {
        self.pairs.in_family(family, self.gateway)
    }
}

/// What the rest is made from.
pub(super) struct Site<'a> {
    pub(super) state: &'a State,
    pub(super) host: &'a Host,
    pub(super) port: u16,
    /// Other nodes that share a network and run skep.
    pub(super) peers: BTreeMap<&'a NodeId, Peer>,
    pub(super) segments: BTreeMap<&'a NetworkId, Segment<'a>>,
}

impl<'a> Site<'a> {
    pub(super) fn new(state: &'a State, host: &'a Host) -> Self {
        let segments = state.networks().values().filter_map(|network| {
            let segment = segment(network, &host.node)?;
            Some((&network.id, segment))
        });
        let segments: BTreeMap<_, _> = segments.collect();
        let near: BTreeSet<_> =
            segments.values().flat_map(|it| it.network.gateways.keys()).collect();
        let port = state.cluster().map_or(0, |cluster| cluster.data_path_port);
        let port = u16::try_from(port).ok().filter(|port| *port > 0).unwrap_or(PORT_DEFAULT);
        Self { state, host, port, peers: peers(state, host, &near), segments }
    }

    /// Tells whether a bridge here has addresses of a family.
    pub(super) fn has(&self, family: Family) -> bool {
        self.segments.values().any(|segment| segment.gateway_in(family).is_some())
    }

    /// The bridge of the routing mesh.
    pub(super) fn mesh(&self) -> Option<&Segment<'a>> {
        self.segments.values().find(|segment| segment.network.spec.ingress)
    }

    /// Other nodes with a bridge of a network that tunnels can join to this one's.
    pub(super) fn members(
        &self,
        segment: &Segment<'a>,
    ) -> impl Iterator<Item = Member> + use<'_, 'a> {
        let encrypted = segment.encrypted;
        segment.network.gateways.iter().filter_map(move |(node, gateway)| {
            let IpAddr::V4(gateway) = *gateway else { return None };
            let peer = self.peers.get(node)?;
            Some(Member { gateway, addr: peer.addr, end: peer.end(encrypted)? })
        })
    }

    /// Returns the end of this node's tunnels of a network.
    fn end(&self, segment: &Segment<'_>) -> Ipv4Addr {
        if segment.encrypted { addr_of(self.host.addr) } else { self.host.addr }
    }

    /// Lists the identifiers of tunnels whose packets never leave a node but encrypted.
    pub(super) fn encrypted(&self) -> impl Iterator<Item = u32> + use<'_, 'a> {
        let encrypted = self.segments.values().filter(|segment| segment.encrypted);
        encrypted.flat_map(|segment| {
            let of_mesh = segment.network.spec.ingress.then_some(RETURN_VNI);
            segment.network.allocation.iter().map(|it| it.vni).chain(of_mesh)
        })
    }
}

/// Another node's part of a network.
pub(super) struct Member {
    /// Its address on it.
    pub(super) gateway: Ipv4Addr,
    /// Its address among the nodes.
    pub(super) addr: Ipv4Addr,
    /// Where the tunnel to it ends.
    end: Ipv4Addr,
}

fn segment<'a>(network: &'a Arc<Network>, node: &NodeId) -> Option<Segment<'a>> {
    let allocation = network.allocation.as_ref().filter(|_| is_overlay(network))?;
    let IpAddr::V4(gateway) = *network.gateways.get(node)? else { return None };
    let bridge = bridge_name(allocation.vni, &network.id);
    let (encrypted, pairs) = (is_encrypted(network), Pairs::of(network));
    Some(Segment { network, encrypted, bridge, gateway, pairs })
}

/// Returns the mark of connections that came in at a node: its low bits are those of the node's address.
pub fn mark_of(addr: Ipv4Addr) -> u32 {
    MARK | (addr.to_bits() & !MARK_MASK)
}

/// Marks of skep's begin with these bits.
pub const MARK: u32 = 0x5e00_0000;

/// The bits by which they are told from those of others.
pub const MARK_MASK: u32 = 0xff00_0000;

/// Says what should be on a node.
pub fn desired(state: &State, host: &Host) -> Desired {
    Draft::whole(&Site::new(state, host)).desired
}

/// Says what should be on a node whatever tasks and services there are.
pub(super) fn ground(site: &Site<'_>) -> Desired {
    let mut desired = Desired::default();
    if site.segments.is_empty() {
        return desired;
    }
    let own = Mac::of_node(site.host.addr);
    for segment in site.segments.values() {
        desired.bridges.insert(segment.bridge.clone(), own);
        add_tunnel(site, segment, &mut desired);
    }
    add_returns(site, &mut desired);
    desired.wireguard = encrypted_way(site);
    add_settings(site, &mut desired);
    desired.accepts = accepts(site);
    desired.underlay = (!desired.tunnels.is_empty()).then_some(site.host.addr);
    desired.rules = rules::ruleset(site, !desired.tunnels.is_empty());
    desired
}

pub(super) fn tunnel_name(network: &Network) -> Option<String> {
    network.allocation.as_ref().map(|it| format!("{TUNNEL_PREFIX}{}", it.vni))
}

/// Joins a bridge to those of the same network on other nodes.
fn add_tunnel(site: &Site<'_>, segment: &Segment<'_>, desired: &mut Desired) {
    let network = segment.network;
    let (Some(name), Some(allocation)) = (tunnel_name(network), &network.allocation) else {
        return;
    };
    let mut alone = true;
    for member in site.members(segment) {
        alone = false;
        let found = (member.gateway, Mac::of_node(member.addr));
        let (forwards, neighbours) = entries(&name, segment, found, member.end);
        desired.forwards.extend(forwards);
        desired.neighbours.extend(neighbours);
    }
    if !alone {
        let tunnel = Tunnel {
            vni: allocation.vni,
            local: site.end(segment),
            port: site.port,
            mtu: overlay_mtu(allocation),
            bridge: Some(segment.bridge.clone()),
            mac: None,
            addr: None,
        };
        desired.tunnels.insert(name, tunnel);
    }
}

/// Returns the entries by which an address of another node is found.
pub(super) fn entries(
    tunnel: &str,
    segment: &Segment<'_>,
    (addr, mac): (Ipv4Addr, Mac),
    to: Ipv4Addr,
) -> ([Forward; 2], impl Iterator<Item = Neighbour>) {
    let forward = |to| Forward { link: tunnel.to_owned(), mac, to };
    let found = segment.pairs.with_pair(addr.into());
    let neighbours = found.map(move |addr| Neighbour { link: segment.bridge.clone(), addr, mac });
    ([forward(Some(to)), forward(None)], neighbours)
}

/// Tells whether a task may have a container, or get one any moment.
pub(super) fn may_be_there(task: &Task) -> bool {
    (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

/// Lists the virtual addresses of a service that this node answers for.
pub(super) fn virtual_addresses<'a>(
    site: &'a Site<'a>,
    service: &'a Service,
) -> impl Iterator<Item = (&'a Segment<'a>, Ipv4Addr)> {
    service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips).filter_map(|vip| {
        let IpAddr::V4(addr) = vip.addr else { return None };
        // On the mesh's own network nobody asks for services.
        let segment = site.segments.get(&vip.network).filter(|it| !it.network.spec.ingress)?;
        Some((segment, addr))
    })
}

/// Leads answers to clients of the mesh back to the node where these came in.
fn add_returns(site: &Site<'_>, desired: &mut Desired) {
    let Some(mesh) = site.mesh() else { return };
    let mut marks = BTreeSet::new();
    for Member { addr: to, end, .. } in site.members(mesh) {
        // Of two nodes whose addresses end alike the second one's clients are answered past the mesh.
        if !marks.insert(mark_of(to)) {
            continue;
        }
        let mac = Mac::of_node(to);
        let link = RETURN_LINK.to_owned();
        desired.forwards.insert(Forward { link: link.clone(), mac, to: Some(end) });
        for family in Family::ALL.into_iter().filter(|it| mesh.gateway_in(*it).is_some()) {
            let addr = family.either(to.into(), return_address(to).into());
            desired.returns.insert(Return { mark: mark_of(to), to: addr });
            desired.neighbours.insert(Neighbour { link: link.clone(), addr, mac });
        }
    }
    if !marks.is_empty() {
        let mtu = mesh.network.allocation.as_ref().map_or(0, overlay_mtu);
        let tunnel = Tunnel {
            vni: RETURN_VNI,
            local: site.end(mesh),
            port: site.port,
            mtu,
            bridge: None,
            mac: Some(Mac::of_node(site.host.addr)),
            addr: Some(RETURN_ADDR),
        };
        desired.tunnels.insert(RETURN_LINK.to_owned(), tunnel);
    }
}

/// Returns what stands for a node on the tunnel of answers over IPv6: there, as everywhere, the address is never sent to.
fn return_address(of: Ipv4Addr) -> Ipv6Addr {
    const LINK_LOCAL: u128 = 0xfe80 << 112;
    Ipv6Addr::from_bits(LINK_LOCAL | u128::from(of.to_bits()))
}

/// Says who is reached encrypted: the nodes that share an encrypted network. They need this node's key before they have one
/// themselves, so it is enough that they are there.
fn encrypted_way(site: &Site<'_>) -> Option<WireGuard> {
    let encrypted = site.segments.values().filter(|segment| segment.encrypted);
    let near: BTreeSet<_> = encrypted.flat_map(|it| it.network.gateways.keys()).collect();
    let others = site.peers.iter().filter(|(node, _)| near.contains(*node)).map(|(_, peer)| peer);
    let mut others = others.peekable();
    others.peek()?;
    Some(wireguard(site.host, others))
}

fn add_settings(site: &Site<'_>, desired: &mut Desired) {
    let mut set = |path: &str, value| {
        desired.settings.insert(path.to_owned(), (None, value));
    };
    set("net/bridge/bridge-nf-call-iptables", "1");
    set("net/ipv4/ip_forward", "1");
    set("net/ipv4/conf/all/send_redirects", "0");
    let mut set_of = |link: &str, key: &str, value| {
        let path = format!("net/ipv4/conf/{link}/{key}");
        desired.settings.insert(path, (Some(link.to_owned()), value));
    };
    for segment in site.segments.values() {
        // A container's answer may leave by another network than the question came by.
        set_of(&segment.bridge, "rp_filter", "2");
        set_of(&segment.bridge, "send_redirects", "0");
    }
    if let Some(mesh) = site.mesh() {
        set_of(&mesh.bridge, "route_localnet", "1");
        if desired.tunnels.contains_key(RETURN_LINK) {
            set_of(RETURN_LINK, "rp_filter", "2");
        }
    }
    add_settings_v6(site, desired);
}

/// On a host without IPv6 there are no such bridges, nor any of these settings.
fn add_settings_v6(site: &Site<'_>, desired: &mut Desired) {
    let tunnel_back = desired.tunnels.contains_key(RETURN_LINK);
    let mut set_of = |link: &str, path: &str, value| {
        let path = path.replace("LINK", link);
        desired.settings.insert(path, (Some(link.to_owned()), value));
    };
    let has_both = |segment: &&Segment<'_>| segment.gateway_in(Family::V6).is_some();
    for segment in site.segments.values().filter(has_both) {
        let bridge = &segment.bridge;
        set_of(bridge, "net/bridge/bridge-nf-call-ip6tables", "1");
        set_of(bridge, "net/ipv6/conf/all/forwarding", "1");
        set_of(bridge, "net/ipv6/conf/LINK/proxy_ndp", "1");
        // Else it answers for others only after a while, of up to 0.8 s.
        set_of(bridge, "net/ipv6/neigh/LINK/proxy_delay", "0");
    }
    if tunnel_back && site.mesh().as_ref().is_some_and(has_both) {
        set_of(RETURN_LINK, "net/ipv6/conf/LINK/disable_ipv6", "0");
    }
}

/// Rules for the engine's chains for users: engines drop what they have not set up themselves. What may pass between
/// networks is said by skep's own rules, which come first.
fn accepts(site: &Site<'_>) -> Accepts {
    let families = Family::ALL.into_iter().filter(|family| site.has(*family));
    families.map(|family| (family, accepts_in(site, family))).collect()
}

fn accepts_in(site: &Site<'_>, family: Family) -> BTreeSet<String> {
    let mut accepts = BTreeSet::from(["-A DOCKER-USER -i sk+ -o sk+ -j ACCEPT".to_owned()]);
    if let Some(mesh) = site.mesh().filter(|mesh| mesh.gateway_in(family).is_some()) {
        let bridge = &mesh.bridge;
        let answers = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        accepts.insert(format!("-A DOCKER-USER -o {bridge} -m conntrack --ctstate DNAT -j ACCEPT"));
        accepts.insert(format!("-A DOCKER-USER -i {bridge} {answers}"));
        accepts.insert(format!("-A DOCKER-USER -i {RETURN_LINK} {answers}"));
    }
    accepts
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
