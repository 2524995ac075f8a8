//! A container's output over plain HTTP: bollard cannot ask for attributes, nor take the frames in which engines
//! tell of errors.

mod decoder;

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use skep_api::backend::LogOptions;
use skep_core::time::Timestamp;
use tokio::net::UnixStream;

use crate::engine::{EngineError, EngineLogLine};
use decoder::Decoder;

pub use decoder::demultiplex;

type Line = Result<EngineLogLine, EngineError>;

fn temporary(error: impl std::fmt::Display) -> EngineError {
    EngineError::Temporary(format!("reading logs: {error}"))
}

/// Opens the stream. Dropping it closes the connection.
pub(super) async fn open(
    address: &str,
    version: &str,
    container: &str,
    tty: bool,
    options: &LogOptions,
) -> Result<BoxStream<'static, Line>, EngineError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    let socket = UnixStream::connect(path).await.map_err(temporary)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.map_err(temporary)?;
    // Ends with the connection, which ends with the body.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    let request =
        Request::get(format!("/v{version}/containers/{container}/logs?{}", query(options)))
            .header("host", "docker")
            .body(Empty::<Bytes>::new())
            .map_err(temporary)?;
    let response = sender.send_request(request).await.map_err(temporary)?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    if status != 200 {
        let mut text = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        let message = String::from_utf8_lossy(&text).into_owned();
        return Err(EngineError::Fatal { status, message });
    }
    let reader = Reader {
        body,
        driver: AbortOnDrop(driver),
        _sender: sender,
        since: options.since,
        decoder: Decoder::new(tty),
        ready: VecDeque::new(),
        done: false,
    };
    Ok(stream::unfold(reader, Reader::next).boxed())
}

/// Engines read `since` as seconds with a fraction.
fn query(options: &LogOptions) -> String {
    let mut query = format!(
        "timestamps=1&details=1&follow={}&stdout={}&stderr={}",
        u8::from(options.follow),
        u8::from(options.stdout),
        u8::from(options.stderr),
    );
    if let Some(since) = options.since {
        let (seconds, nanos) =
            (since.0.div_euclid(1_000_000_000), since.0.rem_euclid(1_000_000_000));
        query.push_str(&format!("&since={seconds}.{nanos:09}"));
    }
    match options.tail {
        Some(lines) => query.push_str(&format!("&tail={lines}")),
        None => query.push_str("&tail=all"),
    }
    query
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Reader {
    body: Incoming,
    driver: AbortOnDrop,
    /// A dropped sender closes the connection.
    _sender: http1::SendRequest<Empty<Bytes>>,
    since: Option<Timestamp>,
    decoder: Decoder,
    ready: VecDeque<Line>,
    done: bool,
}

impl Reader {
    async fn next(mut self) -> Option<(Line, Self)> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                let early = |line: &EngineLogLine| self.since.is_some_and(|since| line.at < since);
                if line.as_ref().is_ok_and(early) {
                    continue;
                }
                return Some((line, self));
            }
            if self.done {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.decoder.feed(&data, &mut self.ready);
                        self.done = self.decoder.is_broken();
                    }
                }
                Some(Err(error)) => {
                    self.done = true;
                    self.ready.push_back(Err(temporary(error)));
                }
                None => {
                    self.done = true;
                    self.decoder.finish(&mut self.ready);
                    self.driver.0.abort();
                }
            }
        }
    }
}
