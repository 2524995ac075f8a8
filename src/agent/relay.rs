//! This node's end of relays: what managers ask of the container of one task is put to the engine. Nothing else of the engine
//! can be reached this way. Chooses no task.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use skep_api::backend::Body;
use skep_api::containers::{Target, readdress, target};
use skep_api::error::ApiError;
use skep_api::reply::{self, Reply, collect};
use skep_api::route::{ApiVersion, split_version};
use skep_core::id::NodeId;
use skep_core::model::service::Runtime;
use skep_core::model::task::Task;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::api::EngineProxy;
use crate::api::exchange::Hangup;
use crate::engine::Engine;
use crate::rpc::line::{Line, Pipe};

/// Relays at once; more are turned away.
const RELAYS_MAX: usize = 512;

/// What is told of an exec is shorter.
const EXEC_BYTES_MAX: usize = 1 << 20;

/// The way to this node's engine for managers.
pub struct Relays {
    proxy: Arc<EngineProxy>,
    engine: Arc<dyn Engine>,
    node: NodeId,
    turns: Semaphore,
    stop: CancellationToken,
}

/// The part of what is told of an exec that says where it runs.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Exec {
    #[serde(rename = "ContainerID")]
    container: String,
}

impl Relays {
    /// Prepares to serve until `stop`.
    pub fn new(
        proxy: Arc<EngineProxy>,
        engine: Arc<dyn Engine>,
        node: NodeId,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { proxy, engine, node, turns: Semaphore::new(RELAYS_MAX), stop })
    }

    /// Answers what comes over a line about a task, until the line is over or this node stops.
    pub async fn serve(self: Arc<Self>, line: Line, task: Arc<Task>) {
        let Ok(_turn) = self.turns.try_acquire() else {
            warn!(task.id = %task.id, "too many calls for containers at a time");
            return;
        };
        let pipe = Pipe::from(line);
        let over = pipe.over();
        let gone = CancellationToken::new();
        let _gone = gone.clone().drop_guard();
        let service = service_fn(|request: Request<Incoming>| {
            let (relays, task, gone) = (self.clone(), task.clone(), gone.clone());
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed());
                let answered = relays.ask_engine(&task, gone, request).await;
                Ok::<_, Infallible>(answered.unwrap_or_else(|error| reply::error(&error)))
            }
        });
        // A client may end its input as soon as its stream is hijacked, before this side has noticed that it is. That everyone
        // has gone is noticed by the line.
        let connection = http1::Builder::new()
            .half_close(true)
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(pipe), service)
            .with_upgrades();
        let serving = async {
            if let Err(error) = connection.await {
                debug!(error = %error, "a relay broke off");
            }
            // A hijacked stream has the pipe now.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = over => {}
            () = Box::pin(serving) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn ask_engine(
        &self,
        task: &Task,
        gone: CancellationToken,
        mut request: Request<Body>,
    ) -> Reply {
        let forbidden = || {
            let text = "only containers of the cluster's tasks can be reached from other nodes";
            ApiError::new(StatusCode::FORBIDDEN, text)
        };
        let is_here = task.node.as_ref() == Some(&self.node);
        if !is_here || !matches!(task.spec.runtime, Runtime::Container(_)) {
            return Err(forbidden());
        }
        let (asked, path) = split_version(request.uri().path());
        let target = match target(request.method(), path).ok_or_else(forbidden)? {
            // Whatever was named, the task's own container is meant.
            Target::Container { rest, .. } => Target::Container { reference: named(task), rest },
            Target::Exec { id, rest } => {
                self.check_exec(task, &id).await?;
                Target::Exec { id, rest }
            }
        };
        let version = asked.map(|asked| self.spoken(asked));
        *request.uri_mut() = readdress(request.uri(), version, &target)?;
        request.extensions_mut().insert(Hangup(gone));
        let answer = self.proxy.call(request).await;
        answer.map_err(|error| ApiError::unavailable(format!("node {}: {error}", self.node)))
    }

    /// Returns the version that is closest to one a manager's engine speaks.
    fn spoken(&self, asked: ApiVersion) -> ApiVersion {
        let engine = self.proxy.version();
        let (min, max) = (engine.api_min, engine.api_max);
        asked.min(ApiVersion(max.0, max.1)).max(ApiVersion(min.0, min.1))
    }

    /// Refuses what is no exec of the task's container.
    async fn check_exec(&self, task: &Task, id: &str) -> Result<(), ApiError> {
        let missing = || ApiError::not_found(format!("No such exec instance: {id}"));
        let unreachable = |error: &dyn std::error::Error| {
            ApiError::unavailable(format!("node {}: {error}", self.node))
        };
        let target = Target::Exec { id: id.to_owned(), rest: "json".to_owned() };
        let mut request = Request::new(reply::nothing());
        *request.uri_mut() = readdress(&http::Uri::from_static("/"), None, &target)?;
        let answer = self.proxy.call(request).await.map_err(|error| unreachable(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(missing());
        }
        let bytes = collect(answer.into_body(), EXEC_BYTES_MAX).await;
        let bytes = bytes.map_err(|error| unreachable(&error))?;
        let exec: Exec = serde_json::from_slice(&bytes).unwrap_or_default();
        let container = match task.status.container.as_ref().filter(|held| !held.id.is_empty()) {
            Some(held) => held.id.clone(),
            None => {
                let found = self.engine.inspect(&task.name()).await;
                found.map_err(|error| unreachable(&error))?.ok_or_else(missing)?.id
            }
        };
        if exec.container == container { Ok(()) } else { Err(missing()) }
    }
}

/// Names a task's container to the engine.
fn named(task: &Task) -> String {
    let known = task.status.container.as_ref().map(|held| held.id.clone());
    known.filter(|id| !id.is_empty()).unwrap_or_else(|| task.name())
}
