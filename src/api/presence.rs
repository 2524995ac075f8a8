//! Notices that a client has gone while an answer has nothing to say for now: output that is followed would be held open until
//! the next line otherwise. As with dockerd, a client that closes its half of the connection has gone, unless the connection was
//! hijacked.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use skep_api::backend::{Body, BodyError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may be read ahead of the server, looking for the end.
const AHEAD_BYTES_MAX: usize = 8 << 10;

/// A stream whose end can be looked for while nobody reads it.
pub(super) struct Watched<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    ahead: BytesMut,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Watched<S> {
    pub(super) fn new(stream: S) -> Self {
        let inner = Inner { stream, ahead: BytesMut::new(), ended: false };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Returns what looks for the end of the stream.
    pub(super) fn watch(&self) -> Watch<S> {
        Watch(self.0.clone())
    }
}

/// The look for the end of a stream.
pub(super) struct Watch<S>(Arc<Mutex<Inner<S>>>);

impl<S> Clone for Watch<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncRead + Unpin + Send + 'static> Watch<S> {
    /// Makes a body end with an error once the client has gone.
    pub(super) fn over(self, body: Body) -> Body {
        if body.is_end_stream() { body } else { Attended { body, watch: self }.boxed() }
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.lock();
        let mut space = [0; 1024];
        while !inner.ended {
            if inner.ahead.len() >= AHEAD_BYTES_MAX {
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut inner.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    inner.ahead.extend_from_slice(buffer.filled());
                }
                Ok(()) | Err(_) => inner.ended = true,
            }
        }
        // What came before the end is still to be read.
        if inner.ahead.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

struct Attended<S> {
    body: Body,
    watch: Watch<S>,
}

impl<S: AsyncRead + Unpin + Send + 'static> HttpBody for Attended<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.watch.poll_gone(context).map(|()| Some(Err("the client has gone".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.lock();
        if !inner.ahead.is_empty() {
            let count = inner.ahead.len().min(buffer.remaining());
            buffer.put_slice(&inner.ahead[..count]);
            inner.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        if inner.ended {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut inner.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.is_write_vectored()
    }
}
