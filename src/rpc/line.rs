//! A line: bytes both ways between two nodes, as pieces in the messages of a call, each way with an end of its own. A line that
//! breaks off without that end is an error to whoever reads it. Knows not what the bytes mean.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::RELAY_KEY;
use super::client::{Trust, channel};
use super::glue::Messages;
use super::proto::Piece;
use super::tls::Tls;

/// Pieces under way on each part of the way; who sends more waits.
const PIECES_MAX: usize = 8;

/// Longest piece.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// How long the last pieces may take to come through.
const PARTING_LIMIT: Duration = Duration::from_secs(30);

/// One end of a line.
pub struct Line {
    /// What comes.
    pub incoming: Messages<Piece>,
    /// Takes what goes.
    pub outgoing: mpsc::Sender<Piece>,
}

impl Line {
    /// Makes an end of what comes in a call, and the messages to send in it.
    pub fn new(incoming: Messages<Piece>) -> (Self, impl Stream<Item = Piece> + Send) {
        let (outgoing, pieces) = mpsc::channel(PIECES_MAX);
        (Self { incoming, outgoing }, pieces_of(pieces))
    }

    /// Makes both ends of a line within this process.
    pub fn pair() -> (Self, Self) {
        let (there, here) = mpsc::channel(PIECES_MAX);
        let incoming = pieces_of(here).map(Ok).boxed();
        let (far, pieces) = Self::new(incoming);
        (Self { incoming: pieces.map(Ok).boxed(), outgoing: there }, far)
    }

    /// Opens a line to the manager at `address`, on a connection of its own: a line that is not read holds up no other.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn dial(
        address: &str,
        tls: &Arc<Tls>,
        path: PathAndQuery,
        subject: &str,
    ) -> Result<Self, Status> {
        let channel = channel(address, Trust::Mutual(tls.clone()))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let (outgoing, pieces) = mpsc::channel(PIECES_MAX);
        let mut request = Request::new(pieces_of(pieces));
        let subject = subject.parse().map_err(|_| Status::invalid_argument("the subject"))?;
        request.metadata_mut().insert(RELAY_KEY, subject);
        let codec = ProstCodec::<Piece, Piece>::default();
        let incoming = grpc.streaming(request, path, codec).await?.into_inner().boxed();
        Ok(Self { incoming, outgoing })
    }

    /// Makes one line of two, until either is over.
    pub async fn join(self, other: Self) {
        tokio::select! {
            () = pass(self.incoming, other.outgoing) => {}
            () = pass(other.incoming, self.outgoing) => {}
        }
    }
}

fn pieces_of(pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Piece> + Send {
    stream::unfold(
        pieces,
        |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) },
    )
}

async fn pass(mut from: Messages<Piece>, to: mpsc::Sender<Piece>) {
    loop {
        tokio::select! {
            piece = from.next() => match piece {
                Some(Ok(piece)) => if to.send(piece).await.is_err() { return },
                // Nobody is there any more.
                Some(Err(_)) | None => return,
            },
            () = to.closed() => return,
        }
    }
}

/// An end of a line as a stream of bytes.
pub struct Pipe {
    incoming: Messages<Piece>,
    held: Bytes,
    ended: bool,
    outgoing: PollSender<Piece>,
    is_shut: bool,
    dropped: CancellationToken,
    _dropping: DropGuard,
}

impl From<Line> for Pipe {
    fn from(line: Line) -> Self {
        let dropped = CancellationToken::new();
        Self {
            incoming: line.incoming,
            held: Bytes::new(),
            ended: false,
            outgoing: PollSender::new(line.outgoing),
            is_shut: false,
            _dropping: dropped.clone().drop_guard(),
            dropped,
        }
    }
}

impl Drop for Pipe {
    /// A call that is let go of takes what is still under way with it. So where both sides have ended in order, this one waits
    /// until the other has let go. Otherwise nobody cares any more, and the other side shall know at once.
    fn drop(&mut self) {
        self.outgoing.close();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_shut && self.ended {
            let mut incoming = std::mem::replace(&mut self.incoming, stream::empty().boxed());
            // Ends with the other side, or after a while.
            runtime.spawn(tokio::time::timeout(PARTING_LIMIT, async move {
                while let Some(Ok(_)) = incoming.next().await {}
            }));
        }
    }
}

impl Pipe {
    /// Waits until the line is over: the other end went, or this pipe. Who only waits for bytes learns nothing of it once the
    /// other end has sent its last one.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (outgoing, dropped) = (self.outgoing.get_ref().cloned(), self.dropped.clone());
        async move {
            let Some(outgoing) = outgoing else { return };
            tokio::select! {
                () = outgoing.closed() => {}
                () = dropped.cancelled() => {}
            }
        }
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        piece: impl FnOnce() -> Piece,
    ) -> Poll<io::Result<()>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(context)).map_err(|_| gone())?;
        Poll::Ready(self.outgoing.send_item(piece()).map_err(|_| gone()))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.held.is_empty() && !self.ended {
            match ready!(self.incoming.as_mut().poll_next(context)) {
                Some(Ok(Piece { data, end })) => {
                    self.held = data;
                    self.ended = end;
                }
                Some(Err(status)) => return Poll::Ready(Err(broken(&status))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let count = self.held.len().min(buffer.remaining());
        buffer.put_slice(&self.held[..count]);
        self.held.advance(count);
        Poll::Ready(Ok(()))
    }
}

fn broken(status: &Status) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, status.message().to_owned())
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(PIECE_BYTES_MAX);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        let piece = || Piece { data: Bytes::copy_from_slice(&bytes[..count]), end: false };
        self.poll_send(context, piece).map_ok(|()| count)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.poll_send(context, || Piece { data: Bytes::new(), end: true }))?;
            // The messages go on until this end is dropped: without them the other end would take it for gone.
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Both ends of two lines that are joined in the middle, as a leader does.
    fn ends() -> (Pipe, Pipe) {
        let ((left, middle), (other, right)) = (Line::pair(), Line::pair());
        tokio::spawn(middle.join(other));
        (left.into(), right.into())
    }

    #[tokio::test]
    async fn each_way_ends_by_itself() {
        let (mut left, mut right) = ends();
        left.write_all(&[7; 200_000][..100_000]).await.expect("the other end is there");
        left.write_all(b"end").await.expect("the other end is there");
        left.shutdown().await.expect("only this way ends");
        let mut bytes = Vec::new();
        right.read_to_end(&mut bytes).await.expect("the way has an end");
        assert_eq!(bytes.len(), 100_003);
        right.write_all(b"answer").await.expect("this way goes on");
        right.shutdown().await.expect("it ends");
        let mut text = String::new();
        left.read_to_string(&mut text).await.expect("the way has an end");
        assert_eq!(text, "answer");
    }

    #[tokio::test]
    async fn who_sends_waits_for_who_reads() {
        let (mut left, mut right) = ends();
        let sending = tokio::spawn(async move {
            let sent = left.write_all(&vec![1; 64 << 20]).await;
            (left, sent)
        });
        let mut bytes = vec![0; 1 << 20];
        right.read_exact(&mut bytes).await.expect("the first bytes come");
        assert!(!sending.is_finished(), "most of it waits");
        drop(right);
        let (_left, sent) = sending.await.expect("it does not panic");
        assert!(sent.is_err(), "nobody reads the rest");
    }

    #[tokio::test]
    async fn a_line_that_breaks_off_is_an_error() {
        let (mut left, right) = ends();
        let over = left.over();
        drop(right);
        over.await;
        let mut bytes = Vec::new();
        assert!(left.read_to_end(&mut bytes).await.is_err());
        assert!(left.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn the_end_of_a_line_is_noticed_after_the_last_byte() {
        let (mut left, mut right) = ends();
        right.shutdown().await.expect("this way ends");
        let mut bytes = Vec::new();
        left.read_to_end(&mut bytes).await.expect("the way has an end");
        let over = left.over();
        drop(right);
        over.await;
    }
}
