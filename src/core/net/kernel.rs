//! The part of the kernel's network that skep keeps: what is there, what should be, and the steps between. Does none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use imbl::OrdSet;
use imbl::ordset::DiffItem;

use super::asking;
use super::family::Family;
use super::mac::Mac;
use super::ruleset::Ruleset;
use super::wireguard::WireGuard;

/// Head of the names of all links that are skep's, and of the bridges that engines make for its networks.
pub const LINK_PREFIX: &str = "sk";

/// Head of the names of tunnels that belong to a bridge.
pub const TUNNEL_PREFIX: &str = "skv";

/// The tunnel that takes answers of the routing mesh back to the node where the client came in.
pub const RETURN_LINK: &str = "skret";

/// A VXLAN port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tunnel {
    /// Network identifier.
    pub vni: u32,
    /// This node's end.
    pub local: Ipv4Addr,
    /// UDP port of all ends.
    pub port: u16,
    /// Largest packet inside, in bytes.
    pub mtu: u32,
    /// The bridge it is a port of; absent for the one that is routed through.
    pub bridge: Option<String>,
    /// Its own hardware address where one matters.
    pub mac: Option<Mac>,
    /// Its own address: the kernel takes no packet in from a link without one whose answers would leave elsewhere.
    pub addr: Option<Ipv4Addr>,
}

/// Where frames for a hardware address go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    /// The tunnel.
    pub link: String,
    /// The address.
    pub mac: Mac,
    /// The node behind it; absent for the entry by which a bridge sends it into the tunnel.
    pub to: Option<Ipv4Addr>,
}

/// The hardware address behind an address, which nobody needs to ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The link it is on.
    pub link: String,
    /// The address.
    pub addr: IpAddr,
    /// The hardware address.
    pub mac: Mac,
}

/// An address that counts as this node's without being set on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local {
    /// The address.
    pub addr: IpAddr,
    /// The bridge that answers for it.
    pub link: String,
}

/// The way back to a node where clients of the routing mesh come in; its mark is also the number of its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Return {
    /// Mark of the connections it is for.
    pub mark: u32,
    /// The node, by an address on the link that leads there.
    pub to: IpAddr,
}

/// Leads what has a mark to the table of its number.
pub type Selector = (Family, u32);

/// Rules in the engine's chains for users, as `iptables -S` writes them; none for a family without such a chain.
pub type Accepts = BTreeMap<Family, BTreeSet<String>>;

/// What a link is to skep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge, made by the engine.
    Bridge,
    /// A tunnel, made by skep.
    Tunnel(Tunnel),
    /// Anything else; of interest where it is a port of one of the bridges.
    Port,
}

/// A link as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Its hardware address.
    pub mac: Mac,
    /// The bridge it is a port of.
    pub bridge: Option<String>,
    /// Whether it is a port as skep wants it: frames go back where they came from, and on a tunnel nothing is flooded or learned.
    pub tuned: bool,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Bridges and tunnels of skep's, and the ports of these bridges.
    pub links: BTreeMap<String, Link>,
    /// Entries of its tunnels, and those by which its bridges know them.
    pub forwards: BTreeSet<Forward>,
    /// Permanent ones on its links.
    pub neighbours: BTreeSet<Neighbour>,
    /// Routes of its own among the local ones.
    pub locals: BTreeSet<Local>,
    /// Addresses that its bridges answer neighbours for: IPv6 does not do so for local ones by itself.
    pub proxies: BTreeSet<Local>,
    /// Routes in tables of its own.
    pub returns: BTreeSet<Return>,
    /// Marks that have a rule which leads to their table.
    pub selectors: BTreeSet<Selector>,
    /// Kernel settings asked about, by path below /proc/sys.
    pub settings: BTreeMap<String, String>,
    /// What the engine's chains for users hold of skep's.
    pub accepts: Accepts,
    /// The links that have addresses, by these.
    pub addressed: BTreeMap<Ipv4Addr, String>,
}

/// What should be. What there is much of costs nothing to copy, and as much to compare as differs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// Bridges with their hardware addresses.
    pub bridges: BTreeMap<String, Mac>,
    /// Tunnels by name.
    pub tunnels: BTreeMap<String, Tunnel>,
    /// See [`Kernel`].
    pub forwards: OrdSet<Forward>,
    /// See [`Kernel`].
    pub neighbours: OrdSet<Neighbour>,
    /// See [`Kernel`].
    pub locals: OrdSet<Local>,
    /// See [`Kernel`].
    pub proxies: OrdSet<Local>,
    /// See [`Kernel`].
    pub returns: BTreeSet<Return>,
    /// See [`Kernel`]; with a link's name where a setting is about one.
    pub settings: BTreeMap<String, (Option<String>, &'static str)>,
    /// See [`Kernel`].
    pub accepts: Accepts,
    /// This node's address among the nodes; absent where it has no network with others.
    pub underlay: Option<Ipv4Addr>,
    /// Addresses that connections may be led to.
    pub backends: OrdSet<IpAddr>,
    /// The encrypted way to other nodes; absent where no network here needs one. No step leads there: a process has it.
    pub wireguard: Option<WireGuard>,
    /// All packet rules.
    pub rules: Ruleset,
}

impl Desired {
    /// Tells whether links, and all that hangs on them, should be as by another plan; packet rules may differ.
    pub fn joins_as(&self, other: &Self) -> bool {
        let Self {
            bridges,
            tunnels,
            forwards,
            neighbours,
            locals,
            proxies,
            returns,
            settings,
            accepts,
            underlay,
            backends: _,
            wireguard: _,
            rules: _,
        } = self;
        *bridges == other.bridges
            && *tunnels == other.tunnels
            && *forwards == other.forwards
            && *neighbours == other.neighbours
            && *locals == other.locals
            && *proxies == other.proxies
            && *returns == other.returns
            && *settings == other.settings
            && *accepts == other.accepts
            && *underlay == other.underlay
    }

    /// Lists the addresses that connections were led to by another plan, and are no more.
    pub fn left_since(&self, other: &Self) -> BTreeSet<IpAddr> {
        let gone = other.backends.diff(&self.backends).filter_map(|change| match change {
            DiffItem::Remove(addr) => Some(*addr),
            DiffItem::Add(_) => None,
        });
        gone.collect()
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetOp {
    /// Removes a tunnel with all its entries.
    RemoveTunnel(String),
    /// Sets a bridge's hardware address.
    SetMac(String, Mac),
    /// Makes a tunnel and takes it up.
    AddTunnel(String, Tunnel),
    /// Makes a tunnel a port of its bridge, nothing flooded, nothing learned.
    JoinBridge(String, String),
    /// Lets frames go back into the port they came from.
    Hairpin(String),
    /// Removes an entry.
    RemoveForward(Forward),
    /// Adds an entry.
    AddForward(Forward),
    /// Removes a neighbour.
    RemoveNeighbour(Neighbour),
    /// Adds or replaces a neighbour.
    AddNeighbour(Neighbour),
    /// Removes a local address.
    RemoveLocal(Local),
    /// Adds a local address.
    AddLocal(Local),
    /// Stops answering for an address.
    RemoveProxy(Local),
    /// Answers for an address.
    AddProxy(Local),
    /// Removes a way back.
    RemoveReturn(Return),
    /// Adds or replaces a way back.
    AddReturn(Return),
    /// Removes the rule for a mark.
    RemoveSelector(Selector),
    /// Adds the rule for a mark.
    AddSelector(Selector),
    /// Writes a setting.
    Set(String, &'static str),
    /// Removes a rule from the engine's chain for users.
    RemoveAccept(Family, String),
    /// Puts a rule at the head of that chain.
    AddAccept(Family, String),
}

/// Returns the steps from what is there to what should be. What hangs on a bridge that the engine has not made yet is left out.
pub fn steps(desired: &Desired, kernel: &Kernel) -> Vec<NetOp> {
    let mut steps = Vec::new();
    let is_bridge =
        |name: &String| kernel.links.get(name).is_some_and(|link| link.kind == LinkKind::Bridge);
    let stands = |tunnel: &&Tunnel| tunnel.bridge.as_ref().is_none_or(is_bridge);
    let wanted = |name: &String| desired.tunnels.get(name).filter(stands);
    // A tunnel that is made anew begins without entries.
    let kept = |name: &String| match kernel.links.get(name).map(|link| &link.kind) {
        Some(LinkKind::Tunnel(held)) => wanted(name) == Some(held),
        Some(LinkKind::Bridge | LinkKind::Port) => true,
        None => false,
    };
    for (name, link) in &kernel.links {
        if matches!(link.kind, LinkKind::Tunnel(_)) && !kept(name) {
            steps.push(NetOp::RemoveTunnel(name.clone()));
        }
    }
    for (name, mac) in &desired.bridges {
        if kernel.links.get(name).is_some_and(|it| it.kind == LinkKind::Bridge && it.mac != *mac) {
            steps.push(NetOp::SetMac(name.clone(), *mac));
        }
    }
    for (name, tunnel) in desired.tunnels.iter().filter(|(_, tunnel)| stands(tunnel)) {
        let is_kept = kept(name);
        if !is_kept {
            steps.push(NetOp::AddTunnel(name.clone(), tunnel.clone()));
        }
        let held = kernel.links.get(name).filter(|_| is_kept);
        if let Some(bridge) = &tunnel.bridge
            && held.is_none_or(|held| held.bridge.as_ref() != Some(bridge) || !held.tuned)
        {
            steps.push(NetOp::JoinBridge(name.clone(), bridge.clone()));
        }
    }
    for (name, link) in &kernel.links {
        let ours = link.bridge.as_ref().is_some_and(|bridge| desired.bridges.contains_key(bridge));
        if link.kind == LinkKind::Port && ours && !link.tuned {
            steps.push(NetOp::Hairpin(name.clone()));
        }
    }
    let there = |name: &String| is_bridge(name) || wanted(name).is_some();
    add_entries(desired, kernel, &kept, &there, &mut steps);
    add_routes(desired, kernel, &there, &mut steps);
    add_settings(desired, kernel, &there, &mut steps);
    steps.extend(asking::steps(desired, kernel));
    steps
}

/// Goes from one set to another, old ones first: a new one may take the place of an old one.
fn differ<T: Ord + Clone>(
    held: impl Iterator<Item = T>,
    wanted: impl Iterator<Item = T>,
    remove: fn(T) -> NetOp,
    add: fn(T) -> NetOp,
    steps: &mut Vec<NetOp>,
) {
    let (held, wanted): (BTreeSet<T>, BTreeSet<T>) = (held.collect(), wanted.collect());
    steps.extend(held.difference(&wanted).cloned().map(remove));
    steps.extend(wanted.difference(&held).cloned().map(add));
}

fn add_entries(
    desired: &Desired,
    kernel: &Kernel,
    kept: &dyn Fn(&String) -> bool,
    there: &dyn Fn(&String) -> bool,
    steps: &mut Vec<NetOp>,
) {
    differ(
        kernel.forwards.iter().filter(|it| kept(&it.link)).cloned(),
        desired.forwards.iter().filter(|it| there(&it.link)).cloned(),
        NetOp::RemoveForward,
        NetOp::AddForward,
        steps,
    );
    differ(
        kernel.neighbours.iter().filter(|it| kept(&it.link)).cloned(),
        desired.neighbours.iter().filter(|it| there(&it.link)).cloned(),
        NetOp::RemoveNeighbour,
        NetOp::AddNeighbour,
        steps,
    );
}

fn add_routes(
    desired: &Desired,
    kernel: &Kernel,
    there: &dyn Fn(&String) -> bool,
    steps: &mut Vec<NetOp>,
) {
    differ(
        kernel.locals.iter().cloned(),
        desired.locals.iter().filter(|it| there(&it.link)).cloned(),
        NetOp::RemoveLocal,
        NetOp::AddLocal,
        steps,
    );
    differ(
        kernel.proxies.iter().cloned(),
        desired.proxies.iter().filter(|it| there(&it.link)).cloned(),
        NetOp::RemoveProxy,
        NetOp::AddProxy,
        steps,
    );
    let returns = || desired.returns.iter().filter(|_| there(&RETURN_LINK.to_owned()));
    differ(
        kernel.returns.iter().cloned(),
        returns().cloned(),
        NetOp::RemoveReturn,
        NetOp::AddReturn,
        steps,
    );
    differ(
        kernel.selectors.iter().copied(),
        returns().map(|it| (Family::of(it.to), it.mark)),
        NetOp::RemoveSelector,
        NetOp::AddSelector,
        steps,
    );
}

fn add_settings(
    desired: &Desired,
    kernel: &Kernel,
    there: &dyn Fn(&String) -> bool,
    steps: &mut Vec<NetOp>,
) {
    for (path, (link, value)) in &desired.settings {
        let is_set = kernel.settings.get(path).is_some_and(|held| held == value);
        if !is_set && link.as_ref().is_none_or(there) {
            steps.push(NetOp::Set(path.clone(), value));
        }
    }
    let none = BTreeSet::new();
    for (family, held) in &kernel.accepts {
        let wanted = desired.accepts.get(family).unwrap_or(&none);
        let of_family = |rules: &BTreeSet<String>| -> Vec<_> {
            rules.iter().map(|rule| (*family, rule.clone())).collect()
        };
        differ(
            of_family(held).into_iter(),
            of_family(wanted).into_iter(),
            |(family, rule)| NetOp::RemoveAccept(family, rule),
            |(family, rule)| NetOp::AddAccept(family, rule),
            steps,
        );
    }
}
