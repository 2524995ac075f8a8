//! Decodes request bodies as leniently as Go's encoding/json does, so that what stock clients send is understood.
//!
//! Field names match without regard to case, `null` stands for the zero value of anything, unknown fields are
//! ignored, an empty body is a zero value. Wire structs stay plain serde: `#[serde(default, rename_all =
//! "PascalCase")]`, and no `flatten`, which hides the field names from this decoder.

pub mod base64_bytes;
mod lenient;
mod place;
mod syntax;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

pub(crate) use syntax::syntax_error;

use lenient::Lenient;

/// Largest body that is decoded, as among Swarm's managers. The largest legal one is a config of 1,000 KiB in base64.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Whose words say what is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// Of engines before API 1.42.
    Old,
    /// Of newer engines.
    Current,
}

/// Decodes a body.
///
/// # Errors
/// Fails with Docker's texts on another content type, on bad JSON and on values of the wrong type.
pub fn decode<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: &Bytes,
    wording: Wording,
) -> Result<T, ApiError> {
    check_content_type(headers, body.is_empty())?;
    if body.is_empty() {
        return Ok(T::default());
    }
    let value = syntax::parse(body, wording)?;
    T::deserialize(Lenient::new(value, wording))
        .map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}")))
}

/// Checks that a body claims to be JSON.
fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<(), ApiError> {
    let header = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(text) = header.filter(|text| !text.is_empty()) else {
        if empty {
            return Ok(());
        }
        let text = "malformed Content-Type header (): mime: no media type";
        return Err(ApiError::bad_request(text));
    };
    let media = text.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "unsupported Content-Type header ({text}): must be 'application/json'"
    )))
}

#[cfg(test)]
mod tests;
