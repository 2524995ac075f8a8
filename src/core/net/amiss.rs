//! What is not as it should be on a host, in words: for people who look for the cause of a lost packet. Changes nothing.

use std::collections::BTreeMap;

use super::family::Family;
use super::kernel::{Desired, Kernel, NetOp, steps};
use super::ruleset::Ruleset;
use super::wire_link::{Carrier, wire_steps};
use super::wireguard::{LINK, WireGuard};

/// The table that an engine has whose packet rules are nftables' own.
pub const ENGINE_TABLE: &str = "ip docker-bridges";

/// Lists what differs between what should be and what is; `listed` is what nft prints of each table that there is, `carrier`
/// who has the link for encrypted networks.
pub fn amiss(
    desired: &Desired,
    kernel: &Kernel,
    listed: &BTreeMap<&str, String>,
    carrier: &Carrier,
) -> Vec<String> {
    let mut lines: Vec<String> = steps(desired, kernel).iter().map(describe).collect();
    lines.extend(desired.wireguard.iter().flat_map(|wanted| unsealed(wanted, carrier)));
    // Engines before 27 have none for IPv6, and drop nothing of it either; those with rules of nftables have none at all.
    let has_chain = kernel.accepts.contains_key(&Family::V4) || listed.contains_key(ENGINE_TABLE);
    if !has_chain && !desired.accepts.is_empty() {
        lines.push("the engine's chain DOCKER-USER is not there".to_owned());
    }
    lines.extend(lacking(&desired.rules, listed));
    lines
}

/// Lists what the link for encrypted networks lacks. What a process knows is its own business.
fn unsealed(wanted: &WireGuard, carrier: &Carrier) -> Vec<String> {
    match carrier {
        Carrier::Nobody => {
            vec![format!("link {LINK} is not there: nothing of encrypted networks is sent")]
        }
        Carrier::Process => Vec::new(),
        Carrier::Kernel(link) => {
            wire_steps(Some(wanted), link).iter().map(|step| step.describe(LINK)).collect()
        }
    }
}

/// Lists tables and chains that are not there. What rules say is not compared: nft writes them its own way.
fn lacking(rules: &Ruleset, listed: &BTreeMap<&str, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, table) in &rules.tables {
        let Some(text) = listed.get(name) else {
            lines.push(format!("table {name} of packet rules is not there"));
            continue;
        };
        let there: std::collections::BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("chain ")?.split(' ').next())
            .collect();
        for chain in table.chains.keys().filter(|chain| !there.contains(chain.as_str())) {
            lines.push(format!("chain {chain} of table {name} is not there"));
        }
    }
    lines
}

fn describe(step: &NetOp) -> String {
    match step {
        NetOp::RemoveTunnel(name) => format!("tunnel {name} should not be there, or be another"),
        NetOp::SetMac(bridge, mac) => format!("bridge {bridge} should have address {mac}"),
        NetOp::AddTunnel(name, tunnel) => {
            format!("tunnel {name} (VXLAN {}, from {}) is not there", tunnel.vni, tunnel.local)
        }
        NetOp::JoinBridge(name, bridge) => format!("tunnel {name} is not joined to {bridge}"),
        NetOp::Hairpin(port) => format!("port {port} lets no frame back"),
        NetOp::RemoveForward(entry) => {
            format!("{} of {} should not be in the forwarding table", entry.mac, entry.link)
        }
        NetOp::AddForward(entry) => {
            format!("{} of {} is not in the forwarding table", entry.mac, entry.link)
        }
        NetOp::RemoveNeighbour(it) => {
            format!("{} on {} should be no neighbour", it.addr, it.link)
        }
        NetOp::AddNeighbour(it) => format!("{} on {} is no neighbour", it.addr, it.link),
        NetOp::RemoveLocal(it) => format!("{} should not be local on {}", it.addr, it.link),
        NetOp::AddLocal(it) => {
            format!("virtual address {} is not local on {}", it.addr, it.link)
        }
        NetOp::RemoveProxy(it) => {
            format!("{} should not answer neighbours for {}", it.link, it.addr)
        }
        NetOp::AddProxy(it) => format!("{} does not answer neighbours for {}", it.link, it.addr),
        NetOp::RemoveReturn(it) => format!("the way back to {} should not be there", it.to),
        NetOp::AddReturn(it) => format!("the way back to {} is not there", it.to),
        NetOp::RemoveSelector((_, mark)) => format!("rule for mark {mark:#x} should not be there"),
        NetOp::AddSelector((_, mark)) => format!("rule for mark {mark:#x} is not there"),
        NetOp::Set(path, value) => format!("/proc/sys/{path} is not {value}"),
        NetOp::RemoveAccept(_, rule) => format!("rule should not be there: {rule}"),
        NetOp::AddAccept(_, rule) => format!("rule is not there: {rule}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fixture::World;
    use crate::net::plan::{Host, desired};
    use crate::net::wire_link::WireLink;

    #[test]
    fn what_is_not_there_is_named() {
        let mut world = World::default();
        world.network("front", "10.0.1.0/24");
        world.service("web", &["front"]);
        world.task("web", &[("front", "10.0.1.6")]);
        let host = Host { node: World::node(1), addr: [192, 0, 2, 1].into() };
        let desired = desired(&world.state(), &host);
        let mut listed: BTreeMap<&str, String> = BTreeMap::new();
        let lines = amiss(&desired, &Kernel::default(), &listed, &Carrier::Process);
        for expected in [
            "/proc/sys/net/ipv4/ip_forward is not 1",
            "the engine's chain DOCKER-USER is not there",
            "table ip skep of packet rules is not there",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
        let settings = desired.settings.iter();
        let settings = settings.map(|(path, (_, value))| (path.clone(), (*value).to_owned()));
        let accepts = desired.accepts.clone();
        let kernel = Kernel { settings: settings.collect(), accepts, ..Kernel::default() };
        for (name, table) in &desired.rules.tables {
            let chains = table.chains.keys().map(|chain| format!("\tchain {chain} {{\n\t}}\n"));
            listed.insert(name, format!("table {name} {{\n{}}}", chains.collect::<String>()));
        }
        assert_eq!(amiss(&desired, &kernel, &listed, &Carrier::Process), Vec::<String>::new());
        if let Some(text) = listed.get_mut("ip skep") {
            *text = text.replace("chain c_pre", "chain other");
        }
        let lines = amiss(&desired, &kernel, &listed, &Carrier::Process);
        assert_eq!(lines, ["chain c_pre of table ip skep is not there"]);
        // Engine 29 with its nftables back end.
        let kernel = Kernel { accepts: Default::default(), ..kernel };
        let users = |listed: &BTreeMap<&str, String>| {
            let lines = amiss(&desired, &kernel, listed, &Carrier::Process);
            lines.iter().any(|line| line.contains("DOCKER-USER"))
        };
        assert!(users(&listed));
        listed.insert(ENGINE_TABLE, String::new());
        assert!(!users(&listed));
    }

    #[test]
    fn encrypted_networks_need_their_link() {
        let mut world = World::default();
        world.host(1, "192.0.2.1");
        world.host(2, "192.0.2.2");
        world.network("front", "10.0.1.0/24");
        world.join("front", 2, "10.0.1.9");
        world.encrypt("front");
        world.give_keys(&[1, 2]);
        let host = Host { node: World::node(1), addr: [192, 0, 2, 1].into() };
        let desired = desired(&world.state(), &host);
        let told = |carrier| {
            let lines = amiss(&desired, &Kernel::default(), &BTreeMap::new(), &carrier);
            lines.into_iter().filter(|line| line.starts_with("link skwg")).collect::<Vec<_>>()
        };
        assert_eq!(told(Carrier::Nobody).len(), 1);
        assert_eq!(told(Carrier::Process), Vec::<String>::new());
        let lines = told(Carrier::Kernel(WireLink::default()));
        for expected in ["link skwg is down", "link skwg does not know the node at 192.0.2.2"] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
    }
}
