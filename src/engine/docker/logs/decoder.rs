//! Takes the body in which an engine sends a container's output apart into lines. Reads no socket.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use skep_core::time::Timestamp;

use super::{Line, temporary};
use crate::engine::EngineLogLine;

/// Longest frame that is taken; engines split output into pieces of 16 KiB.
const FRAME_MAX: usize = 16 << 20;

/// Longest line of a terminal that is kept together: a program may never end one.
const LINE_MAX: usize = 1 << 20;

/// Takes output apart that comes in these pieces, as a stream of it would be.
pub fn demultiplex<'a>(tty: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Line> {
    let mut decoder = Decoder::new(tty);
    let mut ready = VecDeque::new();
    for piece in pieces {
        decoder.feed(piece, &mut ready);
    }
    decoder.finish(&mut ready);
    ready.into()
}

/// Cuts the body into lines.
pub(super) struct Decoder {
    tty: bool,
    buffer: BytesMut,
    /// Bytes of the buffer in which no line ends.
    searched: usize,
    /// Whether the frames have lost their beat: whatever comes then means nothing.
    broken: bool,
    /// Time of the last line, for pieces that bring none.
    last: Timestamp,
}

impl Decoder {
    pub(super) fn new(tty: bool) -> Self {
        Self {
            tty,
            buffer: BytesMut::new(),
            searched: 0,
            broken: false,
            last: Timestamp::default(),
        }
    }

    pub(super) fn feed(&mut self, data: &[u8], ready: &mut VecDeque<Line>) {
        if self.broken {
            return;
        }
        self.buffer.extend_from_slice(data);
        if self.tty {
            while let Some(end) = self.line_end() {
                let line = self.buffer.split_to(end).freeze();
                self.searched = 0;
                ready.push_back(Ok(self.line(false, line)));
            }
            return;
        }
        while self.buffer.len() >= 8 {
            let header = [self.buffer[4], self.buffer[5], self.buffer[6], self.buffer[7]];
            let length = u32::from_be_bytes(header) as usize;
            if length > FRAME_MAX {
                self.broken = true;
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

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Returns where the first line ends; looks at no byte twice.
    fn line_end(&mut self) -> Option<usize> {
        let rest = &self.buffer[self.searched..];
        let found = rest.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at + 1);
        self.searched = self.buffer.len();
        found.or((self.buffer.len() >= LINE_MAX).then_some(LINE_MAX)).map(|end| end.min(LINE_MAX))
    }

    pub(super) fn finish(&mut self, ready: &mut VecDeque<Line>) {
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
    let in_year = (1..=12).contains(&month) && (1..=31).contains(&day);
    let in_day = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    let in_second = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_empty() || !in_second || !in_year || !in_day || year > 9999 {
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
            ("1970-01-9223372036854775807T00:00:00Z", None),
            ("1970-01-01T9223372036854775807:00:00Z", None),
            ("1970-01-01T00:00:00.+1Z", None),
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
        let ready = demultiplex(false, bytes.chunks(3));
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
        let mut decoder = Decoder::new(true);
        let mut ready = VecDeque::new();
        decoder.feed(b"1970-01-01T00:00:01.000000000Z  a\r\n1970", &mut ready);
        assert_eq!(ready.len(), 1);
        assert_eq!(&ready[0].as_ref().expect("a line").data[..], b"a\r\n");
    }

    #[test]
    fn a_line_that_never_ends_is_cut() {
        let mut decoder = Decoder::new(true);
        let mut ready = VecDeque::new();
        for _ in 0..4 * LINE_MAX / 4096 {
            decoder.feed(&[b'x'; 4096], &mut ready);
        }
        assert!(decoder.buffer.len() < LINE_MAX);
        let kept: usize = ready.iter().flatten().map(|line| line.data.len()).sum();
        assert_eq!((ready.len(), kept), (4, 4 * LINE_MAX));
    }
}
