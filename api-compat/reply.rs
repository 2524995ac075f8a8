//! Makes responses in the form of Docker's server: exact content type, line end after JSON, its headers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body as HttpBody, Frame};
use serde::Serialize;

use crate::backend::{Body, BodyError, EngineVersion};
use crate::budget::Held;
use crate::error::ApiError;
use crate::route::ApiVersion;

/// What a handler comes to.
pub type Reply = Result<Response<Body>, ApiError>;

/// Makes a body of bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// Makes a body of nothing.
pub fn nothing() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

/// Makes a body of a stream, each piece sent at once.
pub fn streamed(stream: BoxStream<'static, Result<Bytes, BodyError>>) -> Body {
    Pieces(Mutex::new(stream)).boxed()
}

/// A stream as a body. The lock is never taken: it only makes the stream shareable, as bodies must be.
struct Pieces(Mutex<BoxStream<'static, Result<Bytes, BodyError>>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stream = match self.0.get_mut() {
            Ok(stream) => stream,
            Err(poisoned) => poisoned.into_inner(),
        };
        stream.as_mut().poll_next(context).map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}

/// Why a body could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It has more bytes than are read.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// It ended early.
    #[error("{0}")]
    Broken(BodyError),
    /// All requests together hold as many bytes as they may.
    #[error("too many large requests at a time")]
    Busy,
}

/// Collects a body of at most `bytes_max` bytes, piece by piece: `Limited` asks for a conversion that the compiler cannot prove for boxed errors.
///
/// # Errors
/// Fails if it is too long or ends early.
pub async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, CollectError> {
    collect_with(body, bytes_max, |_| true).await
}

/// Collects a request's body within what all of them share.
///
/// # Errors
/// As `collect`, and when nothing is left to share.
pub(crate) async fn collect_held(
    body: Body,
    bytes_max: usize,
) -> Result<(Bytes, Held), CollectError> {
    let mut held = Held::none();
    let bytes = collect_with(body, bytes_max, |more| held.take(more)).await?;
    Ok((bytes, held))
}

async fn collect_with(
    mut body: Body,
    bytes_max: usize,
    mut may_take: impl FnMut(usize) -> bool,
) -> Result<Bytes, CollectError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(CollectError::Broken)?.into_data() else { continue };
        if collected.len() + data.len() > bytes_max {
            return Err(CollectError::TooLong(bytes_max));
        }
        if !may_take(data.len()) {
            return Err(CollectError::Busy);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// Makes a response with a status and no body.
pub fn empty(status: StatusCode) -> Response<Body> {
    with_body(status, nothing())
}

/// Makes a response with a status and a body.
pub fn with_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Makes a response of JSON.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response<Body> {
    let text = serde_json::to_vec(value).map(|mut text| {
        text.push(b'\n');
        text.into()
    });
    written_json(status, text)
}

/// Makes a response of JSON that is written already, with its line end.
pub fn written_json(status: StatusCode, text: Result<Bytes, serde_json::Error>) -> Response<Body> {
    let (status, bytes) = match text {
        Ok(bytes) => (status, bytes),
        Err(error) => {
            tracing::error!(%error, "reply could not be written");
            let text = Bytes::from_static(b"{\"message\":\"reply could not be written\"}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    };
    let mut response = with_body(status, full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Makes a response of plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = with_body(status, full(text));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Makes the response of an error.
pub fn error(error: &ApiError) -> Response<Body> {
    #[derive(Serialize)]
    struct Message<'a> {
        message: &'a str,
    }
    json(error.status, &Message { message: &error.message })
}

/// Adds the headers that every reply carries.
pub fn stamp(headers: &mut HeaderMap, engine: &EngineVersion, served: ApiVersion) {
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    put("api-version", served.to_string());
    put("docker-experimental", engine.experimental.to_string());
    put("ostype", "linux".to_owned());
    put(SERVER.as_str(), format!("Docker/{} (linux)", engine.engine));
}

/// Turns a body into a stream of its data; trailers are dropped.
pub fn data_stream(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    use futures_util::StreamExt as _;
    http_body_util::BodyStream::new(body).filter_map(|frame| {
        std::future::ready(match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}
