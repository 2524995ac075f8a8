//! `/services`: not served yet.

use std::future::{Ready, ready};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// Answers `GET /services`.
pub fn list(_call: Call) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("services are not served yet")))
}

/// Answers `POST /services/create`.
pub fn create(_call: Call) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("services are not served yet")))
}

/// Answers `GET /services/{id}`.
pub fn inspect(_call: Call, _reference: &str) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("services are not served yet")))
}

/// Answers `POST /services/{id}/update`.
pub fn update(_call: Call, _reference: &str) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("services are not served yet")))
}

/// Answers `DELETE /services/{id}`.
pub fn remove(_call: Call, _reference: &str) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("services are not served yet")))
}

/// Answers `GET /services/{id}/logs`.
pub fn logs(_call: Call, _reference: &str) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("services are not served yet")))
}
