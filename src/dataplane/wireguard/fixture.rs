//! Network namespaces with a wire between, for tests of the kernel's link where the kernel has WireGuard.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use netlink_packet_route::link::LinkMessage;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use skep_core::model::tunnel_key::TunnelKey;
use skep_core::net::wireguard::{WireGuard, WirePeer, addr_of};

use super::genl::{self, WireFamily};

/// A session is begun anew by itself only after five seconds; nobody here is to wait for that, on however slow a machine.
pub(super) const SOON: Duration = Duration::from_secs(4);

/// Something that does not come.
pub(super) const NEVER: Duration = Duration::from_millis(300);

/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn underlay(number: u8) -> Ipv4Addr {
    [192, 0, 2, number].into()
}

/// A network namespace, and what runs in it. Threads begin in the namespace of whoever begins them.
pub(super) struct Space {
    pub(super) number: u8,
    pub(super) file: File,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) handle: Handle,
}

impl Space {
    pub(super) fn new(number: u8) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("it takes root to try the kernel's link");
        let file = File::open("/proc/thread-self/ns/net").expect("it is there");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("it is made");
        let handle = runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().expect("a socket is made");
            tokio::spawn(connection);
            handle
        });
        Self { number, file, runtime, handle }
    }

    pub(super) fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("it is this process's");
    }

    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.enter();
        self.runtime.block_on(Box::pin(future))
    }

    pub(super) async fn index(&self, name: &str) -> u32 {
        let found = self.handle.link().get().match_name(name).execute();
        let found: Vec<LinkMessage> = found.try_collect().await.expect("it is there");
        found.first().map(|link| link.header.index).expect("it is there")
    }

    /// Gives the wire's end here its address.
    pub(super) async fn address(&self, wire: &str) {
        let index = self.index(wire).await;
        let add = self.handle.address().add(index, underlay(self.number).into(), 24);
        add.execute().await.expect("it takes an address");
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.expect("it goes up");
    }

    /// A socket on the encrypted link.
    pub(super) fn socket(&self) -> UdpSocket {
        self.enter();
        let socket =
            UdpSocket::bind((addr_of(underlay(self.number)), 7)).expect("it has the address");
        socket.set_read_timeout(Some(PAUSE)).expect("it can be");
        socket
    }
}

/// Two namespaces and a wire between.
pub(super) fn joined() -> (Space, Space) {
    let (one, two) = (Space::new(1), Space::new(2));
    one.run(async {
        let pair = LinkVeth::new("one", "two").build();
        one.handle.link().add(pair).execute().await.expect("a wire is made");
        let move_it = LinkUnspec::new_with_index(one.index("two").await);
        let move_it = move_it.setns_by_fd(two.file.as_raw_fd()).build();
        one.handle.link().set(move_it).execute().await.expect("it moves");
        one.address("one").await;
    });
    two.run(two.address("two"));
    (one, two)
}

pub(super) fn told(number: u8, key: TunnelKey) -> BTreeMap<TunnelKey, WirePeer> {
    let endpoint = underlay(number);
    [(key, WirePeer { endpoint, addr: addr_of(endpoint) })].into()
}

/// What a host wants that knows another one.
pub(super) fn wanted(number: u8, peers: BTreeMap<TunnelKey, WirePeer>) -> WireGuard {
    let endpoint = underlay(number);
    WireGuard { endpoint, addr: addr_of(endpoint), peers }
}

/// Sends until it arrives, or nothing does within the limit.
pub(super) fn arrives(from: &UdpSocket, to: &UdpSocket, limit: Duration) -> bool {
    let (begun, goal) = (Instant::now(), to.local_addr().expect("it is bound"));
    let mut buffer = [0; 64];
    while begun.elapsed() < limit {
        // It waits in the link, or is refused while there is no way.
        let _ = from.send_to(b"hello", goal);
        if to.recv_from(&mut buffer).is_ok_and(|(length, _)| &buffer[..length] == b"hello") {
            return true;
        }
    }
    false
}

/// Runs what needs the kernel's WireGuard, and root; elsewhere sees that there is none, or that it cannot be tried.
pub(super) fn with_wireguard(test: impl FnOnce(Space, Space, WireFamily)) {
    match genl::family().expect("the kernel answers") {
        Some(_) if !nix::unistd::geteuid().is_root() => {
            assert_eq!(unshare(CloneFlags::CLONE_NEWNET), Err(nix::errno::Errno::EPERM));
        }
        Some(family) => {
            let (one, two) = joined();
            test(one, two, family);
        }
        None => assert!(!std::path::Path::new("/sys/module/wireguard").exists()),
    }
}
