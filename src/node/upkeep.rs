//! Keeps what a member holds beside the log in step with the cluster: certificate, key wrapping, description.

use std::sync::Arc;
use std::time::Duration;

use skep_core::command::Command;
use skep_core::id::NodeId;
use skep_core::model::cluster::Cluster;
use skep_core::model::node::{NodeDescription, Role};
use skep_core::state::State;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::identity::DataDir;
use super::member::{Surroundings, propose};
use crate::clock;
use crate::engine::Engine;
use crate::manager::cluster::{now_unix, with_trust};
use crate::rpc::tls::Tls;
use skep_core::error::chain;
use skep_raft::keys::{KeyEncryptionKey, rewrap};
use skep_raft::{DataKey, RaftNode};

/// Between two looks at things that change without an event: the engine's description, a certificate's age.
const LOOK_PERIOD: Duration = Duration::from_secs(20);

/// The upkeep of one member.
pub struct Upkeep {
    data: DataDir,
    engine: Arc<dyn Engine>,
    node: NodeId,
    raft: Arc<RaftNode>,
    key: DataKey,
    /// What the data key is wrapped with, once that is known to be on disk.
    wrapped_with: Option<Vec<u8>>,
    described: Option<NodeDescription>,
    /// Root of the certificate on disk, once that is known.
    certified_by: Option<String>,
    /// Where the certificate is used.
    tls: Arc<Tls>,
    /// Index of the newest state whose key is on disk as it asks for.
    kept: watch::Sender<u64>,
}

impl Upkeep {
    /// Prepares the upkeep of a member; nothing is touched yet.
    pub fn new(
        around: &Surroundings,
        node: NodeId,
        raft: Arc<RaftNode>,
        key: DataKey,
        tls: Arc<Tls>,
    ) -> Self {
        Self {
            data: around.data.clone(),
            engine: around.machine.engine.clone(),
            node,
            raft,
            key,
            wrapped_with: None,
            described: None,
            certified_by: None,
            tls,
            kept: watch::channel(0).0,
        }
    }

    /// Tells up to which index the key on disk is wrapped as the state asks for.
    pub fn kept(&self) -> watch::Receiver<u64> {
        self.kept.subscribe()
    }

    /// Looks whenever the state changes and every `LOOK_PERIOD`, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut states = self.raft.watch();
        let mut look_at = clock::now();
        loop {
            let state = states.borrow_and_update().clone();
            let look = clock::now() >= look_at;
            if let Some(cluster) = state.cluster() {
                let spec = &cluster.spec;
                self.raft.set_snapshot_bounds(
                    spec.snapshot_interval.max(1),
                    spec.log_entries_for_slow_followers,
                );
                if self.keep_key(cluster) {
                    self.kept.send_replace(state.index());
                }
                let is_manager = state
                    .nodes()
                    .get(&self.node)
                    .is_some_and(|node| node.role == Role::Manager && node.manager.is_some());
                let look_at_it =
                    look || self.certified_by.as_ref() != Some(&cluster.root_ca.certificate_pem);
                if is_manager && look_at_it {
                    self.keep_certificate(cluster);
                }
            }
            if look {
                self.describe().await;
                look_at = clock::now().after(LOOK_PERIOD);
            }
            if let Some(cluster) = state.cluster() {
                // Without a quorum a proposal waits long; a stop does not.
                tokio::select! {
                    () = self.report(&state, cluster) => {}
                    () = stop.cancelled() => return,
                }
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = clock::sleep_until(look_at) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn describe(&mut self) {
        match self.engine.describe().await {
            Ok(description) => self.described = Some(description),
            Err(error) => debug!(error = %error, "the engine does not describe itself"),
        }
    }

    /// Reports what this node is, if that is not what the state says.
    async fn report(&self, state: &State, cluster: &Cluster) {
        let Some(node) = state.nodes().get(&self.node) else { return };
        let Some(described) = &self.described else { return };
        let described = with_trust(described.clone(), &cluster.root_ca);
        if node.description == described {
            return;
        }
        let command = Command::ReportNode {
            id: self.node.clone(),
            description: Some(Box::new(described)),
            status: None,
            manager: None,
        };
        if let Err(error) = propose(&self.raft, command).await {
            warn!(error = %error, "the node's description was not recorded");
        }
    }

    /// Makes a certificate when there is none of the current root or it is due.
    fn keep_certificate(&mut self, cluster: &Cluster) {
        let now = now_unix();
        if !self.data.has_certificate(cluster, now) {
            if let Err(error) = issue(&self.data, cluster, &self.node, now) {
                warn!(error = %error, "no certificate could be issued");
                return;
            }
            info!(node.id = %self.node, "certificate issued");
        } else if self.certified_by.is_some() {
            return;
        }
        let Some(held) = self.data.certificate() else { return };
        if let Err(error) = self.tls.replace(&held.chain_pem, &held.key_pem, &held.root_pem) {
            warn!(error = %chain(&error), "the certificate cannot be used");
            return;
        }
        self.certified_by = Some(cluster.root_ca.certificate_pem.clone());
    }

    /// Wraps the data key as autolock asks for; tells whether it is.
    fn keep_key(&mut self, cluster: &Cluster) -> bool {
        let wanted = &cluster.unlock_key.0;
        if self.wrapped_with.as_ref() == Some(wanted) {
            return true;
        }
        let kek = match key_encryption_key(wanted) {
            Ok(kek) => kek,
            Err(error) => {
                warn!(error = %error, "the cluster's unlock key cannot be used");
                return false;
            }
        };
        match rewrap(&self.data.raft(), &self.key, kek.as_ref()) {
            Ok(()) => self.wrapped_with = Some(wanted.clone()),
            Err(error) => {
                warn!(error = %chain(&error), "the data key could not be wrapped");
                return false;
            }
        }
        true
    }
}

/// Reads the key-encryption key out of an unlock key's text; none for an empty text.
pub(super) fn key_encryption_key(text: &[u8]) -> Result<Option<KeyEncryptionKey>, skep_pki::Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let key = skep_pki::UnlockKey::parse(&String::from_utf8_lossy(text))?;
    Ok(Some(KeyEncryptionKey::from_bytes(*key.bytes())))
}

fn issue(data: &DataDir, cluster: &Cluster, node: &NodeId, now: i64) -> anyhow::Result<()> {
    let key_pem = String::from_utf8_lossy(&cluster.root_ca.key_pem.0);
    let root = skep_pki::RootCa::from_pem(&cluster.root_ca.certificate_pem, &key_pem)?;
    let certificate = skep_pki::generate_node(
        &root,
        node.as_str(),
        skep_pki::NodeRole::Manager,
        cluster.id.as_str(),
        now,
        cluster.spec.node_cert_expiry,
    )?;
    data.write_certificate(&certificate, &cluster.root_ca.certificate_pem)?;
    Ok(())
}
