//! Makes a manager of a backup, on whatever host and addresses: the only one of its cluster until others join. Starts
//! nothing.

use skep_core::error::chain;
use skep_raft::keys::{self, KeyError, Keys};
use skep_raft::{Backup, RaftError};
use thiserror::Error;

use super::data_dir::{DataDir, IdentityError};
use super::identity::Identity;
use super::upkeep::key_encryption_key;
use crate::manager::{SwarmAddresses, host_addresses};

/// Why a backup was not restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The folder is in use.
    #[error(
        "the folder belongs to a member of cluster {0}; leave that cluster first (docker swarm leave --force) or name \
         another folder with --data-dir"
    )]
    Member(String),
    /// The backup names no manager.
    #[error("the backup does not hold the manager that took it")]
    NoManager,
    /// Its unlock key cannot be read.
    #[error("the backup's unlock key cannot be used")]
    UnlockKey(#[from] skep_pki::Error),
    /// The folder cannot be used.
    #[error("{}", chain(.0))]
    Folder(#[from] IdentityError),
    /// The key file cannot be written.
    #[error("{}", chain(.0))]
    Key(#[from] KeyError),
    /// The store cannot be written.
    #[error("{}", chain(.0))]
    Store(#[from] RaftError),
}

/// Fills the folder of a daemon that does not run. The membership is written last: what a crash leaves behind counts as
/// nothing. With autolock the daemon starts locked. Blocks.
///
/// # Errors
/// Says why nothing was restored.
pub fn restore(
    data: &DataDir,
    backup: &Backup,
    addresses: &SwarmAddresses,
) -> Result<Identity, RestoreError> {
    if let Some(held) = data.identity()?.or(data.leaving()?) {
        return Err(RestoreError::Member(held.cluster.to_string()));
    }
    let state = &backup.state;
    let cluster = state.cluster().ok_or(RestoreError::NoManager)?;
    let manager = state.nodes().get(&backup.node).and_then(|node| node.manager.as_ref());
    let raft_id = manager.ok_or(RestoreError::NoManager)?.member();
    let kek = key_encryption_key(&cluster.unlock_key.0)?;
    data.erase()?;
    let key = match keys::load_or_create(&data.raft())? {
        Keys::Unlocked(key) => key,
        Keys::Locked(_) => return Err(KeyError::WrongKey.into()),
    };
    let address = addresses.advertise.to_string();
    skep_raft::found_from(&data.raft(), key.clone(), raft_id, &address, state)?;
    keys::rewrap(&data.raft(), &key, kek.as_ref())?;
    let identity = Identity::new(backup.node.clone(), cluster.id.clone(), addresses, raft_id)
        .on_host(&host_addresses());
    data.join(&identity)?;
    Ok(identity)
}
