//! Keeps what a worker has beside its tasks in step with what managers tell: certificate, roots, list of managers; and tells
//! them what it is. When a certificate is due is decided by [`fits`] and [`is_fresh`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skep_core::agent::ManagerList;
use skep_core::error::chain;
use skep_core::model::node::{NodeDescription, Role};
use skep_core::time::Timestamp;
use skep_pki::NodeRole;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::data_dir::{DataDir, StoredCertificate};
use super::enrol::renew;
use super::member::Surroundings;
use crate::agent::link::Told;
use crate::clock;
use crate::dataplane::{OwnKey, describe_underlay};
use crate::engine::Engine;
use crate::manager::cluster::now_unix;
use crate::rpc::authorize::Lapse;
use crate::rpc::tls::Tls;

/// Between two looks at things that change without an event: the engine's description, a certificate's age.
const LOOK_PERIOD: Duration = Duration::from_secs(20);

/// Between two looks at an engine that does not answer, and two tries to get a certificate.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Between two certificates that are new and yet out of time.
const APART_PERIOD: Duration = Duration::from_secs(600);

/// The upkeep of one worker.
pub(super) struct Certificates {
    data: DataDir,
    engine: Arc<dyn Engine>,
    tls: Arc<Tls>,
    held: StoredCertificate,
    managers: Arc<Mutex<ManagerList>>,
    told: watch::Receiver<Option<Told>>,
    describe: watch::Sender<Option<NodeDescription>>,
    /// How tunnels to this node are encrypted.
    tunnel_key: watch::Receiver<OwnKey>,
    promoted: watch::Sender<bool>,
    /// How far into its validity this node renews a certificate, so that not all come at once.
    fraction: f64,
    /// When the age of a certificate counts again, by the time since the start: a new one was too old, or not to hold yet, so
    /// that a clock must be wrong.
    by_age_from: Timestamp,
}

impl Certificates {
    pub(super) fn new(
        around: &Surroundings,
        tls: Arc<Tls>,
        held: StoredCertificate,
        managers: Arc<Mutex<ManagerList>>,
        told: watch::Receiver<Option<Told>>,
        (describe, tunnel_key): (watch::Sender<Option<NodeDescription>>, watch::Receiver<OwnKey>),
    ) -> Self {
        Self {
            data: around.data.clone(),
            engine: around.machine.engine.clone(),
            tls,
            held,
            managers,
            told,
            describe,
            tunnel_key,
            promoted: watch::channel(false).0,
            fraction: clock::random_fraction(),
            by_age_from: Timestamp::default(),
        }
    }

    /// Tells whether the node was made a manager and is certified as one.
    pub(super) fn promoted(&self) -> watch::Receiver<bool> {
        self.promoted.subscribe()
    }

    /// Looks whenever a manager tells something and every `LOOK_PERIOD`, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let told = self.told.borrow_and_update().clone();
            let looked = async {
                let followed = match &told {
                    Some(told) => self.follow(told).await,
                    None => self.renew_out_of_time().await,
                };
                // After that: what it holds of certificates is part of what it is.
                self.describe().await && followed
            };
            let is_well = tokio::select! {
                is_well = Box::pin(looked) => is_well,
                () = stop.cancelled() => return,
            };
            let wait = if is_well { LOOK_PERIOD } else { RETRY_PERIOD };
            tokio::select! {
                changed = self.told.changed() => if changed.is_err() { return },
                Ok(()) = self.tunnel_key.changed() => {}
                () = clock::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Tells what this node is, if that is news.
    async fn describe(&mut self) -> bool {
        let described = match self.engine.describe().await {
            Ok(described) => described,
            Err(error) => {
                debug!(error = %error, "the engine does not describe itself");
                return false;
            }
        };
        let tunnel_key = OwnKey::known(&mut self.tunnel_key).await;
        let data_path = self.data.data_path();
        let described = describe_underlay(described, data_path).await;
        let described = NodeDescription { tunnel_key, ..described };
        let described = self.held.describe(described);
        self.describe.send_if_modified(|held| {
            let differs = held.as_ref() != Some(&described);
            *held = Some(described);
            differs
        });
        true
    }

    /// Does what a manager told; tells whether all of it is done.
    async fn follow(&mut self, told: &Told) -> bool {
        if self.managers.lock().learn(told.managers.clone())
            && let Err(error) = self.data.write_managers(&told.managers)
        {
            warn!(error = %chain(&error), "the list of managers was not written");
        }
        let trusts = self.held.root_pem == told.root_pem || self.trust(&told.root_pem);
        let is_fresh = is_fresh(&self.held.chain_pem, now_unix(), self.fraction);
        let is_due = !fits(&self.held, told) || (!is_fresh && self.age_counts());
        if is_due && !self.ask(&told.root_pem).await {
            return false;
        }
        let role = certified_role(&self.held);
        self.promoted.send_replace(told.role == Role::Manager && role == Some(Role::Manager));
        trusts && role == Some(told.role)
    }

    /// Asks for another certificate where the one held ran out while the node was off, or does not hold yet: no manager opens a
    /// session for it.
    async fn renew_out_of_time(&mut self) -> bool {
        let window = skep_pki::renewal_window(&self.held.chain_pem);
        let holds = window.is_ok_and(|window| Lapse::of(window, clock::now()).is_none());
        let root_pem = self.held.root_pem.clone();
        holds || !self.age_counts() || self.ask(&root_pem).await
    }

    fn age_counts(&self) -> bool {
        clock::uptime() >= self.by_age_from
    }

    /// Asks one manager after the other for another certificate.
    async fn ask(&mut self, root_pem: &str) -> bool {
        let known: Vec<String> = self.managers.lock().addresses().map(str::to_owned).collect();
        let mut reason = String::new();
        for address in known {
            match renew(&address, self.tls.clone(), root_pem.to_owned()).await {
                Ok(renewed) => return self.take(&renewed),
                Err(error) => {
                    reason = chain(&error);
                    debug!(manager.addr = %address, error = %reason, "no certificate");
                }
            }
        }
        warn!(reason, "no manager gives this node another certificate");
        false
    }

    /// Verifies peers by other roots from now on.
    fn trust(&mut self, roots_pem: &str) -> bool {
        let StoredCertificate { chain_pem, key_pem, .. } = &self.held;
        if let Err(error) = self.tls.replace(chain_pem, key_pem, roots_pem) {
            warn!(error = %chain(&error), "the roots that a manager names cannot be used");
            return false;
        }
        roots_pem.clone_into(&mut self.held.root_pem);
        info!("other roots are trusted");
        if let Err(error) = self.data.write_roots(roots_pem) {
            warn!(error = %chain(&error), "the roots were not written");
        }
        true
    }

    fn take(&mut self, renewed: &super::enrol::Enrolled) -> bool {
        let held = StoredCertificate {
            chain_pem: renewed.certificate.certificate_pem.clone(),
            key_pem: renewed.certificate.key_pem.clone(),
            root_pem: renewed.root_pem.clone(),
        };
        if !held.is_signed_by(&held.root_pem) {
            warn!("the certificate given descends from no root that is trusted");
            return false;
        }
        if let Err(error) =
            self.data.write_certificate(&renewed.certificate, &renewed.root_pem, None)
        {
            warn!(error = %chain(&error), "the certificate was not written");
            return false;
        }
        if let Err(error) = self.tls.replace(&held.chain_pem, &held.key_pem, &held.root_pem) {
            warn!(error = %chain(&error), "the certificate cannot be used");
            return false;
        }
        self.held = held;
        info!(node.id = %renewed.node, node.role = ?renewed.role, "certificate renewed");
        if !is_fresh(&self.held.chain_pem, now_unix(), self.fraction) {
            warn!("the clock of this node and that of the manager that signs are apart: set them");
            self.by_age_from = clock::uptime().after(APART_PERIOD);
        }
        true
    }
}

fn certified_role(held: &StoredCertificate) -> Option<Role> {
    let identity = skep_pki::read_identity(&held.chain_pem).ok()?;
    Some(match identity.role {
        NodeRole::Manager => Role::Manager,
        NodeRole::Worker => Role::Worker,
    })
}

/// Tells whether a certificate is what managers want this node to have, but for its age: of its role and of a root that counts,
/// and none asks for another one.
fn fits(held: &StoredCertificate, told: &Told) -> bool {
    !told.renew && certified_role(held) == Some(told.role) && held.is_signed_by(&told.root_pem)
}

/// Tells whether a certificate holds and is not old. One that does not hold yet is of a clock that was wrong. `fraction` spreads the
/// nodes of a cluster.
pub(super) fn is_fresh(chain_pem: &str, now_unix: i64, fraction: f64) -> bool {
    let window = skep_pki::renewal_window(chain_pem);
    window
        .is_ok_and(|(from, to)| (from..skep_pki::renew_at(from, to, fraction)).contains(&now_unix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_asked_for_when_it_does_not_fit() -> anyhow::Result<()> {
        let now = 1_700_000_000;
        let day = 24 * 3600;
        let root = skep_pki::RootCa::generate(now)?;
        let validity = Duration::from_secs(90 * 24 * 3600);
        let made =
            skep_pki::generate_node(&root, "node", NodeRole::Worker, "cluster", now, validity)?;
        let held = StoredCertificate {
            chain_pem: made.certificate_pem,
            key_pem: made.key_pem,
            root_pem: root.certificate_pem.clone(),
        };
        let told = Told {
            managers: Vec::new(),
            role: Role::Worker,
            renew: false,
            root_pem: root.certificate_pem,
        };
        let fresh = |after: i64| is_fresh(&held.chain_pem, now + after * day, 0.5);
        assert!(fresh(0) && fresh(50) && !fresh(62) && !fresh(91) && !fresh(-1));
        let fits_if = |change: fn(&mut Told)| {
            let mut told = told.clone();
            change(&mut told);
            fits(&held, &told)
        };
        assert!(fits_if(|_| ()));
        assert!(!fits_if(|told| told.renew = true));
        assert!(!fits_if(|told| told.role = Role::Manager));
        let other = skep_pki::RootCa::generate(now)?.certificate_pem;
        let fits_under =
            |root_pem: &str| fits(&held, &Told { root_pem: root_pem.to_owned(), ..told.clone() });
        assert!(!fits_under(&other) && !fits_under(""));
        assert!(fits_under(&(other + &held.root_pem)));
        Ok(())
    }
}
