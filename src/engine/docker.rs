//! The engine behind bollard, whose types stop here. Works with every engine from 20.10 (API 1.41) on.

mod convert;
mod create;
mod logs;
mod network;
mod routes;

pub use logs::demultiplex;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::{
    CreateImageOptions, EventsOptions, ListContainersOptions, RemoveContainerOptions,
    StopContainerOptions, WaitContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use skep_api::backend::{EngineVersion, LogOptions};
use skep_core::agent::container::{NODE_ID_LABEL, TASK_ID_LABEL};
use skep_core::agent::{ContainerPlan, Found, NetworkPlan};
use skep_core::id::NodeId;
use skep_core::model::Sensitive;
use skep_core::model::node::NodeDescription;

use super::{ContainerView, Engine, EngineError, EngineLogLine, EngineNetwork, Made, Wake};
use crate::clock;

/// Longest wait for the head of an answer.
const REQUEST_TIMEOUT_SECONDS: u64 = 120;

/// A Docker Engine at an address.
pub struct DockerEngine {
    address: String,
    /// The client with the version both sides speak; empty until the engine answered.
    client: Mutex<Option<Arc<Docker>>>,
}

impl DockerEngine {
    /// Makes an engine at `unix:///path` or `tcp://host:port`. Connects when first asked.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<Arc<Docker>, EngineError> {
        if let Some(held) = self.client.lock().clone() {
            return Ok(held);
        }
        let made = if self.address.starts_with("tcp://") || self.address.starts_with("http://") {
            return Err(EngineError::Temporary(format!(
                "unsupported engine address: {}",
                self.address
            )));
        } else {
            Docker::connect_with_unix(&self.address, REQUEST_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
        };
        let client = made.map_err(convert::error)?.negotiate_version().await;
        let client = Arc::new(client.map_err(convert::error)?);
        *self.client.lock() = Some(client.clone());
        Ok(client)
    }

    /// Turns an error into ours; after a broken connection the next engine may speak another version.
    fn failed(&self, error: bollard::errors::Error) -> EngineError {
        let error = convert::error(error);
        if matches!(error, EngineError::Temporary(_)) {
            *self.client.lock() = None;
        }
        error
    }
}

fn label_filter(label: &str, value: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{label}={value}")])])
}

/// Reads credentials as clients send them; what cannot be read counts as none, as in Swarm.
fn credentials(auth: &Sensitive) -> Option<DockerCredentials> {
    let engines =
        [&base64::engine::general_purpose::URL_SAFE, &base64::engine::general_purpose::STANDARD];
    let json = engines.iter().find_map(|engine| engine.decode(&auth.0).ok())?;
    serde_json::from_slice(&json).ok()
}

/// Adds the tag that is meant when there is none; without one the engine would pull every tag.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') || name.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn describe(&self) -> Result<NodeDescription, EngineError> {
        let client = self.client().await?;
        let info = client.info().await.map_err(|error| self.failed(error))?;
        let version = client.client_version();
        let part = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(NodeDescription {
            host_subnets: routes::host_subnets(),
            host_addresses: routes::host_addresses(),
            engine_api: Some((part(version.major_version), part(version.minor_version))),
            ..convert::description(info)
        })
    }

    async fn version(&self) -> Result<EngineVersion, EngineError> {
        let found = self.client().await?.version().await.map_err(|error| self.failed(error))?;
        Ok(convert::version(&found))
    }

    async fn list(&self, node: &NodeId) -> Result<Vec<Found>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(label_filter(NODE_ID_LABEL, node.as_str())),
            ..ListContainersOptions::default()
        };
        let found = self.client().await?.list_containers(Some(options)).await;
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.into_iter().filter_map(convert::found).collect())
    }

    async fn inspect(&self, container: &str) -> Result<Option<ContainerView>, EngineError> {
        let found = self.client().await?.inspect_container(container, None).await;
        match found.map_err(|error| self.failed(error)) {
            Ok(found) => Ok(convert::view(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        let found = self.client().await?.inspect_image(image).await;
        match found.map_err(|error| self.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn pull(
        &self,
        image: &str,
        auth: &Sensitive,
        progress: &(dyn Fn() + Send + Sync),
    ) -> Result<(), EngineError> {
        let options = CreateImageOptions {
            from_image: Some(with_tag(image)),
            ..CreateImageOptions::default()
        };
        let client = self.client().await?;
        let mut stream = client.create_image(Some(options), None, credentials(auth));
        while let Some(message) = stream.next().await {
            message.map_err(|error| self.failed(error))?;
            progress();
        }
        Ok(())
    }

    async fn create(&self, plan: &ContainerPlan) -> Result<Made, EngineError> {
        self.create_container(plan).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        client.start_container(container, None).await.map_err(|error| self.failed(error))
    }

    async fn wait(&self, container: &str) -> Result<(), EngineError> {
        let options = WaitContainerOptions { condition: "next-exit".to_owned() };
        let client = self.client().await?;
        let mut ends = client.wait_container(container, Some(options));
        match ends.next().await {
            // An exit code other than zero comes as an error.
            None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => match self.failed(error) {
                error if error.is_not_found() => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn stop(&self, container: &str, grace_seconds: i64) -> Result<(), EngineError> {
        let wait = u64::try_from(grace_seconds).unwrap_or_default();
        let timeout = Duration::from_secs(wait.saturating_add(REQUEST_TIMEOUT_SECONDS));
        let client = Docker::clone(&*self.client().await?).with_timeout(timeout);
        // Without a time the container's own counts.
        let stopped = client.stop_container(container, None::<StopContainerOptions>).await;
        match stopped.map_err(|error| self.failed(error)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let removed = self.client().await?.remove_container(container, Some(options)).await;
        match removed.map_err(|error| self.failed(error)) {
            // A conflict tells that another removal is under way.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            other => other,
        }
    }

    async fn ensure_network(&self, plan: &NetworkPlan) -> Result<String, EngineError> {
        self.ensure(plan).await
    }

    async fn networks(&self, node: &NodeId) -> Result<Vec<EngineNetwork>, EngineError> {
        self.networks_of(node).await
    }

    async fn remove_network(&self, engine_id: &str) -> Result<(), EngineError> {
        let removed = self.client().await?.remove_network(engine_id).await;
        match removed.map_err(|error| self.failed(error)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<EngineLogLine, EngineError>>, EngineError> {
        let version = self.client().await?.client_version();
        let tty = self.has_tty(container).await?;
        logs::open(&self.address, &version.to_string(), container, tty, options).await
    }

    async fn events(&self, node: &NodeId) -> Result<BoxStream<'static, Wake>, EngineError> {
        let mut filters = label_filter(NODE_ID_LABEL, node.as_str());
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        // The client asks only when the stream is first read: from now on, so that what happens until then is not missed.
        let now = clock::now().0;
        let since = Some(format!("{}.{:09}", now / 1_000_000_000, now % 1_000_000_000));
        let options = EventsOptions { filters: Some(filters), since, ..EventsOptions::default() };
        let client = self.client().await?;
        let events = client.events(Some(options));
        let wakes = events
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok().and_then(wake)));
        Ok(wakes.boxed())
    }
}

/// Events that change nothing for a task. A signal may change it and a stop has, but either is told by what comes of it:
/// the event `die`.
const TRIFLES: [&str; 5] = ["top", "attach", "resize", "kill", "stop"];

/// Tells which task an event concerns; events that change nothing for it are dropped.
fn wake(event: EventMessage) -> Option<Wake> {
    let action = event.action.unwrap_or_default();
    if action.starts_with("exec_") || TRIFLES.contains(&action.as_str()) {
        return None;
    }
    let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
    let task = attributes.get(TASK_ID_LABEL).and_then(|id| id.parse().ok());
    Some(match action.as_str() {
        "create" => Wake::Made(task),
        "start" => Wake::Started(task),
        _ => Wake::Changed(task),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_tag_mean_latest() {
        let cases = [
            ("a", "a:latest"),
            ("r:5000/a", "r:5000/a:latest"),
            ("a:1", "a:1"),
            ("a@sha256:b", "a@sha256:b"),
        ];
        for (image, expect) in cases {
            assert_eq!(with_tag(image), expect);
        }
    }

    #[test]
    fn a_container_that_ends_is_looked_at_once() {
        let events = ["create", "start", "exec_start: sh", "kill", "die", "stop", "destroy"];
        let woken = events.map(|action| {
            let action = Some(action.to_owned());
            wake(EventMessage { action, ..EventMessage::default() })
        });
        let (made, started, changed) = (Wake::Made(None), Wake::Started(None), Wake::Changed(None));
        let expect = [Some(made), Some(started), None, None, Some(changed.clone()), None];
        assert_eq!(woken[..6], expect);
        assert_eq!(woken[6], Some(changed));
    }

    #[test]
    fn credentials_are_read_in_both_alphabets() {
        let auth = Sensitive(b"eyJ1c2VybmFtZSI6ImEifQ==".to_vec());
        let found = credentials(&auth).expect("plain credentials");
        assert_eq!(found.username.as_deref(), Some("a"));
        assert!(credentials(&Sensitive(b"!".to_vec())).is_none());
    }
}
