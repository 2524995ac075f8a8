//! A client of a node's API, over its unix socket. Knows no route.

use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::world::within;

/// A client; every request has its own connection.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null if it is empty.
    pub body: Value,
}

impl Answer {
    /// Returns the body of a success.
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// Returns the text of an error of the given status.
    pub fn error(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.body["message"].as_str().expect("an error has a message").to_owned()
    }
}

impl Client {
    /// Makes a client of the node that serves at `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks and reads the whole answer.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> std::io::Result<Answer> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok(Answer { status, body })
    }

    /// Asks with GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.whole(Method::GET, path, &Value::Null).await
    }

    /// Asks with POST.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.whole(Method::POST, path, body).await
    }

    /// Asks with DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.whole(Method::DELETE, path, &Value::Null).await
    }

    async fn whole(&self, method: Method, path: &str, body: &Value) -> Answer {
        let answer = within(path, self.call(method, path, body)).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks with POST for bytes.
    pub async fn bytes(&self, path: &str, body: &Value) -> Bytes {
        let answered = async {
            let response = self.send(Method::POST, path, body).await?;
            assert!(response.status().is_success(), "{path}: {}", response.status());
            let body = response.into_body().collect().await.map_err(std::io::Error::other)?;
            std::io::Result::Ok(body.to_bytes())
        };
        within(path, answered).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks with GET for bytes.
    pub async fn fetch(&self, path: &str) -> Bytes {
        let answered = async {
            let response = self.send(Method::GET, path, &Value::Null).await?;
            assert!(response.status().is_success(), "{path}: {}", response.status());
            let body = response.into_body().collect().await.map_err(std::io::Error::other)?;
            std::io::Result::Ok(body.to_bytes())
        };
        within(path, answered).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends bytes with PUT.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Answer {
        let answered = async {
            let response = self.send_bytes(Method::PUT, path, bytes.into()).await?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(Answer {
                status,
                body: serde_json::from_slice(&body.to_bytes())?,
            })
        };
        within(path, answered).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Hijacks the connection of a POST.
    pub async fn hijack(&self, path: &str) -> UnixStream {
        let hijacked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            std::io::Result::Ok(stream)
        };
        within(path, hijacked).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks with GET for a stream, of which only the head has come.
    pub async fn stream(&self, path: &str) -> Stream {
        let response = within(path, self.send(Method::GET, path, &Value::Null)).await;
        let response = response.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(response.status().is_success(), "{path}: {}", response.status());
        Stream { body: response.into_body(), held: BytesMut::new() }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> std::io::Result<http::Response<Incoming>> {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.send_bytes(method, path, bytes).await
    }

    async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        bytes: Bytes,
    ) -> std::io::Result<http::Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22"))
            .header("Host", "docker")
            .header("Content-Type", "application/json")
            .body(Full::new(bytes))
            .expect("tests ask for valid paths");
        sender.send_request(request).await.map_err(std::io::Error::other)
    }
}

/// A body as it comes.
pub struct Stream {
    body: Incoming,
    held: BytesMut,
}

impl Stream {
    /// Returns the next JSON object, one of which is on each line; `None` at the end.
    pub async fn object(&mut self) -> Option<Value> {
        let line = loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                break self.held.split_to(end + 1);
            }
            self.more().await?;
        };
        Some(serde_json::from_slice(&line).expect("each line is an object"))
    }

    /// Returns the text of the next line.
    pub async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                return String::from_utf8_lossy(&self.held.split_to(end + 1)).into_owned();
            }
            self.more().await.expect("the stream goes on");
        }
    }

    /// Returns the text of the next frame of output; `None` at the end.
    pub async fn frame(&mut self) -> Option<String> {
        while self.held.len() < 8 {
            self.more().await?;
        }
        let mut head = self.held.split_to(8);
        head.advance(4);
        let length = usize::try_from(head.get_u32()).expect("a frame fits into memory");
        while self.held.len() < length {
            self.more().await?;
        }
        Some(String::from_utf8_lossy(&self.held.split_to(length)).into_owned())
    }

    async fn more(&mut self) -> Option<()> {
        let frame = within("more of a stream", self.body.frame()).await?;
        let frame = frame.expect("a stream ends in order");
        if let Ok(data) = frame.into_data() {
            self.held.extend_from_slice(&data);
        }
        Some(())
    }
}
