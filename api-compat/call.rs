//! One request on its way through a handler: what was asked, and the backend that answers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use skep_core::command::Command;
use skep_core::state::{Applied, State};
use skep_core::time::Timestamp;

use crate::backend::{Backend, BackendError, Body, EngineVersion};
use crate::budget::Held;
use crate::dialect;
use crate::error::{ApiError, Code};
use crate::filters::Filters;
use crate::json::{self, BODY_BYTES_MAX};
use crate::query::Query;
use crate::reply::{self, CollectError, Reply, collect, collect_held};
use crate::route::{ApiVersion, encode};

/// Largest answer of the engine that is read as a whole to be changed.
const ENGINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest body that becomes an entry of the log, as in Swarm. The entry has about the size of the body.
const ENTRY_BYTES_MAX: usize = 3 << 19;

/// One request.
pub struct Call {
    /// The cluster.
    pub backend: Arc<dyn Backend>,
    /// The API version the client speaks.
    pub version: ApiVersion,
    /// Method, address, headers; extensions hold the upgrade, if any.
    pub head: http::request::Parts,
    /// Parameters.
    pub query: Query,
    body: Body,
    /// Bytes of the body as it came, once it was taken.
    body_bytes: usize,
    held: Held,
}

impl Call {
    /// Takes a request apart.
    pub fn new(backend: Arc<dyn Backend>, version: ApiVersion, request: Request<Body>) -> Self {
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or(""));
        Self { backend, version, head, query, body, body_bytes: 0, held: Held::none() }
    }

    /// Decodes the body; an empty one is the zero value.
    ///
    /// # Errors
    /// Fails with Docker's texts on bodies that are too long, not JSON, or of another type.
    pub async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        let body = self.bytes().await?;
        if body.is_empty() && dialect::is_old(&self.engine_version()) {
            return Err(ApiError::bad_request("got EOF while reading request body"));
        }
        json::decode(&self.head.headers, &body, dialect::wording(&self.engine_version()))
    }

    /// Takes the whole body.
    ///
    /// # Errors
    /// Fails if it is too long or ends early.
    pub async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        let body = std::mem::replace(&mut self.body, reply::nothing());
        match collect_held(body, BODY_BYTES_MAX).await {
            Ok((bytes, held)) => {
                self.held = held;
                self.body_bytes = bytes.len();
                Ok(bytes)
            }
            Err(CollectError::TooLong(_)) => Err(self.too_long()),
            Err(CollectError::Broken(error)) => {
                // Go's decoder knows of no connection: it misses the rest of a text.
                let cut_off = error.is::<hyper::Error>();
                let why = if cut_off { "unexpected EOF".to_owned() } else { error.to_string() };
                Err(ApiError::bad_request(format!("invalid JSON: {why}")))
            }
            Err(error @ CollectError::Busy) => Err(ApiError::unavailable(error.to_string())),
        }
    }

    /// Says that a body is longer than what managers tell each other, as Docker does once it has read it all.
    fn too_long(&self) -> ApiError {
        let claimed = self.head.headers.get(CONTENT_LENGTH).and_then(|held| held.to_str().ok());
        let claimed = claimed.and_then(|text| text.parse::<u64>().ok());
        let bytes = claimed.unwrap_or(BODY_BYTES_MAX as u64 + 1);
        ApiError::internal(format!(
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max ({bytes} vs. {BODY_BYTES_MAX})"
        ))
    }

    /// Puts a body back that was taken to be looked at, or another one in its place.
    pub fn restore(&mut self, body: Bytes) {
        if let Some(length) = self.head.headers.get_mut(CONTENT_LENGTH) {
            *length = HeaderValue::from(body.len());
        }
        self.body = reply::full(body);
    }

    /// Reads the filters, refusing keys that are not known.
    ///
    /// # Errors
    /// Fails on junk and on unknown keys.
    pub fn filters(&self, known: &[&str]) -> Result<Filters, ApiError> {
        self.any_filters()?.only(known)
    }

    /// Returns a state as new as every write acknowledged before.
    ///
    /// # Errors
    /// Says why this node cannot tell.
    pub async fn state(&self) -> Result<Arc<State>, ApiError> {
        self.backend.read().await.map_err(|error| self.fail(error))
    }

    /// Looks at newer states for as long as `waits` holds, at most until `deadline`; returns the last one looked at.
    pub async fn wait_while(
        &self,
        mut state: Arc<State>,
        deadline: Timestamp,
        waits: impl Fn(&State) -> bool,
    ) -> Arc<State> {
        while waits(&state) {
            let left = deadline.since(self.backend.now());
            if left.is_zero() {
                break;
            }
            match self.backend.changed(state.index(), left).await {
                // A backend that answers with what is known already would make this loop spin.
                Ok(newer) if newer.index() > state.index() => state = newer,
                Ok(_) | Err(_) => break,
            }
        }
        state
    }

    /// Has a command carried out.
    ///
    /// # Errors
    /// Says why it was not.
    pub async fn propose(&self, command: Command) -> Result<Applied, ApiError> {
        if self.body_bytes > ENTRY_BYTES_MAX {
            let text = "raft: raft message is too large and can't be sent";
            return Err(ApiError::rpc(Code::Unknown, text));
        }
        self.backend.propose(command).await.map_err(|error| self.fail(error))
    }

    /// Gives an error of the backend its text.
    pub fn fail(&self, error: BackendError) -> ApiError {
        ApiError::from_backend(error, &self.backend.membership())
    }

    /// Sends the request on to the local engine as it is.
    ///
    /// # Errors
    /// Says that the engine is out of reach.
    pub async fn pass(self) -> Reply {
        let Self { backend, head, body, .. } = self;
        let request = Request::from_parts(head, body);
        let answer = backend.engine(request).await;
        answer.map_err(|error| ApiError::from_backend(error, &backend.membership()))
    }

    /// Reads the filters without a judgement on their keys.
    ///
    /// # Errors
    /// Fails on junk.
    pub fn any_filters(&self) -> Result<Filters, ApiError> {
        Query::check_escapes(self.head.uri.query().unwrap_or(""))?;
        Filters::parse(self.query.get("filters"))
    }

    /// Changes the address that `pass` sends on: path without version, and the parameters as they are now.
    ///
    /// # Errors
    /// Never, as everything in an address is encoded; the type keeps callers honest.
    pub fn redirect(&mut self, segments: &[&str]) -> Result<(), ApiError> {
        self.head.uri = self.address(segments, &self.query)?;
        Ok(())
    }

    fn address(&self, segments: &[&str], query: &Query) -> Result<Uri, ApiError> {
        let path: Vec<String> = segments.iter().map(|segment| encode(segment)).collect();
        let mut text = format!("/v{}/{}", self.version, path.join("/"));
        let parameters = query.to_text();
        if !parameters.is_empty() {
            text.push('?');
            text.push_str(&parameters);
        }
        text.parse().map_err(|_| ApiError::bad_request("invalid address"))
    }

    /// Asks the local engine something on skep's own behalf.
    ///
    /// # Errors
    /// Says that the engine is out of reach.
    pub async fn ask_engine(&self, segments: &[&str], query: &Query) -> Reply {
        let request = self.request_head(segments, query)?;
        self.backend.engine(request).await.map_err(|error| self.fail(error))
    }

    /// Begins a request to the local engine on skep's own behalf.
    ///
    /// # Errors
    /// Never, as everything in an address is encoded.
    pub fn request_head(
        &self,
        segments: &[&str],
        query: &Query,
    ) -> Result<Request<Body>, ApiError> {
        let mut request = Request::new(reply::nothing());
        *request.uri_mut() = self.address(segments, query)?;
        Ok(request)
    }

    /// Has the local engine remove a container, on skep's own behalf.
    ///
    /// # Errors
    /// Says that the engine is out of reach.
    pub async fn remove_container(&self, container: &str) -> Reply {
        let mut query = Query::default();
        query.set("force", "1".to_owned());
        let mut request = Request::new(reply::nothing());
        *request.method_mut() = http::Method::DELETE;
        *request.uri_mut() = self.address(&["containers", container], &query)?;
        self.backend.engine(request).await.map_err(|error| self.fail(error))
    }

    /// Asks the local engine for JSON; `None` if it answers with anything but 200.
    ///
    /// # Errors
    /// Says that the engine is out of reach or talks nonsense.
    pub async fn engine_json(
        &self,
        segments: &[&str],
        query: &Query,
    ) -> Result<Option<Value>, ApiError> {
        let response = self.ask_engine(segments, query).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        collect_json(response).await.map(Some)
    }

    /// Returns what the local engine speaks.
    pub fn engine_version(&self) -> EngineVersion {
        self.backend.engine_version()
    }
}

/// Reads an answer of the engine as JSON.
///
/// # Errors
/// Fails if it is none or too long.
pub(crate) async fn collect_json(response: Response<Body>) -> Result<Value, ApiError> {
    let body = collect(response.into_body(), ENGINE_BYTES_MAX).await;
    let bytes = body.map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> ApiError {
    ApiError::internal(format!("the local Docker Engine's answer could not be read: {error}"))
}
