//! One step of the plan, told to the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::InfoBridgePort;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use netlink_packet_route::rule::RuleAction;
use rtnetlink::{LinkBridgePort, LinkUnspec, LinkVxlan, RouteMessageBuilder};
use skep_core::net::family::Family;
use skep_core::net::kernel::{
    Forward, Local, Neighbour, NetOp, RETURN_LINK, Return, Selector, Tunnel,
};
use skep_core::net::mac::Mac;

use super::KernelError;
use super::observe::{Netlink, PROTOCOL, QUIET, TABLE_LOCAL, refused};

/// Rules for marks come before that of the main table.
const RULE_PRIORITY: u32 = 5058;

impl Netlink {
    pub(super) async fn carry_out(&mut self, step: NetOp) -> Result<(), KernelError> {
        match step {
            NetOp::RemoveTunnel(name) => self.remove_tunnel(&name).await,
            NetOp::AddTunnel(name, tunnel) => self.add_tunnel(&name, &tunnel).await,
            NetOp::SetMac(name, mac) => self.set_mac(&name, mac).await,
            NetOp::JoinBridge(name, bridge) => self.join_bridge(&name, &bridge).await,
            NetOp::Hairpin(name) => {
                self.tune(&name, &[InfoBridgePort::HairpinMode(true)], "tune a port").await
            }
            NetOp::RemoveForward(it) => self.remove_entry(self.forward(&it)?).await,
            NetOp::AddForward(it) => self.add_entry(self.forward(&it)?).await,
            NetOp::RemoveNeighbour(it) => self.remove_entry(self.neighbour(&it)?).await,
            NetOp::AddNeighbour(it) => self.add_entry(self.neighbour(&it)?).await,
            NetOp::RemoveLocal(it) => self.remove_route(self.local(&it)?).await,
            NetOp::AddLocal(it) => self.add_route(self.local(&it)?).await,
            NetOp::RemoveProxy(it) => self.remove_entry(self.proxy(&it)?).await,
            NetOp::AddProxy(it) => self.add_entry(self.proxy(&it)?).await,
            // The link may be gone, and the route with it.
            NetOp::RemoveReturn(it) => match self.way_back(&it) {
                Ok(route) => self.remove_route(route).await,
                Err(_) => Ok(()),
            },
            NetOp::AddReturn(it) => self.add_route(self.way_back(&it)?).await,
            NetOp::RemoveSelector(it) => self.remove_selector(it).await,
            NetOp::AddSelector(it) => self.add_selector(it).await,
            NetOp::Set(..) | NetOp::AddAccept(..) | NetOp::RemoveAccept(..) => Ok(()),
        }
    }

    fn index(&self, name: &str) -> Result<u32, KernelError> {
        self.indexes.get(name).copied().ok_or_else(|| KernelError::Program {
            program: "network",
            message: format!("there is no link {name}"),
        })
    }

    async fn remove_tunnel(&mut self, name: &str) -> Result<(), KernelError> {
        let index = self.index(name)?;
        self.handle.link().del(index).execute().await.map_err(refused("remove a tunnel"))?;
        self.indexes.remove(name);
        Ok(())
    }

    async fn add_tunnel(&mut self, name: &str, tunnel: &Tunnel) -> Result<(), KernelError> {
        let mut link = LinkVxlan::new(name, tunnel.vni)
            .local(tunnel.local)
            .port(tunnel.port)
            .learning(false)
            .mtu(tunnel.mtu)
            .up();
        if let Some(mac) = tunnel.mac {
            link = link.address(mac.0.to_vec());
        }
        let what = format!("make tunnel {name}");
        self.handle.link().add(link.build()).execute().await.map_err(refused(&what))?;
        let found = nix::net::if_::if_nametoindex(name).map_err(|error| {
            KernelError::Socket(std::io::Error::from_raw_os_error(error as i32))
        })?;
        self.indexes.insert(name.to_owned(), found);
        if let Some(addr) = tunnel.addr {
            let request = self.handle.address().add(found, addr.into(), 32);
            request.execute().await.map_err(refused(&what))?;
        }
        Ok(())
    }

    async fn set_mac(&self, name: &str, mac: Mac) -> Result<(), KernelError> {
        let link = LinkUnspec::new_with_index(self.index(name)?).address(mac.0.to_vec()).build();
        let what = format!("set the address of {name}");
        self.handle.link().set(link).execute().await.map_err(refused(&what))
    }

    async fn join_bridge(&self, name: &str, bridge: &str) -> Result<(), KernelError> {
        let link = LinkUnspec::new_with_index(self.index(name)?).controller(self.index(bridge)?);
        let what = format!("join {name} to {bridge}");
        self.handle.link().set(link.up().build()).execute().await.map_err(refused(&what))?;
        self.tune(name, &QUIET, &what).await
    }

    async fn tune(
        &self,
        name: &str,
        settings: &[InfoBridgePort],
        what: &str,
    ) -> Result<(), KernelError> {
        let mut port = LinkBridgePort::new(self.index(name)?);
        for setting in settings {
            port = port.append_info_data(setting.clone());
        }
        self.handle.link().set_port(port.build()).execute().await.map_err(refused(what))
    }

    fn forward(&self, it: &Forward) -> Result<NeighbourMessage, KernelError> {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = self.index(&it.link)?;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(it.mac.0.to_vec()));
        if let Some(to) = it.to {
            entry.header.state = NeighbourState::Permanent;
            entry.header.flags = NeighbourFlags::Own;
            entry.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(to)));
        } else {
            entry.header.state = NeighbourState::Noarp;
            entry.header.flags = NeighbourFlags::Controller;
        }
        Ok(entry)
    }

    fn neighbour(&self, it: &Neighbour) -> Result<NeighbourMessage, KernelError> {
        let mut entry = NeighbourMessage::default();
        let (family, addr) = neighbour_address(it.addr);
        entry.header.family = family;
        entry.header.ifindex = self.index(&it.link)?;
        entry.header.state = NeighbourState::Permanent;
        entry.attributes.push(NeighbourAttribute::Destination(addr));
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(it.mac.0.to_vec()));
        Ok(entry)
    }

    fn proxy(&self, it: &Local) -> Result<NeighbourMessage, KernelError> {
        let mut entry = NeighbourMessage::default();
        let (family, addr) = neighbour_address(it.addr);
        entry.header.family = family;
        entry.header.ifindex = self.index(&it.link)?;
        entry.header.flags = NeighbourFlags::Proxy;
        entry.attributes.push(NeighbourAttribute::Destination(addr));
        Ok(entry)
    }

    async fn add_entry(&self, entry: NeighbourMessage) -> Result<(), KernelError> {
        // What the builder fills in is replaced as a whole.
        let any = Ipv4Addr::UNSPECIFIED.into();
        let mut request = self.handle.neighbours().add(entry.header.ifindex, any).replace();
        *request.message_mut() = entry;
        request.execute().await.map_err(refused("add an entry"))
    }

    async fn remove_entry(&self, entry: NeighbourMessage) -> Result<(), KernelError> {
        self.handle.neighbours().del(entry).execute().await.map_err(refused("remove an entry"))
    }

    fn local(&self, it: &Local) -> Result<RouteMessage, KernelError> {
        let link = self.index(&it.link)?;
        let width = Family::of(it.addr).width();
        let mut route = match it.addr {
            IpAddr::V4(addr) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(addr, width);
                route.scope(RouteScope::Host).output_interface(link).build()
            }
            IpAddr::V6(addr) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(addr, width);
                route.output_interface(link).build()
            }
        };
        route.header.kind = RouteType::Local;
        route.header.protocol = PROTOCOL;
        route.header.table = TABLE_LOCAL;
        Ok(route)
    }

    fn way_back(&self, it: &Return) -> Result<RouteMessage, KernelError> {
        let link = self.index(RETURN_LINK)?;
        let route = match it.to {
            IpAddr::V4(to) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(to);
                route.output_interface(link).table_id(it.mark).protocol(PROTOCOL).onlink().build()
            }
            IpAddr::V6(to) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(to);
                route.output_interface(link).table_id(it.mark).protocol(PROTOCOL).onlink().build()
            }
        };
        Ok(route)
    }

    async fn add_route(&self, route: RouteMessage) -> Result<(), KernelError> {
        let request = self.handle.route().add(route).replace();
        request.execute().await.map_err(refused("add a route"))
    }

    async fn remove_route(&self, route: RouteMessage) -> Result<(), KernelError> {
        self.handle.route().del(route).execute().await.map_err(refused("remove a route"))
    }

    async fn add_selector(&self, (family, mark): Selector) -> Result<(), KernelError> {
        let rule = self.handle.rule().add();
        let refused = refused("add a rule");
        match family {
            Family::V4 => {
                let rule = rule.v4().fw_mark(mark).table_id(mark).priority(RULE_PRIORITY);
                rule.action(RuleAction::ToTable).execute().await.map_err(refused)
            }
            Family::V6 => {
                let rule = rule.v6().fw_mark(mark).table_id(mark).priority(RULE_PRIORITY);
                rule.action(RuleAction::ToTable).execute().await.map_err(refused)
            }
        }
    }

    async fn remove_selector(&mut self, selector: Selector) -> Result<(), KernelError> {
        let Some(rule) = self.rules.remove(&selector) else { return Ok(()) };
        self.handle.rule().del(rule).execute().await.map_err(refused("remove a rule"))
    }
}

const fn neighbour_address(addr: IpAddr) -> (AddressFamily, NeighbourAddress) {
    match addr {
        IpAddr::V4(addr) => (AddressFamily::Inet, NeighbourAddress::Inet(addr)),
        IpAddr::V6(addr) => (AddressFamily::Inet6, NeighbourAddress::Inet6(addr)),
    }
}
