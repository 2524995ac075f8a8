//! `POST /skep/backup`: the cluster's state, sealed with the caller's key, which Docker's API has no place for. Reads no
//! file.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use crate::call::Call;
use crate::reply::{self, Reply};

/// What is asked; never shown, for the key opens every secret.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    /// Text of the key that is to seal the backup.
    #[serde(rename = "Key")]
    key: String,
}

/// Answers `POST /skep/backup` with the bytes of a file.
///
/// # Errors
/// Fails where there is no manager, without a quorum, and on a text that is no key.
pub async fn take(mut call: Call) -> Reply {
    let request: Request = call.json().await?;
    let sealed = call.backend.backup(&request.key).await.map_err(|error| call.fail(error))?;
    let mut response = reply::with_body(StatusCode::OK, reply::full(sealed));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    Ok(response)
}
