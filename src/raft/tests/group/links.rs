//! Links between nodes of one process, which can be cut one way, slowed, made to lose and to reorder.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep_until};

use crate::{Lane, Peer, RaftNode, Transport, TransportError};

/// How long a frame that nobody answers keeps its sender waiting.
const SILENCE: Duration = Duration::from_millis(300);

/// All links, and who is at their ends.
pub struct Links {
    inner: Mutex<Inner>,
}

struct Inner {
    /// Nodes by address, each with the number of its life.
    nodes: BTreeMap<String, (u64, RaftNode)>,
    lives: u64,
    /// Pairs of addresses between which nothing gets through, in that direction.
    cut: BTreeSet<(String, String)>,
    /// Frames of a thousand that are lost, and the longest delay.
    lost_permille: u32,
    delay_max: Duration,
    random: StdRng,
    snapshots: u64,
}

/// One node's end of the links.
pub struct End {
    links: Arc<Links>,
    address: String,
}

impl Links {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                nodes: BTreeMap::new(),
                lives: 0,
                cut: BTreeSet::new(),
                lost_permille: 0,
                delay_max: Duration::ZERO,
                random: StdRng::seed_from_u64(seed),
                snapshots: 0,
            }),
        })
    }

    pub fn end(self: &Arc<Self>, address: &str) -> Arc<End> {
        Arc::new(End { links: Arc::clone(self), address: address.to_owned() })
    }

    pub fn put(&self, address: &str, node: RaftNode) {
        let mut inner = self.inner.lock();
        inner.lives += 1;
        let life = inner.lives;
        inner.nodes.insert(address.to_owned(), (life, node));
    }

    /// Takes a node off: what it was asked before is answered no more.
    pub fn take(&self, address: &str) -> Option<RaftNode> {
        self.inner.lock().nodes.remove(address).map(|(_, node)| node)
    }

    pub fn cut(&self, from: &str, to: &str) {
        self.inner.lock().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, address: &str) {
        let mut inner = self.inner.lock();
        let others: Vec<String> =
            inner.nodes.keys().filter(|other| *other != address).cloned().collect();
        for other in others {
            inner.cut.insert((other.clone(), address.to_owned()));
            inner.cut.insert((address.to_owned(), other));
        }
    }

    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.cut.clear();
        inner.lost_permille = 0;
        inner.delay_max = Duration::ZERO;
    }

    /// Loses some frames and delays all by chance, so that they overtake one another.
    pub fn disturb(&self, lost_permille: u32, delay_max: Duration) {
        let mut inner = self.inner.lock();
        inner.lost_permille = lost_permille;
        inner.delay_max = delay_max;
    }

    /// Returns how many snapshots were sent.
    pub fn snapshots(&self) -> u64 {
        self.inner.lock().snapshots
    }

    pub fn chance(&self, below: u32) -> u32 {
        self.inner.lock().random.random_range(0..below)
    }

    /// Decides about one frame: how long it takes, or that it is lost.
    fn passage(&self, from: &str, to: &str) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let lost = inner.random.random_range(0..1000) < inner.lost_permille;
        let delay_max = u64::try_from(inner.delay_max.as_micros()).unwrap_or(u64::MAX);
        let delay = inner.random.random_range(0..=delay_max);
        let is_cut = inner.cut.contains(&(from.to_owned(), to.to_owned()));
        (!lost && !is_cut).then(|| Duration::from_micros(delay))
    }

    fn node(&self, address: &str) -> Option<(u64, RaftNode)> {
        self.inner.lock().nodes.get(address).cloned()
    }
}

impl End {
    async fn carry(&self, from: &str, to: &str, limit: Duration) -> Result<(), TransportError> {
        let began = Instant::now();
        match self.links.passage(from, to) {
            Some(delay) => {
                if !delay.is_zero() {
                    sleep_until(began + delay).await;
                }
                Ok(())
            }
            None => {
                sleep_until(began + SILENCE.min(limit)).await;
                Err(lost(to, "nothing came"))
            }
        }
    }

    async fn deliver(
        &self,
        peer: &Peer,
        frames: Vec<Vec<u8>>,
        limit: Duration,
        is_stream: bool,
    ) -> Result<Vec<u8>, TransportError> {
        let Some((life, node)) = self.links.node(&peer.address) else {
            return Err(TransportError::Unreachable {
                address: peer.address.clone(),
                reason: "connection refused".to_owned(),
            });
        };
        self.carry(&self.address, &peer.address, limit).await?;
        // Handled apart, so that a sender that gives up does not undo what it sent.
        let handled = tokio::spawn(async move {
            if is_stream {
                let frames = stream::iter(frames.into_iter().map(io::Result::Ok));
                node.receive_snapshot(frames).await
            } else {
                node.handle(&frames.concat()).await
            }
        });
        let answer = match tokio::time::timeout(limit, handled).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(error))) => return Err(lost(&peer.address, &error.to_string())),
            Ok(Err(_)) | Err(_) => return Err(lost(&peer.address, "no answer")),
        };
        self.carry(&peer.address, &self.address, limit).await?;
        let current = self.links.node(&peer.address).map(|(life, _)| life);
        if current == Some(life) { Ok(answer) } else { Err(lost(&peer.address, "it crashed")) }
    }
}

fn lost(address: &str, reason: &str) -> TransportError {
    TransportError::Lost { address: address.to_owned(), reason: reason.to_owned() }
}

#[async_trait]
impl Transport for End {
    async fn call(
        &self,
        peer: &Peer,
        _lane: Lane,
        frame: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        self.deliver(peer, vec![frame], limit, false).await
    }

    async fn stream(
        &self,
        peer: &Peer,
        frames: BoxStream<'static, Vec<u8>>,
        limit: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        self.links.inner.lock().snapshots += 1;
        let frames = frames.collect().await;
        self.deliver(peer, frames, limit, true).await
    }
}
