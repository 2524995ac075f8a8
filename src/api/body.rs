//! The body of a request that skep reads itself must come within a time. What goes to the engine may take for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use skep_api::backend::{Body, BodyError};
use skep_api::route::{Route, route, split_version};

use crate::clock;

/// Tells whether skep answers a request itself.
pub(super) fn is_own<B>(request: &Request<B>) -> bool {
    let (_, path) = split_version(request.uri().path());
    route(request.method(), path) != Route::Engine
}

/// Makes a body end with an error once `limit` has passed.
pub(super) fn patient(body: Incoming, limit: Option<Duration>) -> Body {
    match limit {
        Some(limit) if !body.is_end_stream() => {
            Timed { body, deadline: Box::pin(clock::sleep(limit)) }.boxed()
        }
        Some(_) | None => body.map_err(Into::into).boxed(),
    }
}

struct Timed {
    body: Incoming,
    deadline: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.deadline.as_mut().poll(context).map(|()| Some(Err("it took too long to come".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
