//! Tests of consensus: what they share.

mod backup;
mod codec;
mod compaction;
mod crash;
pub(crate) mod faults;
mod full_disk;
mod group;
mod group_commit;
mod keys;
mod restart;
mod suite;
mod wire;

use std::path::Path;
use std::time::Duration;

use openraft::RaftMetrics;
use skep_core::id::SecretId;
use skep_core::model::secret::SecretSpec;
use skep_core::model::{Annotations, Sensitive};
use skep_core::time::Timestamp;
use skep_core::{Command, Proposal};

use super::disk::Place;
use super::types::TypeConfig;
use super::{DataKey, RaftNode, RaftOptions};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Words that must never be on disk.
const SECRET_NAME: &str = "plain-name-of-a-secret";
const SECRET_DATA: &str = "plain-payload-of-a-secret";

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn key() -> DataKey {
    DataKey::from_bytes([7; 32])
}

fn place(dir: &Path, node_id: u64) -> Place {
    Place::new(dir.to_owned(), key(), node_id)
}

fn options(dir: &Path) -> RaftOptions {
    RaftOptions::new(dir.to_owned(), 1, key())
}

/// Opens a node that knows no others.
async fn open(options: RaftOptions) -> Result<RaftNode, super::RaftError> {
    RaftNode::open(options, std::sync::Arc::new(super::NoTransport)).await
}

/// Makes a new cluster of one.
async fn leader(options: RaftOptions) -> Result<RaftNode, Box<dyn std::error::Error>> {
    let node = open(options).await?;
    node.initialize("127.0.0.1:2377").await?;
    let command = Command::CreateCluster {
        cluster: Box::default(),
        node: Box::default(),
        networks: Vec::new(),
    };
    node.propose(Proposal { at: Timestamp::from_secs(1), command }).await?.1?;
    Ok(node)
}

fn proposal(number: u64) -> Proposal {
    let annotations =
        Annotations { name: format!("{SECRET_NAME}-{number}"), ..Annotations::default() };
    let data = Sensitive(format!("{SECRET_DATA}-{number}").into_bytes());
    let spec = SecretSpec { annotations, data, ..SecretSpec::default() };
    Proposal {
        at: Timestamp::from_secs(1),
        command: Command::CreateSecret { id: SecretId::from_seed(number, 0), spec: Box::new(spec) },
    }
}

async fn propose(node: &RaftNode, numbers: std::ops::Range<u64>) -> TestResult {
    for number in numbers {
        node.propose(proposal(number)).await?.1?;
    }
    Ok(())
}

/// Waits until consensus shows what is asked for.
async fn wait(
    node: &RaftNode,
    what: &str,
    reached: impl Fn(&RaftMetrics<TypeConfig>) -> bool + Send,
) -> TestResult {
    node.inner.raft.wait(Some(PATIENCE)).metrics(reached, what).await?;
    Ok(())
}

/// Copies a manager's directory as a crash would leave it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy(&file.path(), &target)?;
        } else {
            std::fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}
