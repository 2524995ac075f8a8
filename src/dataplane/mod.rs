//! Executes what the core's network plan says: names, published ports, the kernel's network. Decides nothing, makes no
//! network.

mod attributes;
mod back_off;
mod dns;
mod drain;
mod endpoints;
#[cfg(test)]
mod fixture;
mod kernel;
mod per_source;
mod relay;
mod socket;
#[cfg(test)]
mod tests;
mod wireguard;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use skep_core::State;
use skep_core::assign::Assigned;
use skep_core::error::chain;
use skep_core::id::NodeId;
use skep_core::model::node::NodeDescription;
use skep_core::net::kernel::Desired;
use skep_core::net::namer::Namer;
use skep_core::net::plan::Host;
use skep_core::net::planner::Planner;
use skep_core::net::served::may_differ;
use skep_core::net::{bridges, plan, ports};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// What is answered to a packet, apart from the sockets.
pub use dns::message;

pub use drain::{Drains, Leading};
pub use endpoints::Endpoints;
pub use kernel::{KernelError, Rules};

pub use wireguard::{OwnKey, ProcessError, carrier, run_process};

use dns::NameServers;
use kernel::KernelPlane;
use relay::Relays;

/// What of the data plane differs between a real node and a test.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port of the name servers.
    pub dns_port: u16,
    /// Where the servers for outside names are listed.
    pub resolv_conf: PathBuf,
    /// The only address to publish ports on; all addresses of both families when absent.
    pub publish_on: Option<IpAddr>,
    /// Whether the kernel's network is kept; without it ports are relayed and nothing leads to other hosts.
    pub kernel: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let resolv_conf = PathBuf::from("/etc/resolv.conf");
        Self { dns_port: 53, resolv_conf, publish_on: None, kernel: true }
    }
}

/// Name servers and relays of one node, and the keeper of the kernel's network beside them.
pub struct DataPlane {
    names: NameServers,
    relays: Relays,
    settings: Settings,
    planner: Planner,
    namer: Namer,
    plan: watch::Sender<Option<Arc<Desired>>>,
    tell: Tell,
}

/// Who is told of what only the data plane knows.
#[derive(Debug, Default)]
pub struct Tell {
    /// How this node's tunnels are encrypted.
    pub key: watch::Sender<OwnKey>,
    /// Index of the state by which packets are led here.
    pub in_force: watch::Sender<u64>,
}

impl DataPlane {
    /// Makes one that serves nothing yet, for a node whose tunnels end at `addr`.
    pub fn new(settings: Settings, node: NodeId, addr: IpAddr, tell: Tell) -> Self {
        Self {
            names: NameServers::new(settings.dns_port, settings.resolv_conf.clone()),
            relays: Relays::new(settings.publish_on),
            settings,
            namer: Namer::new(node.clone()),
            planner: Planner::new(host(node, addr)),
            plan: watch::Sender::default(),
            tell,
        }
    }

    /// Follows the newest state until `shutdown`, then closes all sockets. What the kernel was told stays, and it is told
    /// nothing before the node has been `assigned` something: by an older state, or none, what packets flow through would go.
    ///
    /// Addresses are bound before the engine has made their bridges, so it needs no word from the engine.
    pub async fn run(
        mut self,
        mut states: watch::Receiver<Arc<State>>,
        mut assigned: watch::Receiver<Option<Arc<Assigned>>>,
        shutdown: CancellationToken,
    ) {
        let kernel = self.open_kernel();
        let (led, mut is_led) = watch::channel(false);
        let (ruled, mut is_ruled) = watch::channel(None);
        let keeper = self.keep_kernel(kernel, (led, ruled), shutdown.clone());
        let serve = async {
            let mut last: Option<Arc<State>> = None;
            let mut was = (false, false);
            loop {
                let state = states.borrow_and_update().clone();
                let current = assigned.borrow_and_update().is_some();
                let led = *is_led.borrow_and_update();
                let known = last.as_ref().filter(|_| was == (current, led));
                if known.is_none_or(|last| may_differ(last, &state)) {
                    self.plan_kernel(&state, current);
                    // The keeper sets out with it meanwhile.
                    tokio::task::yield_now().await;
                    self.follow(&state, led);
                }
                if current && self.is_in_force(is_ruled.borrow_and_update().as_ref()) {
                    self.tell.in_force.send_if_modified(|index| {
                        std::mem::replace(index, state.index()) != state.index()
                    });
                }
                (last, was) = (Some(state), (current, led));
                tokio::select! {
                    Ok(()) = assigned.changed(), if !current => {}
                    () = shutdown.cancelled() => break,
                    changed = states.changed() => if changed.is_err() { break },
                    Ok(()) = is_led.changed() => {}
                    Ok(()) = is_ruled.changed() => {}
                }
            }
            tokio::join!(self.names.stop(), self.relays.stop());
        };
        tokio::join!(biased; serve, keeper);
    }

    /// Takes the kernel's network, if this daemon may keep it.
    fn open_kernel(&mut self) -> Option<KernelPlane> {
        let opened = self.settings.kernel.then(KernelPlane::open)?;
        let unkept = "networks do not span hosts from here, and published ports are relayed";
        let kernel = opened.inspect_err(|error| warn!(error = %chain(error), "{unkept}")).ok();
        self.settings.kernel = kernel.is_some();
        kernel
    }

    /// Keeps the kernel's network, if there is one to keep.
    fn keep_kernel(
        &self,
        kernel: Option<KernelPlane>,
        (led, ruled): (watch::Sender<bool>, watch::Sender<Option<Arc<Desired>>>),
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let plan = self.plan.subscribe();
        let key = self.tell.key.clone();
        async move {
            let Some(kernel) = kernel else {
                key.send_replace(OwnKey::Known(None));
                return;
            };
            let (stirred, stirs) = watch::channel(());
            let tunnel = wireguard::keep(plan.clone(), key, stirs, stop.clone());
            let links = kernel.run(plan, led, ruled, stirred, stop);
            tokio::join!(Box::pin(links), Box::pin(tunnel));
        }
    }

    /// Tells whether the rules in force, which are those of a plan, are those of the newest one.
    fn is_in_force(&self, ruled: Option<&Arc<Desired>>) -> bool {
        let plan = self.plan.borrow();
        let are_equal = |plan: &Arc<Desired>| ruled.is_some_and(|ruled| Arc::ptr_eq(plan, ruled));
        !self.settings.kernel || plan.as_ref().is_some_and(are_equal)
    }

    /// Hands the keeper of the kernel's network the plan by a state, if it is another one.
    fn plan_kernel(&mut self, state: &State, current: bool) {
        if !self.settings.kernel || !current {
            return;
        }
        let desired = self.planner.follow(state);
        self.plan.send_if_modified(|held| {
            let differs = held.as_ref().is_none_or(|held| **held != *desired);
            if differs {
                *held = Some(Arc::new(desired.clone()));
            }
            differs
        });
    }

    fn follow(&mut self, state: &State, led: bool) {
        let node = &self.planner.host().node;
        let gateways = bridges::gateways(state, node);
        let published = ports::published(state, node);
        debug!(
            state.index = state.index(),
            gateways = gateways.len(),
            ports = published.len(),
            "data plane follows"
        );
        self.names.set_table(self.namer.follow(state, led).clone());
        self.names.set_addresses(gateways);
        self.relays.set(published);
    }
}

/// Lists what is not as it should be of the network of a host whose tunnels end at `addr`, in words.
///
/// # Errors
/// Fails where the kernel does not answer.
pub async fn amiss(
    settings: &Settings,
    state: &State,
    node: NodeId,
    addr: IpAddr,
) -> Result<Vec<String>, KernelError> {
    if !settings.kernel {
        return Ok(Vec::new());
    }
    let carrier = Box::pin(wireguard::carrier()).await.map_err(KernelError::Socket)?;
    Box::pin(kernel::look(&plan::desired(state, &host(node, addr)), &carrier)).await
}

/// Adds to what a node tells where its tunnels end, and what the link there carries.
pub async fn describe_underlay(
    description: NodeDescription,
    data_path: Option<IpAddr>,
) -> NodeDescription {
    let underlay_mtu = match data_path {
        Some(addr) => Box::pin(kernel::mtu_of(addr)).await,
        None => None,
    };
    NodeDescription { data_path, underlay_mtu, ..description }
}

/// Tunnels between IPv6 addresses are not made; a node at one is none that others lead to.
fn host(node: NodeId, addr: IpAddr) -> Host {
    let addr = match addr {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    Host { node, addr }
}

/// Takes everything away that the kernel was told.
///
/// # Errors
/// Says what could not be taken away, or that a daemon keeps it.
pub async fn clean() -> Result<(), KernelError> {
    let mut kernel = KernelPlane::open()?;
    wireguard::end().await;
    Box::pin(kernel.clear()).await
}

/// Takes everything away that the kernel was told, for a node that leaves its cluster.
pub async fn clear(settings: &Settings) {
    if !settings.kernel {
        return;
    }
    match clean().await {
        // What another daemon keeps is not this one's to take away.
        Ok(()) | Err(KernelError::Held) => {}
        Err(error) => {
            let error = chain(&error);
            warn!(%error, "the host's network may still hold parts of the cluster's");
        }
    }
}
