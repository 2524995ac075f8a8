//! Keeps what a member holds beside the log in step with the cluster: certificate, key wrapping, description.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skep_core::command::Command;
use skep_core::id::NodeId;
use skep_core::model::cluster::{Cluster, RootCa};
use skep_core::model::node::{NodeDescription, Role};
use skep_core::state::State;
use skep_core::time::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::certificates::is_fresh;
use super::data_dir::{DataDir, StoredCertificate};
use super::identity::Identity;
use super::member::{Surroundings, propose};
use crate::clock;
use crate::dataplane::{OwnKey, describe_underlay};
use crate::engine::Engine;
use crate::manager::cluster::now_unix;
use crate::manager::signer::Signer;
use crate::rpc::tls::Tls;
use skep_core::error::chain;
use skep_raft::keys::{KeyEncryptionKey, rewrap};
use skep_raft::{DataKey, RaftNode};

/// Between two looks at things that change without an event: the engine's description, a certificate's age.
const LOOK_PERIOD: Duration = Duration::from_secs(20);

/// The first and the longest wait between two tries to get a certificate; the first too between two to tell what the node is.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = LOOK_PERIOD;

/// The upkeep of one member.
pub struct Upkeep {
    data: DataDir,
    engine: Arc<dyn Engine>,
    node: NodeId,
    /// Where its tunnels end.
    data_path: IpAddr,
    /// How they are encrypted.
    tunnel_key: watch::Receiver<OwnKey>,
    raft: Arc<RaftNode>,
    key: DataKey,
    /// What the data key is wrapped with, once that is known to be on disk.
    wrapped_with: Option<Vec<u8>>,
    described: Option<NodeDescription>,
    /// The certificate in use.
    held: Option<StoredCertificate>,
    /// What the cluster held of roots when the certificate was last found to fit.
    fitted: Option<RootCa>,
    /// Where the certificate is used.
    tls: Arc<Tls>,
    signer: Arc<Signer>,
    /// When a certificate that could not be had is asked for again, by the time since the start, and the wait after that.
    retry_at: Option<Timestamp>,
    retry_pause: Duration,
    /// How far into its validity this node renews a certificate, so that not all come at once.
    fraction: f64,
    /// Index of the newest state whose key is on disk as it asks for.
    kept: watch::Sender<u64>,
}

impl Upkeep {
    /// Prepares the upkeep of a member; nothing is touched yet.
    pub fn new(
        around: &Surroundings,
        identity: &Identity,
        (raft, key): (Arc<RaftNode>, DataKey),
        (tls, signer): (Arc<Tls>, Arc<Signer>),
        tunnel_key: watch::Receiver<OwnKey>,
    ) -> Self {
        Self {
            data: around.data.clone(),
            engine: around.machine.engine.clone(),
            node: identity.node.clone(),
            data_path: identity.data_path,
            tunnel_key,
            raft,
            key,
            wrapped_with: None,
            described: None,
            held: None,
            fitted: None,
            tls,
            signer,
            retry_at: None,
            retry_pause: RETRY_MIN,
            fraction: clock::random_fraction(),
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
        let mut look_at = clock::uptime();
        loop {
            let state = states.borrow_and_update().clone();
            let look = clock::uptime() >= look_at;
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
                if !is_manager {
                    self.retry_at = None;
                } else if self.shall_look(look, &cluster.root_ca) {
                    // A signer outside may take its time; a stop does not.
                    tokio::select! {
                        () = Box::pin(self.keep_certificate(cluster)) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
            if look {
                self.describe().await;
                look_at = clock::uptime().after(LOOK_PERIOD);
            }
            let mut wake_at = self.retry_at.map_or(look_at, |at| at.min(look_at));
            if state.cluster().is_some() {
                // Without a quorum a proposal waits long; a stop does not.
                let is_known = tokio::select! {
                    is_known = self.report(&state) => is_known,
                    () = stop.cancelled() => return,
                };
                if !is_known {
                    wake_at = wake_at.min(clock::uptime().after(RETRY_MIN));
                }
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                Ok(()) = self.tunnel_key.changed() => {}
                () = clock::sleep(wake_at.since(clock::uptime())) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn describe(&mut self) {
        match self.engine.describe().await {
            Ok(description) => {
                let data_path = Some(self.data_path);
                self.described = Some(describe_underlay(description, data_path).await);
            }
            Err(error) => debug!(error = %error, "the engine does not describe itself"),
        }
    }

    /// Reports what this node is, if that is not what the state says. False if that is to be tried again soon: others cannot
    /// encrypt for a key that they do not know.
    async fn report(&self, state: &State) -> bool {
        let Some(node) = state.nodes().get(&self.node) else { return true };
        let (Some(described), Some(held)) = (&self.described, &self.held) else { return true };
        // Until it is known, that of an earlier start holds: its tunnels may still be there.
        let OwnKey::Known(tunnel_key) = *self.tunnel_key.borrow() else { return true };
        let described = NodeDescription { tunnel_key, ..held.describe(described.clone()) };
        if node.description == described {
            return true;
        }
        let command = Command::ReportNode {
            id: self.node.clone(),
            description: Some(Box::new(described)),
            status: None,
            manager: None,
        };
        let outcome = propose(&self.raft, command).await;
        if let Err(error) = &outcome {
            warn!(error = %error, "the node's description was not recorded");
        }
        outcome.is_ok()
    }

    /// Tells whether the certificate is to be looked at: now and then, and when the roots changed. One that could not be had is
    /// not asked for with every change of the state.
    fn shall_look(&self, look: bool, root: &RootCa) -> bool {
        match self.retry_at {
            Some(at) => clock::uptime() >= at,
            None => look || self.fitted.as_ref() != Some(root),
        }
    }

    /// Makes a certificate where there is none that fits the cluster's roots, or it is due; follows the roots themselves.
    async fn keep_certificate(&mut self, cluster: &Cluster) {
        let root = &cluster.root_ca;
        let held = self.data.certificate(Some(&self.key));
        let fits = held.as_ref().is_some_and(|held| fits(held, root, now_unix(), self.fraction));
        let kept = match &held {
            Some(held) if fits && held.root_pem == root.trusted_pem() => Ok(()),
            Some(_) if fits => self.data.write_roots(&root.trusted_pem()).map_err(Into::into),
            Some(_) | None => Box::pin(self.issue(cluster)).await,
        };
        if let Err(error) = kept {
            warn!(error = format!("{error:#}"), "no certificate could be issued");
            self.retry_at = Some(clock::uptime().after(self.retry_pause));
            self.retry_pause = (self.retry_pause * 2).min(RETRY_MAX);
            return;
        }
        self.retry_at = None;
        self.retry_pause = RETRY_MIN;
        if fits && self.fitted.as_ref() == Some(root) {
            return;
        }
        let Some(held) = self.data.certificate(Some(&self.key)) else { return };
        if let Err(error) = self.tls.replace(&held.chain_pem, &held.key_pem, &held.root_pem) {
            warn!(error = %chain(&error), "the certificate cannot be used");
            return;
        }
        if !fits {
            info!(node.id = %self.node, "certificate issued");
        }
        self.held = Some(held);
        self.fitted = Some(root.clone());
    }

    async fn issue(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let request = skep_pki::generate_request()?;
        let asked = &request.request_pem;
        let signed = Box::pin(self.signer.sign(cluster, &self.node, Role::Manager, asked)).await?;
        let roots = cluster.root_ca.trusted_pem();
        self.data.write_certificate(&request.with_certificate(signed), &roots, Some(&self.key))?;
        Ok(())
    }

    /// Wraps the data key as autolock asks for, and seals the node's own key with it; tells whether they are.
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
            Ok(()) => {}
            Err(error) => {
                warn!(error = %chain(&error), "the data key could not be wrapped");
                return false;
            }
        }
        // A node that is not yet a manager for good may have to go on as a worker, which has no data key.
        let is_manager =
            self.data.identity().map(|it| it.is_some_and(|it| it.role == Role::Manager));
        let sealed =
            is_manager.and_then(|is| if is { self.data.reseal(&self.key, true) } else { Ok(()) });
        if let Err(error) = sealed {
            warn!(error = %chain(&error), "the node's own key could not be sealed");
            return false;
        }
        self.wrapped_with = Some(wanted.clone());
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

/// Tells whether a manager's certificate is the one it would get now, but for its age, holds, and is not due.
fn fits(held: &StoredCertificate, root: &RootCa, now_unix: i64, fraction: f64) -> bool {
    let issuer = skep_pki::leaf_issuer(&held.chain_pem, &root.trusted_pem());
    let is_issued = issuer.is_ok_and(|(subject, key)| root.issuer() == (&*subject, &*key));
    let is_fresh = is_fresh(&held.chain_pem, now_unix, fraction);
    // Without it, those who still trust only the present root would refuse the certificate.
    let is_vouched_for =
        root.rotation.iter().all(|next| held.chain_pem.ends_with(&next.cross_signed_pem));
    is_issued && is_fresh && is_vouched_for
}
