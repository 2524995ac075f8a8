//! Commands on the cluster object.

use std::sync::Arc;

use super::{Write, check_version};
use crate::command::Command;
use crate::model::Kind;
use crate::model::cluster::Cluster;
use crate::model::network::Network;
use crate::model::node::Node;
use crate::state::{Action, Event, Rejected, State};

/// Replaces a part of an object if there is something to put in its place.
pub(super) fn replace<T: Clone>(part: &mut T, by: Option<&T>) {
    if let Some(by) = by {
        *part = by.clone();
    }
}

/// Puts in place what an update of the cluster brings.
pub(super) fn change(cluster: &mut Cluster, command: &Command) {
    let Command::UpdateCluster { spec, worker_token, manager_token, unlock_key, root_ca, .. } =
        command
    else {
        return;
    };
    cluster.spec = spec.as_ref().clone();
    replace(&mut cluster.tokens.worker, worker_token.as_ref());
    replace(&mut cluster.tokens.manager, manager_token.as_ref());
    replace(&mut cluster.unlock_key, unlock_key.as_ref());
    replace(&mut cluster.root_ca, root_ca.as_deref());
}

impl State {
    pub(super) fn create_cluster(
        &mut self,
        write: &mut Write,
        cluster: &Cluster,
        node: &Node,
        networks: &[Network],
    ) -> Result<(), Rejected> {
        self.cluster = Some(Arc::new(Cluster { meta: write.made(), ..cluster.clone() }));
        let node = Node { meta: write.made(), ..node.clone() };
        write.tell(Kind::Node, Action::Create, &node.id, Event::node_name(&node));
        self.put_node(Arc::new(node));
        for network in networks {
            self.add_network(write, network.clone())?;
        }
        Ok(())
    }

    pub(super) fn update_cluster(
        &mut self,
        write: &Write,
        version: u64,
        change: impl FnOnce(&mut Cluster),
    ) -> Result<(), Rejected> {
        let Some(cluster) = &self.cluster else { return Err(Rejected::WrongPhase) };
        check_version(cluster.meta, version)?;
        let mut cluster = Cluster::clone(cluster);
        change(&mut cluster);
        write.touch(&mut cluster.meta);
        self.cluster = Some(Arc::new(cluster));
        Ok(())
    }
}
