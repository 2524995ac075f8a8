//! Commands and changes on networks.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Write, not_found};
use crate::agent::network::ENCRYPTED;
use crate::command::NetworkPatch;
use crate::id::NetworkId;
use crate::labels::{ENCRYPT, ENCRYPT_ALL};
use crate::model::Kind;
use crate::model::network::{IpamOptions, Network, NetworkAllocation, NetworkSpec};
use crate::model::service::ServiceSpec;
use crate::model::task::TaskState;
use crate::net::cidr::Cidr;
use crate::state::store::gateway_addresses;
use crate::state::{Action, Rejected, State};

/// Driver whose subnets the cluster hands out; those of other drivers belong to the nodes.
const OVERLAY: &str = "overlay";

/// Tells whether a service needs the routing mesh.
pub(super) fn publishes(spec: &ServiceSpec) -> bool {
    use crate::model::service::PublishMode::Ingress;
    spec.endpoint.as_ref().is_some_and(|end| end.ports.iter().any(|port| port.mode == Ingress))
}

fn is_overlay(spec: &NetworkSpec) -> bool {
    spec.driver.as_ref().is_none_or(|driver| driver.name.is_empty() || driver.name == OVERLAY)
        && !spec.predefined
}

/// Has a network encrypted as if its user had asked for it.
fn encrypted(mut spec: NetworkSpec) -> NetworkSpec {
    let driver = spec.driver.get_or_insert_default();
    driver.options.entry(ENCRYPTED.to_owned()).or_default();
    spec
}

/// Returns the subnets that address management names; texts that are no subnets name none.
fn subnets(ipam: Option<&IpamOptions>) -> impl Iterator<Item = Cidr> + '_ {
    let configs = ipam.map_or(&[][..], |ipam| &ipam.configs[..]);
    configs.iter().filter_map(|config| config.subnet.parse().ok())
}

/// Returns the subnets that a network got. What it asked for and did not get yet is nobody's.
pub(in crate::state) fn held_subnets(network: &Network) -> impl Iterator<Item = Cidr> + '_ {
    subnets(network.allocation.as_ref().map(|allocation| &allocation.ipam))
}

impl State {
    fn network(&self, id: &NetworkId) -> Result<&Arc<Network>, Rejected> {
        self.networks.get(id).ok_or_else(|| not_found(Kind::Network, id))
    }

    /// Tells whether a network other than `id` holds a part of `wanted`.
    fn is_held(&self, id: &NetworkId, wanted: Cidr) -> bool {
        self.networks
            .values()
            .any(|other| other.id != *id && held_subnets(other).any(|taken| taken.overlaps(wanted)))
    }

    /// Tells whether a network must wait for its addresses because another one holds a subnet that it asks for.
    pub fn is_blocked(&self, network: &Network) -> bool {
        let asked = subnets(
            Some(&network.spec).filter(|it| is_overlay(it)).and_then(|it| it.ipam.as_ref()),
        );
        network.allocation.is_none()
            && asked.into_iter().any(|subnet| self.is_held(&network.id, subnet))
    }

    pub(super) fn create_network(
        &mut self,
        write: &mut Write,
        id: &NetworkId,
        spec: &NetworkSpec,
    ) -> Result<(), Rejected> {
        self.add_network(
            write,
            Network { id: id.clone(), spec: spec.clone(), ..Network::default() },
        )
    }

    pub(super) fn add_network(
        &mut self,
        write: &mut Write,
        network: Network,
    ) -> Result<(), Rejected> {
        let name = network.spec.annotations.name.as_str();
        if self.networks.contains_key(&network.id) {
            return Err(Rejected::Malformed("the id is taken"));
        }
        if network.allocation.is_some() || !network.gateways.is_empty() {
            return Err(Rejected::Malformed("a new network has no addresses yet"));
        }
        if network.spec.ingress
            && let Some(other) = self.networks.values().find(|other| other.spec.ingress)
        {
            return Err(Rejected::IngressPresent { id: other.id.to_string() });
        }
        self.check_name(Kind::Network, name)?;
        // The API does not list built-in networks; no event tells of them either.
        if !network.spec.predefined {
            write.tell(Kind::Network, Action::Create, &network.id, name);
        }
        let spec = if is_overlay(&network.spec) && self.encrypts_all(&network.spec) {
            encrypted(network.spec)
        } else {
            network.spec
        };
        self.put_network(Arc::new(Network { meta: write.made(), spec, ..network }));
        Ok(())
    }

    /// Tells whether overlays are encrypted that nobody asked it for; a network of the mesh to be says so itself.
    fn encrypts_all(&self, made: &NetworkSpec) -> bool {
        let meshes = self.networks.values().map(|it| &it.spec).filter(|it| it.ingress);
        let mesh = meshes.chain(Some(made).filter(|it| it.ingress)).next();
        mesh.and_then(|it| it.annotations.labels.get(ENCRYPT)).is_some_and(|it| it == ENCRYPT_ALL)
    }

    pub(super) fn remove_network(
        &mut self,
        write: &mut Write,
        id: &NetworkId,
    ) -> Result<(), Rejected> {
        let network = self.network(id)?.clone();
        if network.spec.predefined {
            return Err(not_found(Kind::Network, id));
        }
        if network.spec.ingress {
            self.check_ingress_unused()?;
        } else {
            self.check_network_unused(id)?;
        }
        write.tell(Kind::Network, Action::Remove, id, &network.spec.annotations.name);
        self.drop_network(id);
        Ok(())
    }

    fn check_ingress_unused(&self) -> Result<(), Rejected> {
        match self.services.values().find(|service| publishes(&service.spec)) {
            Some(user) => Err(Rejected::IngressNeeded { service: user.id.to_string() }),
            None => Ok(()),
        }
    }

    fn check_network_unused(&self, id: &NetworkId) -> Result<(), Rejected> {
        let services = self.services.values();
        let using = services.filter(|user| user.spec.task.networks.iter().any(|n| n.target == *id));
        let users: Vec<String> = using.map(|service| service.id.to_string()).collect();
        if !users.is_empty() {
            return Err(Rejected::InUse { kind: Kind::Network, name: id.to_string(), users });
        }
        let holder = self.tasks.values().find(|task| {
            task.desired <= TaskState::Running
                && task.status.state <= TaskState::Running
                && (task.spec.networks.iter().any(|n| n.target == *id)
                    || task.networks.iter().any(|n| n.network.id == *id))
        });
        match holder {
            Some(task) => {
                Err(Rejected::InUseByTask { network: id.to_string(), task: task.id.to_string() })
            }
            None => Ok(()),
        }
    }

    pub(super) fn patch_network(
        &mut self,
        write: &mut Write,
        patch: &NetworkPatch,
    ) -> Result<(), Rejected> {
        let old = self.network(&patch.id)?;
        let mut network = Network::clone(old);
        if let Some(allocation) = &patch.allocation {
            self.check_allocation(&patch.id, allocation)?;
            network.allocation = Some(allocation.clone());
        }
        network.gateways.extend(patch.gateways.iter().cloned());
        if patch.last_address.is_some() {
            network.last_address = patch.last_address;
        }
        let held: BTreeSet<_> = gateway_addresses(old).collect();
        self.check_addresses(&held, gateway_addresses(&network))?;
        if network == **old {
            return Ok(());
        }
        // Clients are told of the allocation that makes a network usable, not of the addresses taken from it; nor of the
        // network that a cluster begins with.
        let cluster = self.cluster.as_ref().map(|cluster| cluster.meta.created_version);
        let is_first = cluster == Some(old.meta.created_version);
        if network.allocation != old.allocation && !is_first {
            let name = &network.spec.annotations.name;
            write.tell(Kind::Network, Action::Update, &patch.id, name);
        }
        write.touch(&mut network.meta);
        self.put_network(Arc::new(network));
        Ok(())
    }

    fn check_allocation(
        &self,
        id: &NetworkId,
        allocation: &NetworkAllocation,
    ) -> Result<(), Rejected> {
        if subnets(Some(&allocation.ipam)).any(|subnet| self.is_held(id, subnet)) {
            return Err(Rejected::StalePlan);
        }
        let mut others = self.networks.values().filter(|other| other.id != *id);
        let same_vni =
            |other: &NetworkAllocation| other.vni == allocation.vni && allocation.vni != 0;
        if others.any(|other| other.allocation.as_ref().is_some_and(same_vni)) {
            return Err(Rejected::StalePlan);
        }
        Ok(())
    }

    /// Checks that an object's new addresses are neither given twice nor held by another object.
    pub(super) fn check_addresses(
        &self,
        held: &BTreeSet<(NetworkId, IpAddr)>,
        wanted: impl Iterator<Item = (NetworkId, IpAddr)>,
    ) -> Result<(), Rejected> {
        let mut seen = BTreeSet::new();
        for address in wanted {
            let taken = self.addresses.contains(&address) && !held.contains(&address);
            if taken || !seen.insert(address) {
                return Err(Rejected::Malformed("an address is given twice"));
            }
        }
        Ok(())
    }
}
