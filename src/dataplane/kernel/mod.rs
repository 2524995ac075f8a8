//! Keeps the kernel's network as the core's plan says: links, tables, packet rules. Looks again whenever the plan or a link
//! changes, and every few seconds for what nobody told of. What it made stays when it stops, so that packets flow on.

mod accepts;
mod batch;
mod carry_out;
mod conntrack;
mod expressions;
mod look;
mod monitor;
mod netfilter;
mod observe;
mod rules;
mod settings;
mod underlay;

use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::MulticastGroup;
use skep_core::error::chain;
use skep_core::net::kernel::{Accepts, Desired, LINK_PREFIX, NetOp, steps};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
pub use look::look;
pub use rules::Rules;
pub use underlay::mtu_of;

use observe::Netlink;

/// Between two looks when nothing was heard of.
const LOOK_PERIOD: Duration = Duration::from_secs(3);

/// Name, in the abstract namespace, of the socket that the daemon holds which keeps this network.
const HOLD: &[u8] = b"skep/network";

/// Why the kernel's network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Another daemon keeps it.
    #[error("another skep on this host keeps its network")]
    Held,
    /// It cannot be talked to.
    #[error("cannot talk to the kernel's network")]
    Socket(#[source] io::Error),
    /// It refused packet rules.
    #[error("cannot set the kernel's packet rules (nf_tables)")]
    Rules(#[source] io::Error),
    /// It refused something.
    #[error("cannot {what}")]
    Refused {
        /// What.
        what: String,
        /// Its answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A program that is needed did not do its work.
    #[error("{program}: {message}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

/// Keeps the network of this host, for as long as it lives the only one to do so.
pub struct KernelPlane {
    netlink: Netlink,
    rules: Rules,
    /// What the engine's chains were seen to hold, until the next look.
    accepts: Option<Accepts>,
    /// By which plan connections are led.
    led: Arc<Desired>,
    /// Closed when this ends; taken again by the next daemon.
    _hold: UnixListener,
}

impl KernelPlane {
    /// Opens the way to the kernel.
    ///
    /// # Errors
    /// Says why this daemon cannot keep the host's network.
    pub fn open() -> Result<Self, KernelError> {
        let name = SocketAddr::from_abstract_name(HOLD).map_err(KernelError::Socket)?;
        let hold = UnixListener::bind_addr(&name).map_err(|error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                KernelError::Held
            } else {
                KernelError::Socket(error)
            }
        })?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::Socket)?;
        tokio::spawn(connection);
        let netlink = Netlink::new(handle);
        let led = Arc::default();
        let rules = Rules::open()?;
        Ok(Self { netlink, rules, accepts: None, led, _hold: hold })
    }

    /// Follows the plan, once there is one, until `stop`; tells `led` whether all of it is as it should be and leads packets,
    /// `ruled` by which plan these are led, and `stirred` whenever links may have changed.
    pub async fn run(
        mut self,
        mut plan: watch::Receiver<Option<Arc<Desired>>>,
        led: watch::Sender<bool>,
        ruled: watch::Sender<Option<Arc<Desired>>>,
        stirred: watch::Sender<()>,
        stop: CancellationToken,
    ) {
        let mut links = match link_events() {
            Ok(links) => links.boxed(),
            Err(error) => {
                warn!(error = %chain(&error), "links cannot be watched");
                futures_util::stream::pending().boxed()
            }
        };
        let mut tick = tokio::time::interval(LOOK_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failure = String::new();
        // The plan by which links are known to be joined, until there is a reason to look.
        let mut joined_by: Option<Arc<Desired>> = None;
        // Who changes rules again and again is not answered more often than one looks.
        let mut was_mended = false;
        loop {
            let wanted = plan.borrow_and_update().clone();
            if let Some(wanted) = wanted {
                let walls = self.lead(&wanted).await;
                if walls.is_ok() {
                    ruled.send_if_modified(|held| {
                        let last = held.replace(wanted.clone());
                        last.is_none_or(|last| !Arc::ptr_eq(&last, &wanted))
                    });
                }
                let joined = match joined_by.take().filter(|held| wanted.joins_as(held)) {
                    Some(_) => Ok(()),
                    None => self.join(&wanted).await,
                };
                joined_by = joined.is_ok().then(|| wanted.clone());
                let outcome = walls.and(joined);
                led.send_replace(outcome.is_ok() && !wanted.rules.tables.is_empty());
                note(&outcome, &mut failure);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = plan.changed() => if changed.is_err() { break },
                Some(()) = links.next() => {
                    stirred.send_replace(());
                    joined_by = None;
                }
                () = self.rules.changed(), if !was_mended => was_mended = true,
                _ = tick.tick() => {
                    stirred.send_replace(());
                    joined_by = None;
                    self.accepts = None;
                    was_mended = false;
                }
            }
        }
    }

    /// Takes away everything that is skep's.
    ///
    /// # Errors
    /// Says what could not be done.
    pub async fn clear(&mut self) -> Result<(), KernelError> {
        self.accepts = None;
        let none = Arc::default();
        self.lead(&none).await.and(self.join(&none).await)
    }

    /// Brings packet rules to what they should be. The walls stand before what they keep apart is joined.
    async fn lead(&mut self, wanted: &Arc<Desired>) -> Result<(), KernelError> {
        let set = self.rules.set(&wanted.rules).await;
        self.forget_exchanges(wanted).await;
        set
    }

    /// Brings links and what hangs on them to what they should be.
    async fn join(&mut self, wanted: &Desired) -> Result<(), KernelError> {
        let mut kernel = self.netlink.observe().await?;
        settings::read(wanted, &mut kernel);
        kernel.accepts = match &self.accepts {
            Some(held) => held.clone(),
            None => accepts::list().await,
        };
        self.accepts = Some(kernel.accepts.clone());
        let mut first_error = None;
        for step in steps(wanted, &kernel) {
            debug!(?step, "network");
            if let Err(error) = self.carry_out(step).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Who exchanges UDP packets with a task that is led to no more would do so for ever, and who knocks there in vain as well.
    async fn forget_exchanges(&mut self, wanted: &Arc<Desired>) {
        let gone = wanted.left_since(&self.led);
        self.led = wanted.clone();
        if gone.is_empty() {
            return;
        }
        let forgotten = tokio::task::spawn_blocking(move || conntrack::forget(&gone)).await;
        if let Err(error) = forgotten.map_err(io::Error::other).flatten() {
            debug!(%error, "exchanges with tasks that stop are not forgotten");
        }
    }

    async fn carry_out(&mut self, step: NetOp) -> Result<(), KernelError> {
        if let NetOp::Set(path, value) = &step {
            return settings::write(path, value).await;
        }
        if let NetOp::AddAccept(family, rule) | NetOp::RemoveAccept(family, rule) = &step {
            self.accepts = None;
            let adds = matches!(step, NetOp::AddAccept(..));
            let family = *family;
            return if adds {
                accepts::add(family, rule).await
            } else {
                accepts::remove(family, rule).await
            };
        }
        self.netlink.carry_out(step).await
    }
}

/// Tells whether one of these addresses is answering somebody.
///
/// # Errors
/// Fails where the kernel gives no list of connections.
pub async fn is_busy(addrs: Vec<IpAddr>) -> io::Result<bool> {
    let looked = tokio::task::spawn_blocking(move || conntrack::is_busy(&addrs)).await;
    looked.map_err(io::Error::other)?
}

/// Says once what is wrong, and once that it is over.
fn note(outcome: &Result<(), KernelError>, failure: &mut String) {
    let now = outcome.as_ref().err().map(|error| chain(error).to_string()).unwrap_or_default();
    if now == *failure {
        return;
    }
    if now.is_empty() {
        info!("the host's network is as it should be");
    } else {
        warn!(error = %now, "the host's network is not as it should be");
    }
    *failure = now;
}

/// Wakes up for changes of links that may concern skep.
fn link_events() -> Result<impl futures_util::Stream<Item = ()> + Send, KernelError> {
    let (connection, _handle, messages) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .map_err(KernelError::Socket)?;
    tokio::spawn(connection);
    // Whatever piled up meanwhile is one wake-up.
    Ok(messages.ready_chunks(1024).filter_map(|messages| async move {
        let mut links = messages.iter().filter_map(|(message, _)| {
            let NetlinkPayload::InnerMessage(inner) = &message.payload else { return None };
            let (RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)) = inner
            else {
                return None;
            };
            Some(link)
        });
        links.any(concerns).then_some(())
    }))
}

/// Tells whether a link is skep's, or a port of some bridge.
fn concerns(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::IfName(name) if name.starts_with(LINK_PREFIX))
            || matches!(attribute, LinkAttribute::Controller(_))
    })
}

/// Where programs are looked for; a daemon may have been started without the folders of administrators.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program with a text on its standard input; returns what it wrote.
async fn program(
    name: &'static str,
    args: Vec<String>,
    input: String,
) -> Result<String, KernelError> {
    let failed = |message: String| KernelError::Program { program: name, message };
    let run = move || -> io::Result<std::process::Output> {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut child = Command::new(name)
            .args(args)
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read says why in its own words.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    };
    let ended = tokio::task::spawn_blocking(run).await;
    let output = ended.map_err(|error| failed(error.to_string()))?;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("failed without a word");
    Err(failed(line.to_owned()))
}

/// Waits as long as another program holds the lock of the packet rules.
const RETRY: Duration = Duration::from_millis(50);

/// Tries a program a few times: others change the same tables.
async fn program_retried(
    name: &'static str,
    args: &[&str],
    input: &str,
) -> Result<String, KernelError> {
    const TRIES: usize = 3;
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    for _ in 1..TRIES {
        if let Ok(output) = program(name, args.clone(), input.to_owned()).await {
            return Ok(output);
        }
        clock::sleep(RETRY).await;
    }
    program(name, args, input.to_owned()).await
}
