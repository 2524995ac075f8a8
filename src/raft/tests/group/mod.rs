//! Groups of several nodes over links in memory.

mod faults;
mod full_disk;
mod history;
mod links;
mod members;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use history::History;
use links::Links;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::*;
use crate::{Change, Members};

/// Some nodes with their folders, and the clients' history.
struct Group {
    links: Arc<Links>,
    nodes: BTreeMap<u64, (TempDir, RaftNode)>,
    history: Arc<History>,
    next_number: Arc<AtomicU64>,
    written: Arc<Notify>,
    request_timeout: Duration,
    /// What fails on the disk of each node that runs.
    faults: BTreeMap<u64, Arc<Faults>>,
}

fn address(id: u64) -> String {
    format!("10.0.0.{id}:2377")
}

impl Group {
    /// Makes a group of voters 1, 2, ...
    async fn new(voters: u64, seed: u64) -> Result<Self, Box<dyn std::error::Error>> {
        Self::with_timeout(voters, seed, Duration::from_secs(4)).await
    }

    /// As `new`, with another bound on how long a request may take.
    async fn with_timeout(
        voters: u64,
        seed: u64,
        request_timeout: Duration,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut group = Self {
            links: Links::new(seed),
            nodes: BTreeMap::new(),
            history: Arc::default(),
            next_number: Arc::new(AtomicU64::new(0)),
            written: Arc::default(),
            request_timeout,
            faults: BTreeMap::new(),
        };
        group.start(1, tempfile::tempdir()?).await?;
        let first = group.node(1);
        first.initialize(&address(1)).await?;
        let command = Command::CreateCluster {
            cluster: Box::default(),
            node: Box::default(),
            networks: Vec::new(),
        };
        first.propose(Proposal { at: Timestamp::from_secs(1), command }).await?.1?;
        for id in 2..=voters {
            group.add(id, 1).await?;
        }
        Ok(group)
    }

    fn options(&self, id: u64, dir: &Path) -> RaftOptions {
        RaftOptions {
            // Each node seals with a key of its own.
            key: DataKey::from_bytes([u8::try_from(id).unwrap_or(0); 32]),
            node_id: id,
            snapshot_interval: 60,
            entries_kept: 10,
            request_timeout: self.request_timeout,
            ..options(dir)
        }
    }

    async fn start(&mut self, id: u64, dir: TempDir) -> TestResult {
        let end = self.links.end(&address(id));
        let options = self.options(id, dir.path());
        self.faults.insert(id, Arc::clone(&options.faults));
        let node = RaftNode::open(options, end).await?;
        self.links.put(&address(id), node.clone());
        self.nodes.insert(id, (dir, node));
        Ok(())
    }

    /// Starts a new node and makes it a voter, asking `via` to do so.
    async fn add(&mut self, id: u64, via: u64) -> TestResult {
        self.start(id, tempfile::tempdir()?).await?;
        let via = self.node(via);
        via.change(Change::AddLearner { id, address: address(id) }).await?;
        via.change(Change::Promote { id }).await?;
        Ok(())
    }

    fn node(&self, id: u64) -> RaftNode {
        self.nodes[&id].1.clone()
    }

    /// Ends a node as a power cut does, and returns the folder as it was at that moment.
    async fn crash(&mut self, id: u64) -> Result<TempDir, Box<dyn std::error::Error>> {
        let (dir, node) = self.nodes.remove(&id).ok_or("no such node")?;
        let crashed = tempfile::tempdir()?;
        self.links.take(&address(id));
        {
            // Between two commits; nobody is told of what is written from here on.
            let _snapshots = node.inner.snapshots.hold();
            let _gate = node.inner.log.shared().gate.lock();
            copy(dir.path(), crashed.path())?;
        }
        node.shutdown().await;
        Ok(crashed)
    }

    async fn crash_and_restart(&mut self, id: u64) -> TestResult {
        let dir = self.crash(id).await?;
        self.start(id, dir).await
    }

    /// Waits until one of these nodes leads, as all of them say.
    async fn leader_of(&self, ids: &[u64]) -> Result<u64, Box<dyn std::error::Error>> {
        let first = self.node(*ids.first().ok_or("nobody to ask")?);
        let deadline = Instant::now() + PATIENCE;
        let mut known = first.leadership();
        loop {
            let leader = known.borrow_and_update().leader.filter(|leader| ids.contains(leader));
            if let Some(leader) = leader {
                let mut own = self.node(leader).leadership();
                let limit = Duration::from_millis(300);
                let ready = own.wait_for(|own| own.ready);
                if tokio::time::timeout(limit, ready).await.is_ok() {
                    return Ok(leader);
                }
            }
            tokio::time::timeout_at(deadline, known.changed()).await??;
        }
    }

    fn others(&self, than: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|id| *id != than).collect()
    }

    /// Starts a client of a node, which writes and reads in turn. What it does not know the outcome of is not remembered.
    fn client(&self, id: u64, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let node = self.node(id);
        let (history, numbers) = (Arc::clone(&self.history), Arc::clone(&self.next_number));
        let (written, stop) = (Arc::clone(&self.written), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let began = Instant::now();
                match node.propose(proposal(number)).await {
                    Ok((index, Ok(_))) => {
                        history.wrote(began, index, number);
                        written.notify_one();
                    }
                    Ok((_, Err(rejected))) => panic!("{number}: {rejected}"),
                    Err(crate::ProposeError::Stopped(_)) => return,
                    Err(_) => {}
                }
                let began = Instant::now();
                match node.read().await {
                    Ok(state) => history.read(began, &state),
                    Err(crate::ProposeError::Stopped(_)) => return,
                    Err(_) => {}
                }
            }
        })
    }

    /// Waits until clients got so many more writes acknowledged.
    async fn writes(&self, more: usize) -> TestResult {
        let wanted = self.history.writes() + more;
        let wait = async {
            while self.history.writes() < wanted {
                self.written.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE * 2, wait).await.is_err() {
            let leaders: Vec<_> = self
                .nodes
                .iter()
                .map(|(id, (_, node))| (*id, *node.leadership().borrow(), node.members()))
                .collect();
            return Err(format!("no writes any more: {leaders:?}").into());
        }
        Ok(())
    }

    /// Waits until all nodes have applied the same, and checks that every acknowledged write is in it.
    async fn settle(&self) -> TestResult {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        let leader = self.leader_of(&ids).await?;
        let state = self.node(leader).read().await?;
        for id in &ids {
            let mut states = self.node(*id).watch();
            let reached = states.wait_for(|found| found.index() >= state.index());
            let found = Arc::clone(&*tokio::time::timeout(PATIENCE, reached).await??);
            self.history.saw(&found);
        }
        self.history.check();
        let held: std::collections::BTreeSet<&str> =
            state.secrets().values().map(|secret| secret.spec.annotations.name.as_str()).collect();
        for number in self.history.numbers() {
            let name = format!("{SECRET_NAME}-{number}");
            assert!(held.contains(name.as_str()), "write {number} was acknowledged and is lost");
        }
        Ok(())
    }

    async fn stop(self) {
        for (_, node) in self.nodes.values() {
            node.shutdown().await;
        }
    }
}
