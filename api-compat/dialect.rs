//! What engines before API 1.42 say differently about bad requests. Knows no route.

use http::StatusCode;

use crate::backend::EngineVersion;
use crate::error::ApiError;
use crate::json;

/// First API version of engines that speak as the rest of this crate does.
const CURRENT_SINCE: (u32, u32) = (1, 42);

/// Tells whether clients of this engine know the older texts.
pub fn is_old(engine: &EngineVersion) -> bool {
    engine.api_max < CURRENT_SINCE
}

/// Puts an error as the engine's own routes would; `filters` is what the request asked to filter by.
pub fn translate(error: ApiError, engine: &EngineVersion, filters: &str) -> ApiError {
    if !is_old(engine) {
        return error;
    }
    if let Some(rest) = error.message.strip_prefix("invalid JSON: ") {
        return ApiError { message: rest.to_owned(), ..error };
    }
    if error.message == "invalid filter"
        && let Some(text) = json::syntax_error(filters.as_bytes())
    {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    match error.message.strip_prefix("invalid filter '") {
        Some(rest) => ApiError { message: format!("Invalid filter '{rest}"), ..error },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_engines_have_their_own_texts() {
        let engine = |minor| EngineVersion {
            engine: String::new(),
            api_max: (1, minor),
            api_min: (1, 24),
            experimental: false,
        };
        for (text, old) in [
            ("invalid filter 'x'", "Invalid filter 'x'"),
            ("invalid filter", "invalid character 'b' looking for beginning of value"),
            ("invalid JSON: unexpected EOF", "unexpected EOF"),
            ("node x not found", "node x not found"),
        ] {
            let error = ApiError::bad_request(text);
            assert_eq!(translate(error.clone(), &engine(41), "broken").message, old);
            assert_eq!(translate(error, &engine(51), "broken").message, text);
        }
    }
}
