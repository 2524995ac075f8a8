//! The output of services and tasks as a stream of lines, framed as clients read it. Fetches no output itself.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::backend::{LogItem, LogLine, LogOptions, LogSelector};
use crate::call::Call;
use crate::dialect;
use crate::error::ApiError;
use crate::query::Query;
use crate::reply::{self, Reply};
use crate::route::ApiVersion;
use crate::wire::time;

const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";

/// Which output is wanted and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    options: LogOptions,
    timestamps: bool,
    details: bool,
}

impl Request {
    /// Reads the parameters.
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let (stdout, stderr) = (query.truthy("stdout"), query.truthy("stderr"));
        if !stdout && !stderr {
            let text = "Bad parameters: you must choose at least one stream";
            return Err(ApiError::internal(text));
        }
        let since = since(query.get("since"))?;
        let tail = tail(query.get("tail"))?;
        Ok(Self {
            options: LogOptions { follow: query.truthy("follow"), stdout, stderr, since, tail },
            timestamps: query.truthy("timestamps"),
            details: query.truthy("details"),
        })
    }
}

fn since(text: &str) -> Result<Option<skep_core::time::Timestamp>, ApiError> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let moment = time::parse_moment(text);
    moment.map(Some).ok_or_else(|| {
        let (seconds, nanos) = text.split_once('.').unwrap_or((text, ""));
        let wrong = if seconds.parse::<i64>().is_ok() { nanos } else { seconds };
        ApiError::internal(format!(
            "could not parse since timestamp: strconv.ParseInt: parsing {wrong:?}: invalid syntax"
        ))
    })
}

fn tail(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() || text == "all" {
        return Ok(None);
    }
    match text.parse::<i64>() {
        Ok(lines) => u64::try_from(lines)
            .map(Some)
            .map_err(|_| ApiError::internal("negative tail values not supported")),
        Err(_) => Err(ApiError::internal("tail value must be a positive integer or \"all\"")),
    }
}

/// Streams output; `terminal` says that it is not split into streams.
pub(crate) async fn serve(
    call: Call,
    selector: LogSelector,
    request: Request,
    terminal: bool,
) -> Reply {
    let items = call.backend.logs(selector, request.options.clone()).await;
    let items = items.map_err(|error| call.fail(error))?;
    let engine = call.engine_version();
    let framed = !terminal;
    let kind = if framed && call.version >= ApiVersion(1, 42) { MULTIPLEXED } else { RAW };
    let pieces =
        items.filter_map(move |item| std::future::ready(piece(&item, &request, framed).map(Ok)));
    let mut response = reply::with_body(StatusCode::OK, reply::streamed(pieces.boxed()));
    // Older engines leave it to the client what this is.
    if !dialect::is_old(&engine) {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    Ok(response)
}

/// Lays out one item; nothing if it is of a stream that is not wanted.
fn piece(item: &LogItem, request: &Request, framed: bool) -> Option<Bytes> {
    let (stream, text) = match item {
        LogItem::Problem(problem) => (3, Bytes::from(format!("Error grabbing logs: {problem}\n"))),
        LogItem::Line(line) if line.stderr && !request.options.stderr => return None,
        LogItem::Line(line) if !line.stderr && !request.options.stdout => return None,
        LogItem::Line(line) => (if line.stderr { 2 } else { 1 }, layout(line, request)),
    };
    Some(if framed { frame(stream, &text) } else { text })
}

/// Puts a line into a frame of its own: clients take each frame for a line.
fn frame(stream: u8, text: &[u8]) -> Bytes {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut framed = BytesMut::with_capacity(8 + text.len());
    framed.put_slice(&[stream, 0, 0, 0]);
    framed.put_u32(len);
    framed.put_slice(text);
    framed.freeze()
}

/// Puts the time and the details that are asked for before the text.
fn layout(line: &LogLine, request: &Request) -> Bytes {
    if !request.timestamps && !request.details {
        return line.data.clone();
    }
    let mut text = BytesMut::with_capacity(line.data.len() + 160);
    if request.timestamps {
        text.put_slice(time::format_nanos(line.at).as_bytes());
        text.put_u8(b' ');
    }
    if request.details {
        text.put_slice(details(line).as_bytes());
        text.put_u8(b' ');
    }
    text.put_slice(&line.data);
    text.freeze()
}

/// Writes where a line is from, and what its log driver adds, sorted.
fn details(line: &LogLine) -> String {
    let mut pairs: Vec<(&str, &str)> =
        line.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    pairs.push(("com.docker.swarm.node.id", line.node.as_str()));
    pairs.push((
        "com.docker.swarm.service.id",
        line.service.as_ref().map_or("", skep_core::id::ServiceId::as_str),
    ));
    pairs.push(("com.docker.swarm.task.id", line.task.as_str()));
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    pairs.join(",")
}

/// Escapes as in the query of an address, a space as `+`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => {
                escaped.push('%');
                escaped.push_str(&format!("{other:02X}"));
            }
        }
    }
    escaped
}
