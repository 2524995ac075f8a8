//! One request and its answer over a connection to an engine, neither body buffered; where the protocol changes, both ends are
//! joined. Knows no route.

use http::header::{CONNECTION, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use skep_api::backend::Body;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// In a request's extensions: cancelled once whoever asks is gone, where the connection itself does not tell.
#[derive(Clone)]
pub struct Hangup(pub CancellationToken);

/// Begins to speak HTTP over a stream.
///
/// # Errors
/// Never before the first request.
pub async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the stream, or once the last answer was read and nobody can ask any more.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(error = %error, "engine connection ended");
        }
    });
    Ok(sender)
}

/// Sends the one request of a connection.
///
/// # Errors
/// When the connection breaks before there is an answer.
pub async fn once(
    sender: &mut SendRequest<Body>,
    mut request: Request<Body>,
) -> Result<Response<Body>, hyper::Error> {
    let upgrades = wants_upgrade(request.headers());
    let connection = request.headers().get(CONNECTION).cloned().filter(|_| upgrades);
    prepare(request.headers_mut());
    if let Some(connection) = connection {
        request.headers_mut().insert(CONNECTION, connection);
    }
    let hangup = request.extensions().get::<Hangup>().cloned();
    let client = hyper::upgrade::on(&mut request);
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(pass_back(response));
    }
    let engine = hyper::upgrade::on(&mut response);
    // Ends with either side, or once whoever asked is gone.
    tokio::spawn(async move {
        let gone = async {
            match hangup {
                Some(Hangup(gone)) => gone.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = splice(client, engine) => {}
            () = gone => debug!("the client of a stream is gone"),
        }
    });
    let (parts, _) = response.into_parts();
    Ok(Response::from_parts(parts, Empty::new().map_err(|never| match never {}).boxed()))
}

/// Tells whether a request asks for another protocol.
pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    let named = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
    };
    headers.contains_key(UPGRADE) && headers.get_all(CONNECTION).iter().any(named)
}

/// Takes out of a request what concerns one connection alone.
pub fn prepare(headers: &mut HeaderMap) {
    headers.remove(EXPECT);
    headers.remove(CONNECTION);
    // Engines refuse requests without a host; those made here have none.
    headers.entry(HOST).or_insert(HeaderValue::from_static("docker"));
}

/// Takes out of an answer what concerns one connection alone.
pub fn pass_back(response: Response<Incoming>) -> Response<Body> {
    let mut response = response.map(|body| body.map_err(Into::into).boxed());
    response.headers_mut().remove(CONNECTION);
    response.headers_mut().remove(TRANSFER_ENCODING);
    response
}

/// Joins both ends of a hijacked connection; an end of input on one side is passed on to the other.
async fn splice(client: OnUpgrade, engine: OnUpgrade) {
    let (client, engine) = match tokio::try_join!(client, engine) {
        Ok(both) => both,
        Err(error) => {
            debug!(error = %error, "a stream was not upgraded");
            return;
        }
    };
    let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
    if let Err(error) = copy_bidirectional(&mut client, &mut engine).await {
        debug!(error = %error, "stream ended");
    }
}
