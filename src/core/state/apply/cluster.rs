//! Commands on the cluster object.

use std::sync::Arc;

use super::{Write, check_version};
use crate::command::Command;
use crate::model::Kind;
use crate::model::cluster::{Cluster, JoinTokens};
use crate::model::network::Network;
use crate::model::node::Node;
use crate::rotation::is_complete;
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
        write: &mut Write,
        version: u64,
        change: impl FnOnce(&mut Cluster),
    ) -> Result<(), Rejected> {
        let Some(old) = &self.cluster else { return Err(Rejected::WrongPhase) };
        check_version(old.meta, version)?;
        let mut cluster = Cluster::clone(old);
        change(&mut cluster);
        write.touch(&mut cluster.meta);
        let has_other_issuer = cluster.root_ca.issuer() != old.root_ca.issuer();
        self.cluster = Some(Arc::new(cluster));
        if has_other_issuer {
            self.call_in_certificates(write);
        }
        Ok(())
    }

    /// Puts the next root in the place of the present one. Who still asks for that may have been overtaken.
    pub(super) fn finish_rotation(
        &mut self,
        write: &Write,
        public_key: &[u8],
        tokens: &JoinTokens,
    ) -> Result<(), Rejected> {
        let Some(cluster) = &self.cluster else { return Err(Rejected::WrongPhase) };
        let moved = cluster.root_ca.moved().filter(|next| next.public_key == public_key);
        let (Some(root_ca), true) = (moved, is_complete(self)) else {
            return Err(Rejected::StalePlan);
        };
        let tokens = tokens.clone();
        let mut cluster = Cluster { root_ca, tokens, ..Cluster::clone(cluster) };
        write.touch(&mut cluster.meta);
        self.cluster = Some(Arc::new(cluster));
        Ok(())
    }
}
