//! A manager's files with bytes changed: the store says what is wrong with it, or comes back as it was at some point.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};

use skep_core::command::{Command, Proposal};
use skep_core::id::SecretId;
use skep_core::model::Annotations;
use skep_core::model::secret::SecretSpec;
use skep_core::state::State;
use skep_core::time::Timestamp;
use skep_raft::{DataKey, NoTransport, RaftNode, RaftOptions};
use tokio::runtime::Runtime;

/// Changes of one input that are made.
const EDITS_MAX: usize = 64;

/// Secrets in the store, enough for a log behind a snapshot.
const SECRETS: u64 = 12;

/// A sound store: its files, and every state it went through.
struct Store {
    files: BTreeMap<PathBuf, Vec<u8>>,
    states: BTreeMap<u64, Arc<State>>,
}

/// Makes changes of six bytes each (what, where, with what) and opens the store.
pub fn run(data: &[u8]) {
    quiet_panics_of_the_database();
    let store = sound();
    let mut files = store.files.clone();
    for edit in data.chunks_exact(6).take(EDITS_MAX) {
        change(&mut files, edit);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, bytes) in &files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder.path())).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    runtime().block_on(async {
        let Ok(node) = RaftNode::open(options(folder.path()), Arc::new(NoTransport)).await else {
            return;
        };
        let state = node.state();
        node.shutdown().await;
        let index = state.index();
        // Entries that only say who leads change nothing but the index.
        let before = store.states.range(..=index).next_back();
        let known = before.is_some_and(|(_, known)| known.secrets() == state.secrets());
        assert!(known || state.secrets().is_empty(), "a state that never was: {index}");
    });
}

fn change(files: &mut BTreeMap<PathBuf, Vec<u8>>, edit: &[u8]) {
    let (what, with) = (edit[0], edit[5]);
    let count = files.len();
    let Some(bytes) = files.values_mut().nth(usize::from(what >> 4) % count) else { return };
    if bytes.is_empty() {
        return;
    }
    let place = u32::from_be_bytes([edit[1], edit[2], edit[3], edit[4]]);
    let place = usize::try_from(place).unwrap_or_default() % bytes.len();
    let end = (place + 512).min(bytes.len());
    match what & 7 {
        0 | 1 => bytes[place] ^= with.max(1),
        2 => bytes[place] = with,
        // The head says which of the database's two roots counts.
        3 => {
            let head = place % 320.min(bytes.len());
            bytes[head] ^= with.max(1);
        }
        4 => bytes[place..end].fill(with),
        5 => bytes.truncate(place),
        6 => bytes.extend_from_within(place..end),
        _ => {
            let part = bytes[place..end].to_vec();
            let to = usize::from(with) * 512 % bytes.len();
            let to_end = (to + part.len()).min(bytes.len());
            bytes[to..to_end].copy_from_slice(&part[..to_end - to]);
        }
    }
}

fn options(folder: &Path) -> RaftOptions {
    RaftOptions::new(folder.to_owned(), 1, DataKey::from_bytes([7; 32]))
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime")
    })
}

fn sound() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| runtime().block_on(make()))
}

async fn make() -> Store {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = RaftNode::open(options(folder.path()), Arc::new(NoTransport))
        .await
        .expect("a new store opens");
    node.initialize("127.0.0.1:2377").await.expect("a new store becomes a cluster");
    let mut states = BTreeMap::new();
    let create = Command::CreateCluster {
        cluster: Box::default(),
        node: Box::default(),
        networks: Vec::new(),
    };
    let secret = |number| {
        let annotations = Annotations { name: format!("s{number}"), ..Annotations::default() };
        let spec = Box::new(SecretSpec { annotations, ..SecretSpec::default() });
        Command::CreateSecret { id: SecretId::from_seed(number, 0), spec }
    };
    for command in std::iter::once(create).chain((0..SECRETS).map(secret)) {
        let proposal = Proposal { at: Timestamp::from_secs(1), command };
        let applied = node.propose(proposal).await.expect("a sole voter leads").1;
        applied.expect("the command is sensible");
        states.insert(node.state().index(), node.state());
    }
    node.shutdown().await;
    let mut files = BTreeMap::new();
    collect(folder.path(), folder.path(), &mut files);
    Store { files, states }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let bytes = fs::read(&path).expect("the file can be read");
            files.insert(path.strip_prefix(root).unwrap_or(&path).to_owned(), bytes);
        }
    }
}

/// The database panics on some damage, which the store turns into an error. A fuzzer would take that for a finding.
fn quiet_panics_of_the_database() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map_or("", |location| location.file());
            if !place.contains("/redb-") {
                before(panic);
            }
        }));
    });
}
