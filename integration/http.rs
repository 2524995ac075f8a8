//! A minimal HTTP/1.1 client over a kept unix connection, cheap enough not to be what limits. No TLS, no redirects.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One kept connection.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// A socket to open connections to.
#[derive(Clone)]
pub struct Endpoint(pub PathBuf);

impl Endpoint {
    /// Takes `unix://PATH`.
    pub fn new(host: &str) -> Self {
        Self(PathBuf::from(host.strip_prefix("unix://").unwrap_or(host)))
    }

    pub fn connect(&self) -> Result<Client> {
        Client::connect(&self.0)
    }
}

impl Client {
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    /// Bounds the wait for each part of an answer.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(patience))?)
    }

    /// Sends a request and reads the whole answer: its status and body.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<(u16, Vec<u8>)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: d\r\n").into_bytes();
        if let Some(body) = body {
            write!(
                request,
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            )?;
        } else if method == "POST" {
            request.extend_from_slice(b"Content-Length: 0\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body.unwrap_or_default());
        self.stream.get_mut().write_all(&request)?;
        let (status, length) = self.head()?;
        let body = match length {
            Length::Fixed(length) => self.exactly(length)?,
            Length::Chunked => self.chunks()?,
        };
        Ok((status, body))
    }

    /// A call that must succeed, with JSON in both directions.
    pub fn json(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = body.map(serde_json::to_vec).transpose()?;
        let (status, answer) = self.call(method, path, bytes.as_deref())?;
        let text = String::from_utf8_lossy(&answer);
        ensure!(status < 400, "{method} {path}: {status} {text}");
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).with_context(|| format!("{method} {path}: {text}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
        Ok(line.trim_end().to_owned())
    }

    fn head(&mut self) -> Result<(u16, Length)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).context("no status")?.parse()?;
        let mut length = Length::Fixed(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            match line.split_once(": ") {
                Some(("content-length", value)) => length = Length::Fixed(value.parse()?),
                Some(("transfer-encoding", _)) => length = Length::Chunked,
                Some(_) | None => {}
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(self.line()?.as_str(), 16)?;
            body.extend(self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

enum Length {
    Fixed(usize),
    Chunked,
}
