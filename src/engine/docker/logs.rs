//! A container's output over plain HTTP: bollard cannot ask for attributes, nor take the frames in which engines
//! tell of errors.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
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

/// Longest frame that is taken; engines split output into pieces of 16 KiB.
const FRAME_MAX: usize = 16 << 20;

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
        decoder: Decoder { tty, buffer: BytesMut::new(), last: Timestamp::default() },
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

/// Cuts the body into lines.
struct Decoder {
    tty: bool,
    buffer: BytesMut,
    /// Time of the last line, for pieces that bring none.
    last: Timestamp,
}

impl Decoder {
    fn feed(&mut self, data: &[u8], ready: &mut VecDeque<Line>) {
        self.buffer.extend_from_slice(data);
        if self.tty {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                ready.push_back(Ok(self.line(false, line)));
            }
            return;
        }
        while self.buffer.len() >= 8 {
            let header = [self.buffer[4], self.buffer[5], self.buffer[6], self.buffer[7]];
            let length = u32::from_be_bytes(header) as usize;
            if length > FRAME_MAX {
                self.buffer.clear();
                ready.push_back(Err(temporary("frame is too long")));
                return;
            }
            if self.buffer.len() < 8 + length {
                return;
            }
            let stream = self.buffer[0];
            self.buffer.advance(8);
            let payload = self.buffer.split_to(length).freeze();
            ready.push_back(match stream {
                3 => Err(temporary(String::from_utf8_lossy(&payload).trim_end())),
                stream => Ok(self.line(stream == 2, payload)),
            });
        }
    }

    fn finish(&mut self, ready: &mut VecDeque<Line>) {
        if self.tty && !self.buffer.is_empty() {
            let rest = self.buffer.split().freeze();
            ready.push_back(Ok(self.line(false, rest)));
        }
    }

    /// Takes `time attributes text` apart. The attributes are empty for most log drivers, the space behind them is not.
    fn line(&mut self, stderr: bool, mut data: Bytes) -> EngineLogLine {
        let mut attributes = Vec::new();
        let time = data.iter().position(|byte| *byte == b' ');
        let at = time.and_then(|end| parse_time(std::str::from_utf8(&data[..end]).ok()?));
        if let (Some(end), Some(at)) = (time, at) {
            self.last = at;
            data.advance(end + 1);
            if let Some(end) = data.iter().position(|byte| *byte == b' ') {
                attributes = parse_attributes(&data[..end]);
                if end == 0 || !attributes.is_empty() {
                    data.advance(end + 1);
                }
            }
        }
        EngineLogLine { stderr, at: self.last, attributes, data }
    }
}

fn parse_attributes(text: &[u8]) -> Vec<(String, String)> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let pairs = text.split(',').map_while(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((unescape(key), unescape(value)))
    });
    pairs.collect()
}

/// Undoes the escapes of URL queries.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                plain.push(code);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Reads `2006-01-02T15:04:05.999999999Z`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if !(1..=9).contains(&fraction.len()) || !(1..=12).contains(&month) || year > 9999 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i64>().ok()?;
    // Days since 1970 by the civil calendar, years beginning in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, payload.as_bytes()].concat()
    }

    #[test]
    fn times() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:34:56.5Z", Some(1_709_210_096_500_000_000)),
            ("2000-03-01T00:00:00.000000001Z", Some(951_868_800_000_000_001)),
            ("yesterday", None),
        ];
        for (text, expect) in cases {
            assert_eq!(parse_time(text).map(|time| time.0), expect, "{text}");
        }
    }

    #[test]
    fn frames_in_any_pieces() {
        let mut bytes = frame(1, "1970-01-01T00:00:01.000000000Z  out put\n");
        bytes.extend(frame(2, "1970-01-01T00:00:02.000000000Z a%2Fb=c+d,e=f err\n"));
        bytes.extend(frame(3, "gone\n"));
        let mut decoder = Decoder { tty: false, buffer: BytesMut::new(), last: Timestamp(0) };
        let mut ready = VecDeque::new();
        for piece in bytes.chunks(3) {
            decoder.feed(piece, &mut ready);
        }
        let first = ready[0].as_ref().expect("a line");
        assert_eq!(
            (first.stderr, first.at.0, &first.data[..]),
            (false, 1_000_000_000, &b"out put\n"[..])
        );
        let second = ready[1].as_ref().expect("a line");
        let expect = [("a/b".to_owned(), "c d".to_owned()), ("e".to_owned(), "f".to_owned())];
        assert_eq!((second.stderr, second.attributes.as_slice()), (true, &expect[..]));
        assert_eq!(&second.data[..], b"err\n");
        assert!(ready[2].is_err());
    }

    #[test]
    fn terminals_have_no_frames() {
        let mut decoder = Decoder { tty: true, buffer: BytesMut::new(), last: Timestamp(0) };
        let mut ready = VecDeque::new();
        decoder.feed(b"1970-01-01T00:00:01.000000000Z  a\r\n1970", &mut ready);
        assert_eq!(ready.len(), 1);
        assert_eq!(&ready[0].as_ref().expect("a line").data[..], b"a\r\n");
    }
}
