//! `skep backup`, `skep restore` and `skep check`: the files behind them and what is said of them. Part of the binary only.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use http_body_util::Full;
use hyper::body::Bytes;
use skep::config::{Address, Config};
use skep::manager::{SwarmAddresses, host_addresses};
use skep::node::{DataDir, Identity};
use skep_core::State;
use skep_core::model::node::Role;
use skep_core::state::audit::audit_applied;
use skep_raft::keys::{self, KeyEncryptionKey, Keys};
use skep_raft::{Backup, BackupKey, DataKey, durable_file};

use crate::status;

/// A backup larger than this is not taken over the socket.
const BACKUP_BYTES_MAX: usize = 4 << 30;

/// A key file larger than this is none.
const KEY_BYTES_MAX: u64 = 4096;

/// Takes a backup from the daemon behind the first of `hosts`, reads it back, and only then gives it its name.
pub async fn take(hosts: &[Address], key_file: &Path, file: &Path) -> anyhow::Result<()> {
    let Some(host) = hosts.first() else { bail!("no host given") };
    ensure!(!file.exists(), "{} is there already; name a new file", file.display());
    let key = if key_file.exists() { read_key(key_file)? } else { make_key(key_file)? };
    let asked = serde_json::json!({ "Key": key.to_text().as_str() });
    let request = http::Request::post("/skep/backup")
        .header("Host", "skep")
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(&asked)?)))?;
    let bytes = status::ask(host, request, BACKUP_BYTES_MAX)
        .await
        .with_context(|| format!("no backup from {host}"))?;
    let backup = Backup::open(&bytes, &key)?;
    sound(&backup.state)?;
    let (folder, name) = split(file)?;
    durable_file::replace(folder, name, &[&bytes])
        .with_context(|| format!("cannot write {}", file.display()))?;
    let written = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(Backup::open(&written, &key)? == backup, "{} reads back as another", file.display());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} holds {}", file.display(), summary(&backup.state))?;
    writeln!(out, "{} KiB, read back and checked", written.len().div_ceil(1024))?;
    Ok(())
}

/// Makes a manager of a backup.
pub fn restore(config: &Config, listen: &str, key_file: &Path, file: &Path) -> anyhow::Result<()> {
    let key = read_key(key_file)?;
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let backup = Backup::open(&bytes, &key)?;
    sound(&backup.state)?;
    let advertise = config.advertise_addr.as_deref().unwrap_or_default();
    let addresses = SwarmAddresses::resolve(listen, advertise, "", &host_addresses())
        .context("name this host's address with --advertise-addr")?;
    let identity = skep::node::restore(&DataDir::open(&config.data_dir)?, &backup, &addresses)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "restored {}", summary(&backup.state))?;
    writeln!(out, "node {} at {}", identity.node, identity.advertise)?;
    writeln!(
        out,
        "\nNext: start skep daemon (restart it if it runs){}",
        unlock_hint(&backup.state)
    )?;
    Ok(())
}

/// Reads all that a stopped manager has on disk; tells whether it is sound.
pub fn check(config: &Config, unlock_key_file: Option<&Path>) -> anyhow::Result<bool> {
    let data = DataDir::at(&config.data_dir);
    let Some(identity) = data.identity()? else {
        bail!("{} belongs to no member of a cluster", config.data_dir.display());
    };
    ensure!(identity.role == Role::Manager, "the node is a worker; it has no store of its own");
    let key = data_key(&data, unlock_key_file)?;
    let found = skep_raft::check_store(&data.raft(), key, identity.raft_id)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "node {} of cluster {}", identity.node, identity.cluster)?;
    match found.snapshot {
        Some(index) => writeln!(out, "the snapshot at {index} and {} entries", found.entries)?,
        None => writeln!(out, "no snapshot yet, {} entries", found.entries)?,
    }
    if found.uncommitted > 0 {
        writeln!(out, "the last {} may not be committed yet", found.uncommitted)?;
    }
    writeln!(out, "{}", summary(&found.state))?;
    let mut findings: Vec<String> = audit_applied(&found.state)
        .into_iter()
        .map(|finding| format!("{}: {}", finding.check, finding.detail))
        .collect();
    findings.extend(misfit(&found.state, &identity));
    for finding in &findings {
        writeln!(out, "WRONG  {finding}")?;
    }
    if findings.is_empty() {
        writeln!(out, "all of it could be read, and no rule is broken")?;
    }
    Ok(findings.is_empty())
}

fn misfit(state: &State, identity: &Identity) -> Option<String> {
    let cluster = state.cluster().map(|cluster| &cluster.id);
    (cluster != Some(&identity.cluster)).then(|| "the log is of another cluster".to_owned())
}

fn data_key(data: &DataDir, unlock_key_file: Option<&Path>) -> anyhow::Result<DataKey> {
    let locked = match keys::load(&data.raft())? {
        Keys::Unlocked(key) => return Ok(key),
        Keys::Locked(locked) => locked,
    };
    let Some(file) = unlock_key_file else {
        bail!("the keys are locked; name a file with the unlock key with --unlock-key-file");
    };
    let key = skep_pki::UnlockKey::parse(read_text(file)?.trim())?;
    Ok(locked.unlock(&KeyEncryptionKey::from_bytes(*key.bytes()))?)
}

/// A backup that breaks the rules of a state would break the manager made of it.
fn sound(state: &State) -> anyhow::Result<()> {
    if let Some(finding) = audit_applied(state).first() {
        bail!("the backup is not sound: {}: {}", finding.check, finding.detail);
    }
    Ok(())
}

fn summary(state: &State) -> String {
    let cluster = state.cluster().map_or_else(String::new, |cluster| cluster.id.to_string());
    format!(
        "cluster {cluster} at {}: {} nodes, {} services, {} tasks, {} networks, {} secrets, {} configs",
        state.index(),
        state.nodes().len(),
        state.services().len(),
        state.tasks().len(),
        state.networks().len(),
        state.secrets().len(),
        state.configs().len(),
    )
}

fn unlock_hint(state: &State) -> &'static str {
    let locks = state.cluster().is_some_and(|cluster| !cluster.unlock_key.0.is_empty());
    if locks { ", then docker swarm unlock with the cluster's unlock key" } else { "" }
}

fn make_key(path: &Path) -> anyhow::Result<BackupKey> {
    let key = BackupKey::generate();
    let text = key.to_text();
    let (folder, name) = split(path)?;
    durable_file::replace(folder, name, &[text.as_bytes(), b"\n"])
        .with_context(|| format!("cannot write the key file {}", path.display()))?;
    writeln!(
        std::io::stderr(),
        "made a new key in {}; keep it apart from the backups, without it they cannot be read",
        path.display()
    )?;
    Ok(key)
}

fn read_key(path: &Path) -> anyhow::Result<BackupKey> {
    BackupKey::parse(&read_text(path)?).with_context(|| format!("cannot use {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<skep_pki::Zeroizing<String>> {
    let mut text = skep_pki::Zeroizing::new(String::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read the key file {}", path.display()))?;
    Ok(text)
}

fn split(path: &Path) -> anyhow::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} is not the name of a file", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or_else(|| Path::new(".")), name))
}
