//! `/tasks`: not served yet.

use std::future::{Ready, ready};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// Answers `GET /tasks`.
pub fn list(_call: Call) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("tasks are not served yet")))
}

/// Answers `GET /tasks/{id}`.
pub fn inspect(_call: Call, _reference: &str) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("tasks are not served yet")))
}

/// Answers `GET /tasks/{id}/logs`.
pub fn logs(_call: Call, _reference: &str) -> Ready<Reply> {
    ready(Err(ApiError::unsupported("tasks are not served yet")))
}
