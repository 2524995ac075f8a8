//! Passes requests to the local engine as they are: unbuffered, hijacked streams included. Knows no route.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use serde::Deserialize;
use skep_api::backend::{BackendError, Body, EngineVersion};
use skep_api::reply::collect;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::exchange::{self, handshake};
use crate::clock;
use crate::config::Address;
use skep_core::error::chain;

/// Idle connections kept.
const IDLE_MAX: usize = 64;
/// Between two questions for the engine's version while it answers.
const VERSION_PERIOD: Duration = Duration::from_secs(30);
/// Between two questions while it does not.
const VERSION_RETRY_PERIOD: Duration = Duration::from_millis(250);
/// An answer to `/version` longer than this is not one.
const VERSION_BYTES_MAX: usize = 1 << 20;

/// The way to the local engine.
pub struct EngineProxy {
    address: Target,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
    version: ArcSwap<EngineVersion>,
    /// Told when the engine could not be reached: it may come back as another version.
    lost: Notify,
}

enum Target {
    Unix(PathBuf),
    Tcp(String),
}

impl EngineProxy {
    /// Prepares the way; nothing is connected yet.
    pub fn new(address: &Address) -> Self {
        // Until the engine has told, what the oldest supported one speaks is assumed.
        let version = EngineVersion {
            engine: "unknown".to_owned(),
            api_max: (1, 41),
            api_min: (1, 24),
            experimental: false,
        };
        Self {
            address: match address {
                Address::Unix(path) => Target::Unix(path.clone()),
                Address::Tcp(address) => Target::Tcp(address.clone()),
            },
            idle: Arc::default(),
            version: ArcSwap::from_pointee(version),
            lost: Notify::new(),
        }
    }

    /// Returns what the engine speaks, as far as it has told.
    pub fn version(&self) -> EngineVersion {
        EngineVersion::clone(&self.version.load())
    }

    /// Asks the engine for its version.
    ///
    /// # Errors
    /// Says why it does not answer.
    pub async fn refresh(&self) -> Result<(), BackendError> {
        let body = Empty::new().map_err(|never| match never {}).boxed();
        let mut request = Request::new(body);
        *request.uri_mut() = http::Uri::from_static("/version");
        let response = self.call(request).await?;
        let bytes = collect(response.into_body(), VERSION_BYTES_MAX)
            .await
            .map_err(|error| BackendError::Engine(error.to_string()))?;
        let found: VersionAnswer = serde_json::from_slice(&bytes).map_err(|error| {
            BackendError::Engine(format!("its version is not readable: {error}"))
        })?;
        let version = found.into_version();
        if **self.version.load() != version {
            info!(
                engine.version = %version.engine,
                engine.api = %format_args!("{}.{}", version.api_max.0, version.api_max.1),
                "engine found"
            );
            self.version.store(Arc::new(version));
        }
        Ok(())
    }

    /// Keeps the version right until `shutdown`: asks now and then, and often while the engine is away.
    pub async fn watch_version(self: Arc<Self>, shutdown: CancellationToken) {
        let mut reachable = true;
        loop {
            let found = self.refresh().await;
            match &found {
                Err(error) if reachable => warn!(error = %error, "the engine does not answer"),
                Err(_) => {}
                Ok(()) if !reachable => info!("the engine answers again"),
                Ok(()) => {}
            }
            reachable = found.is_ok();
            let period = if reachable { VERSION_PERIOD } else { VERSION_RETRY_PERIOD };
            tokio::select! {
                () = clock::sleep(period) => {}
                () = self.lost.notified(), if reachable => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Sends a request to the engine and returns its answer; neither body is buffered, upgrades are spliced.
    ///
    /// # Errors
    /// `Engine` if it cannot be reached or breaks off before it answers.
    pub async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, BackendError> {
        if exchange::wants_upgrade(request.headers()) {
            let mut sender = self.connect().await?;
            return exchange::once(&mut sender, request).await.map_err(|error| self.broken(&error));
        }
        exchange::prepare(request.headers_mut());
        let idle = self.take_idle();
        if let Some(mut sender) = idle {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.pass_back(sender, response)),
                Err(mut failed) => match failed.take_message() {
                    // The engine had closed this connection; nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(&failed.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        match sender.send_request(request).await {
            Ok(response) => Ok(self.pass_back(sender, response)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Passes an answer back, and keeps the connection once its body has been read.
    fn pass_back(
        &self,
        mut sender: SendRequest<Body>,
        response: Response<hyper::body::Incoming>,
    ) -> Response<Body> {
        let idle = self.idle.clone();
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                let mut idle = idle.lock();
                if idle.len() < IDLE_MAX {
                    idle.push(sender);
                }
            }
        });
        exchange::pass_back(response)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, BackendError> {
        let failed = |error: std::io::Error| {
            self.lost.notify_one();
            BackendError::Engine(error.to_string())
        };
        let unspoken = |error: hyper::Error| BackendError::Engine(error.to_string());
        match &self.address {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                handshake(stream).await.map_err(unspoken)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                handshake(stream).await.map_err(unspoken)
            }
        }
    }

    fn broken(&self, error: &hyper::Error) -> BackendError {
        self.lost.notify_one();
        BackendError::Engine(chain(error))
    }
}

/// The parts of `/version` that matter here.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct VersionAnswer {
    version: String,
    api_version: String,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: String,
    experimental: bool,
}

impl VersionAnswer {
    fn into_version(self) -> EngineVersion {
        let parse = |text: &str, default: (u32, u32)| {
            let parts = text.split_once('.');
            parts
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
                .unwrap_or(default)
        };
        EngineVersion {
            api_max: parse(&self.api_version, (1, 41)),
            api_min: parse(&self.min_api_version, (1, 24)),
            engine: self.version,
            experimental: self.experimental,
        }
    }
}
