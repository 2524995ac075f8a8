//! What a node remembers of its membership between starts, and the files of its certificate. Holds no secrets itself.

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use skep_core::id::NodeId;
use skep_core::model::node::NodeDescription;
use skep_raft::keys::{self, KeyError};
use skep_raft::{DataKey, durable_file};
use thiserror::Error;

use super::identity::Identity;

const IDENTITY_FILE: &str = "node.json";
const LEAVING_FILE: &str = "leaving.json";
const MANAGERS_FILE: &str = "managers.json";
const ROOTS_FILE: &str = "swarm-root-ca.crt";
const CERTIFICATE_FILE: &str = "swarm-node.crt";
const NODE_KEY_FILE: &str = "swarm-node.key";
/// An identity file larger than this is not one of ours.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why the data directory cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged: {reason}; restore it, or remove the data directory to start anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A node's certificate as it lies on disk.
pub struct StoredCertificate {
    /// The certificate, and what leads from it to the root.
    pub chain_pem: String,
    /// Its key.
    pub key_pem: skep_pki::Zeroizing<String>,
    /// The root.
    pub root_pem: String,
}

impl StoredCertificate {
    /// Adds to what a node is what it holds of certificates: whom it trusts, and who certified it.
    pub fn describe(&self, described: NodeDescription) -> NodeDescription {
        let issuer = skep_pki::leaf_issuer(&self.chain_pem, &self.root_pem);
        let (issuer_subject, issuer_public_key) = issuer.unwrap_or_default();
        let trust_root_pem = self.root_pem.clone();
        NodeDescription { trust_root_pem, issuer_subject, issuer_public_key, ..described }
    }

    /// Tells whether it was signed, at whatever distance, by one of these roots.
    pub fn is_signed_by(&self, roots_pem: &str) -> bool {
        skep_pki::is_signed_by(&self.chain_pem, roots_pem).unwrap_or(false)
    }
}

/// The folder of a daemon's state.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Names a folder that need not be there.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// Says why it cannot be made.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(|source| io(path, source))?;
        Ok(Self(path.to_owned()))
    }

    /// The folder of log, snapshots and data key.
    pub fn raft(&self) -> PathBuf {
        self.0.join("raft")
    }

    /// Reads which node this is; `None` if it is in no cluster.
    ///
    /// # Errors
    /// Says why the file cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        self.read(IDENTITY_FILE)
    }

    /// Reads where the tunnels of this node end.
    pub fn data_path(&self) -> Option<IpAddr> {
        self.identity().ok().flatten().map(|identity| identity.data_path)
    }

    /// Reads which node had begun to leave when the daemon ended.
    ///
    /// # Errors
    /// Says why the file cannot be read.
    pub fn leaving(&self) -> Result<Option<Identity>, IdentityError> {
        self.read(LEAVING_FILE)
    }

    /// Remembers the membership. Everything else must be on disk before.
    ///
    /// # Errors
    /// Says why the file cannot be written.
    pub fn join(&self, identity: &Identity) -> Result<(), IdentityError> {
        let text = serde_json::to_vec_pretty(identity).unwrap_or_default();
        self.replace(&self.0, IDENTITY_FILE, &text)
    }

    /// Notes that the node leaves: from here on it is in no cluster, and what is left of it is only to be cleared away.
    ///
    /// # Errors
    /// Says why the note cannot be written.
    pub fn begin_leave(&self) -> Result<(), IdentityError> {
        let from = self.0.join(IDENTITY_FILE);
        match std::fs::rename(&from, self.0.join(LEAVING_FILE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(io(&from, source)),
            Ok(()) => self.sync(&self.0),
        }
    }

    /// Erases log, keys, certificates and the list of managers.
    ///
    /// # Errors
    /// Says what cannot be erased.
    pub fn erase(&self) -> Result<(), IdentityError> {
        let managers = self.0.join(MANAGERS_FILE);
        removed(&managers, std::fs::remove_file(&managers))?;
        let certificates = self.certificates();
        removed(&certificates, std::fs::remove_dir_all(&certificates))?;
        self.erase_consensus()
    }

    /// Erases log and keys.
    ///
    /// # Errors
    /// Says what cannot be erased.
    pub fn erase_consensus(&self) -> Result<(), IdentityError> {
        removed(&self.raft(), std::fs::remove_dir_all(self.raft()))?;
        self.sync(&self.0)
    }

    /// Remembers which managers there are, for a worker that starts anew.
    ///
    /// # Errors
    /// Says why the file cannot be written.
    pub fn write_managers(&self, managers: &[(NodeId, String)]) -> Result<(), IdentityError> {
        let text = serde_json::to_vec_pretty(managers).unwrap_or_default();
        self.replace(&self.0, MANAGERS_FILE, &text)
    }

    /// Reads which managers there were.
    ///
    /// # Errors
    /// Says why the file cannot be read.
    pub fn managers(&self) -> Result<Vec<(NodeId, String)>, IdentityError> {
        self.read(MANAGERS_FILE).map(Option::unwrap_or_default)
    }

    /// Forgets that the node was leaving: nothing is left of it.
    ///
    /// # Errors
    /// Says why the note cannot be removed.
    pub fn end_leave(&self) -> Result<(), IdentityError> {
        let path = self.0.join(LEAVING_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&path, error)),
            Err(_) | Ok(()) => self.sync(&self.0),
        }
    }

    /// Writes the certificate, its key and the root it descends from; a manager's key is sealed. Without room for all, the
    /// old ones stay.
    ///
    /// # Errors
    /// Says why they cannot be written.
    pub fn write_certificate(
        &self,
        certificate: &skep_pki::NodeCertificate,
        root_pem: &str,
        seal: Option<&DataKey>,
    ) -> Result<(), IdentityError> {
        let folder = self.certificates();
        Self::open(&folder)?;
        let key = stored(&certificate.key_pem, seal);
        let files: [(&str, &[&[u8]]); 3] = [
            (ROOTS_FILE, &[root_pem.as_bytes()]),
            (NODE_KEY_FILE, &[key.as_bytes()]),
            (CERTIFICATE_FILE, &[certificate.certificate_pem.as_bytes()]),
        ];
        durable_file::replace_all(&folder, &files).map_err(|source| io(&folder, source))
    }

    /// Writes the roots that peers are verified by, where the certificate stays as it is.
    ///
    /// # Errors
    /// Says why they cannot be written.
    pub fn write_roots(&self, roots_pem: &str) -> Result<(), IdentityError> {
        self.replace(&self.certificates(), ROOTS_FILE, roots_pem.as_bytes())
    }

    /// Seals the key of the certificate where it is not, or unseals it for a node that has no data key any more.
    ///
    /// # Errors
    /// Says why it cannot be read or written.
    pub fn reseal(&self, data_key: &DataKey, sealed: bool) -> Result<(), IdentityError> {
        let path = self.certificates().join(NODE_KEY_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => skep_pki::Zeroizing::new(text),
            // One that has none yet gets it sealed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(io(&path, source)),
        };
        if keys::is_sealed(&text) == sealed {
            return Ok(());
        }
        let damaged = |_| IdentityError::Damaged {
            path: path.clone(),
            reason: "it was sealed with another key".to_owned(),
        };
        let plain = opened(text, Some(data_key)).map_err(damaged)?;
        let text = stored(&plain, sealed.then_some(data_key));
        self.replace(&self.certificates(), NODE_KEY_FILE, text.as_bytes())
    }

    /// Reads the certificate with its key and root; `None` if one of them is missing, or sealed with another key.
    pub fn certificate(&self, data_key: Option<&DataKey>) -> Option<StoredCertificate> {
        let read = |name| std::fs::read_to_string(self.certificates().join(name)).ok();
        let key = skep_pki::Zeroizing::new(read(NODE_KEY_FILE)?);
        Some(StoredCertificate {
            chain_pem: read(CERTIFICATE_FILE)?,
            key_pem: opened(key, data_key).ok()?,
            root_pem: read(ROOTS_FILE)?,
        })
    }

    fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, IdentityError> {
        let path = self.0.join(name);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io(&path, source)),
            Ok(found) if found.len() > FILE_BYTES_MAX => {
                return Err(IdentityError::Damaged { path, reason: "it is too large".to_owned() });
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&path).map_err(|source| io(&path, source))?;
        let damaged = |error: serde_json::Error| IdentityError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        };
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Writes a file so that after a crash, or without room on the disk, either the old or the new one is there, whole.
    fn replace(&self, folder: &Path, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        durable_file::replace(folder, name, &[content])
            .map_err(|source| io(&folder.join(name), source))
    }

    fn sync(&self, folder: &Path) -> Result<(), IdentityError> {
        let opened = std::fs::File::open(folder).and_then(|handle| handle.sync_all());
        opened.map_err(|source| io(folder, source))
    }
}

/// Returns a node's key as it is to lie on disk.
fn stored(key_pem: &str, seal: Option<&DataKey>) -> skep_pki::Zeroizing<String> {
    skep_pki::Zeroizing::new(match seal {
        Some(data_key) => keys::seal_node_key(data_key, key_pem),
        None => key_pem.to_owned(),
    })
}

/// Reads a node's key as it lies on disk.
fn opened(
    text: skep_pki::Zeroizing<String>,
    data_key: Option<&DataKey>,
) -> Result<skep_pki::Zeroizing<String>, KeyError> {
    if !keys::is_sealed(&text) {
        return Ok(text);
    }
    keys::open_node_key(data_key.ok_or(KeyError::WrongKey)?, &text)
}

/// What is not there needs no removing.
fn removed(path: &Path, outcome: std::io::Result<()>) -> Result<(), IdentityError> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path, error)),
        Err(_) | Ok(()) => Ok(()),
    }
}

fn io(path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use skep_core::id::ClusterId;

    use super::*;
    use crate::manager::SwarmAddresses;

    #[test]
    fn membership_is_remembered_until_the_node_leaves() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let data = DataDir::open(folder.path())?;
        assert_eq!(data.identity()?, None);
        let addresses = SwarmAddresses {
            listen: "0.0.0.0:2377".parse()?,
            advertise: "192.0.2.1:2377".parse()?,
            data_path: "192.0.2.1".parse()?,
        };
        let identity =
            Identity::new(NodeId::from_entropy(1), ClusterId::from_entropy(2), &addresses, 7);
        data.join(&identity)?;
        assert_eq!(data.identity()?, Some(identity.clone()));
        let worker = identity.as_worker();
        data.join(&worker)?;
        assert_eq!(data.identity()?, Some(worker));
        data.join(&identity)?;
        let managers = vec![(NodeId::from_entropy(3), "192.0.2.3:2377".to_owned())];
        data.write_managers(&managers)?;
        assert_eq!(data.managers()?, managers);
        data.begin_leave()?;
        assert_eq!((data.identity()?, data.leaving()?), (None, Some(identity)));
        data.erase()?;
        assert_eq!(data.managers()?, []);
        data.end_leave()?;
        assert_eq!(data.leaving()?, None);
        Ok(())
    }

    #[test]
    fn a_managers_key_is_sealed() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let data = DataDir::open(folder.path())?;
        let root = skep_pki::RootCa::generate(1_700_000_000)?;
        let (role, validity) = (skep_pki::NodeRole::Manager, std::time::Duration::from_secs(7200));
        let made = skep_pki::generate_node(&root, "n", role, "c", 1_700_000_000, validity)?;
        let (key, other) = (DataKey::generate(), DataKey::generate());
        let on_disk = || std::fs::read_to_string(folder.path().join("certificates/swarm-node.key"));
        let read = |key: Option<&DataKey>| data.certificate(key).map(|held| held.key_pem);
        data.reseal(&key, true)?;
        data.write_certificate(&made, &root.certificate_pem, None)?;
        assert_eq!(
            (read(None), on_disk()?),
            (Some(made.key_pem.clone()), made.key_pem.to_string())
        );
        data.reseal(&key, true)?;
        assert!(!on_disk()?.contains("PRIVATE KEY"));
        assert_eq!(read(Some(&key)), Some(made.key_pem.clone()));
        assert_eq!((read(None), read(Some(&other))), (None, None));
        assert!(data.reseal(&other, false).is_err());
        data.reseal(&key, false)?;
        assert_eq!(read(None), Some(made.key_pem.clone()));
        data.write_certificate(&made, &root.certificate_pem, Some(&key))?;
        assert_eq!((read(None), read(Some(&key))), (None, Some(made.key_pem)));
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_named() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let data = DataDir::open(folder.path())?;
        std::fs::write(folder.path().join(IDENTITY_FILE), b"{\"version\":1")?;
        let text = data.identity().expect_err("the file is cut short").to_string();
        assert!(text.contains("node.json is damaged"), "{text}");
        Ok(())
    }
}
