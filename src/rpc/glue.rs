//! Between the bytes of HTTP/2 and the functions of a service: one way to answer each form of call.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use futures_util::Stream;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::MESSAGE_BYTES_MAX;

/// The messages of a streamed answer.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One gRPC service.
#[async_trait]
pub trait RpcService: Send + Sync {
    /// Full name, for example `docker.swarmkit.v1.CA`.
    fn name(&self) -> &'static str;

    /// Answers a call; a method it does not know with [`unimplemented`].
    async fn call(&self, method: &str, request: http::Request<Body>) -> http::Response<Body>;
}

/// Answers that there is no such method.
pub fn unimplemented() -> http::Response<Body> {
    refuse(Status::unimplemented("unknown method"))
}

/// Answers with an error alone.
pub fn refuse(status: Status) -> http::Response<Body> {
    status.into_http()
}

/// One message in, one message out.
pub async fn unary<Q, R, F>(
    request: http::Request<Body>,
    mut answer: impl FnMut(Request<Q>) -> F + Send,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
    F: Future<Output = Result<R, Status>> + Send,
{
    let service = tower::service_fn(|request| {
        let answered = answer(request);
        async { answered.await.map(Response::new) }
    });
    grpc::<Q, R>().unary(service, request).await
}

/// One message in, many out.
pub async fn server_streaming<Q, R, F>(
    request: http::Request<Body>,
    mut answer: impl FnMut(Request<Q>) -> F + Send,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
    F: Future<Output = Result<Messages<R>, Status>> + Send,
{
    let service = tower::service_fn(|request| {
        let answered = answer(request);
        async { answered.await.map(Response::new) }
    });
    grpc::<Q, R>().server_streaming(service, request).await
}

/// Many messages in, one out.
pub async fn client_streaming<Q, R, F>(
    request: http::Request<Body>,
    mut answer: impl FnMut(Request<Streaming<Q>>) -> F + Send,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
    F: Future<Output = Result<R, Status>> + Send,
{
    let service = tower::service_fn(|request| {
        let answered = answer(request);
        async { answered.await.map(Response::new) }
    });
    grpc::<Q, R>().client_streaming(service, request).await
}

/// Many messages in, many out, at once.
pub async fn streaming<Q, R, F>(
    request: http::Request<Body>,
    mut answer: impl FnMut(Request<Streaming<Q>>) -> F + Send,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
    F: Future<Output = Result<Messages<R>, Status>> + Send,
{
    let service = tower::service_fn(|request| {
        let answered = answer(request);
        async { answered.await.map(Response::new) }
    });
    grpc::<Q, R>().streaming(service, request).await
}

fn grpc<Q, R>() -> Grpc<ProstCodec<R, Q>>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + Default + 'static,
{
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
