//! The data folder: its outside, whether its state is readable, its certificate. Opens nothing for writing.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use skep::node::{DataDir, Identity, IdentityError};
use skep_core::error::chain;
use skep_core::model::node::Role;
use skep_raft::keys::{self, KeyError, Keys};

use super::process;
use crate::doctor::facts::{Certificate, Content, Data, Folder};

/// How a database file begins.
const DATABASE_MAGIC: &[u8; 4] = b"redb";

/// Reads which node the folder belongs to.
pub fn identity(path: &Path) -> Result<Option<Identity>, IdentityError> {
    DataDir::at(path).identity()
}

/// Looks at the folder and the certificate in it.
pub fn look(
    path: &Path,
    identity: Result<Option<Identity>, IdentityError>,
) -> (Data, Option<Certificate>) {
    let mut data = Data { path: path.to_owned(), folder: folder(path), ..Data::default() };
    if !matches!(data.folder, Folder::Found { .. }) {
        return (data, None);
    }
    let member = match identity {
        Ok(identity) => identity,
        Err(IdentityError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            data.folder = Folder::Forbidden;
            return (data, None);
        }
        Err(error) => {
            data.damage.push(chain(&error));
            None
        }
    };
    let Some(member) = member else { return (data, None) };
    data.identity = Some((member.node.to_string(), member.cluster.to_string()));
    // A worker has no log.
    if member.role == Role::Manager {
        state(&mut data);
    }
    (data, Some(certificate(path)))
}

fn folder(path: &Path) -> Folder {
    match fs::metadata(path).and_then(|found| fs::read_dir(path).map(|_| found)) {
        Ok(found) => Folder::Found { mode: found.mode(), owner: found.uid() },
        Err(error) if error.kind() == ErrorKind::NotFound => Folder::Missing,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Folder::Forbidden,
        Err(error) => Folder::Failed(error.to_string()),
    }
}

/// Looks at key and log. The log is not opened, for that would write to it.
fn state(data: &mut Data) {
    let raft = DataDir::at(&data.path).raft();
    match keys::load(&raft) {
        Ok(Keys::Unlocked(_)) => {}
        Ok(Keys::Locked(_)) => data.locked = true,
        Err(
            error @ (KeyError::Missing(_)
            | KeyError::Io { .. }
            | KeyError::Damaged(_)
            | KeyError::WrongKey),
        ) => {
            data.damage.push(chain(&error));
        }
    }
    let log = raft.join("raft.redb");
    let mut magic = [0; DATABASE_MAGIC.len()];
    match fs::File::open(&log).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if &magic == DATABASE_MAGIC => {}
        Ok(()) => data.damage.push(format!("{} does not begin as a log does", log.display())),
        Err(error) => data.damage.push(format!("{} cannot be read: {error}", log.display())),
    }
    data.holder = process::holder_of_file(&log);
}

fn certificate(path: &Path) -> Certificate {
    let folder = path.join("certificates");
    let file = folder.join("swarm-node.crt");
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
    let content = read(&file).and_then(|pem| {
        let text = |error: skep_pki::Error| error.to_string();
        let identity = skep_pki::read_identity(&pem).map_err(text)?;
        let (not_before, not_after) = skep_pki::renewal_window(&pem).map_err(text)?;
        let root = read(&folder.join("swarm-root-ca.crt"));
        Ok(Content {
            node: identity.node_id,
            cluster: identity.cluster_id,
            role: match identity.role {
                skep_pki::NodeRole::Manager => "manager",
                skep_pki::NodeRole::Worker => "worker",
            },
            not_before,
            not_after,
            descends: root.is_ok_and(|root| skep_pki::is_signed_by(&pem, &root).unwrap_or(false)),
        })
    });
    Certificate { path: file, content }
}
