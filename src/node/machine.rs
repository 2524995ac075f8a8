//! What a node finds on its machine: the engine, a place for payloads, the addresses to serve on. Runs nothing.

use std::io;
use std::sync::Arc;

use skep_core::id::NodeId;

use crate::agent::files::{PayloadFiles, TmpfsFiles};
use crate::config::Config;
use crate::dataplane;
use crate::engine::Engine;
use crate::engine::docker::DockerEngine;

/// Opens the place where the payloads of a node's tasks live.
pub type OpenFiles = dyn Fn(&NodeId) -> io::Result<Arc<dyn PayloadFiles>> + Send + Sync;

/// Everything of the machine that a test replaces.
#[derive(Clone)]
pub struct Machine {
    /// The local engine.
    pub engine: Arc<dyn Engine>,
    /// Where payloads live: in memory, outside the data directory.
    pub open_files: Arc<OpenFiles>,
    /// Where names and published ports are served.
    pub data_plane: dataplane::Settings,
}

impl Machine {
    /// Takes the machine as it is: its Docker Engine, a tmpfs a node, its own ports.
    pub fn real(config: &Config) -> Self {
        let run_dir = config.run_dir.clone();
        Self {
            engine: Arc::new(DockerEngine::new(&config.engine.to_string())),
            open_files: Arc::new(move |node| {
                Ok(Arc::new(TmpfsFiles::open(&run_dir.join(node.as_str()))?))
            }),
            data_plane: dataplane::Settings::default(),
        }
    }
}
