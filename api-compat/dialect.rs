//! What engines before API 1.42 say differently about bad requests, and what they do not show.

use http::StatusCode;
use serde_json::Value;

use crate::backend::EngineVersion;
use crate::error::ApiError;
use crate::json::{self, Wording};
use crate::route::Route;
use crate::wire::service::TaskSpec;

/// First API version of engines that speak as the rest of this crate does.
const CURRENT_SINCE: (u32, u32) = (1, 42);

/// First API version whose services show whether processes may gain privileges.
const NO_NEW_PRIVILEGES_SINCE: (u32, u32) = (1, 44);

/// Tells whether clients of this engine know the older texts.
pub fn is_old(engine: &EngineVersion) -> bool {
    engine.api_max < CURRENT_SINCE
}

/// Returns whose words tell clients of this engine what is wrong with a body.
pub fn wording(engine: &EngineVersion) -> Wording {
    if is_old(engine) { Wording::Old } else { Wording::Current }
}

/// Puts an error as the engine's own routes would; `filters` is what the request asked to filter by.
pub fn translate(
    error: ApiError,
    engine: &EngineVersion,
    route: &Route,
    filters: &str,
) -> ApiError {
    if !is_old(engine) {
        return error;
    }
    if let Some(rest) = error.message.strip_prefix("invalid JSON: ") {
        return ApiError { message: rest.to_owned(), ..error };
    }
    if error.message == "invalid filter" {
        // The list of services alone takes it for the client's mistake.
        let status = if *route == Route::ServiceList {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        return ApiError::new(status, junk_filters(filters));
    }
    match error.message.strip_prefix("invalid filter '") {
        Some(rest) => ApiError { message: format!("Invalid filter '{rest}"), ..error },
        None => error,
    }
}

/// Says what is wrong with filters as Go's decoder says it of a map of maps of truth values.
fn junk_filters(text: &str) -> String {
    let into = |value: &Value, go_type: &str| {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        format!("json: cannot unmarshal {kind} into Go value of type {go_type}")
    };
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(_) => return json::syntax_error(text.as_bytes()).unwrap_or_default(),
    };
    let Some(keys) = value.as_object() else { return into(&value, "map[string]map[string]bool") };
    for values in keys.values() {
        let Some(values) = values.as_object() else { return into(values, "map[string]bool") };
        if let Some(other) = values.values().find(|on| !on.is_boolean() && !on.is_null()) {
            return into(other, "bool");
        }
    }
    "invalid filter".to_owned()
}

/// Tells whether engines of this version show less of a service.
pub fn trims(engine: &EngineVersion) -> bool {
    engine.api_max < NO_NEW_PRIVILEGES_SINCE
}

/// Takes from a task's template what engines of this version do not show.
pub fn trim(engine: &EngineVersion, task: &mut TaskSpec) {
    let privileges = task.container_spec.as_mut().and_then(|spec| spec.privileges.as_mut());
    if let Some(privileges) = privileges.filter(|_| trims(engine)) {
        privileges.no_new_privileges = None;
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
            let route = Route::NodeList;
            assert_eq!(translate(error.clone(), &engine(41), &route, "broken").message, old);
            assert_eq!(translate(error, &engine(51), &route, "broken").message, text);
        }
        let junk = |route: Route, filters: &str| {
            let error = ApiError::bad_request("invalid filter");
            let told = translate(error, &engine(41), &route, filters);
            (told.status.as_u16(), told.message)
        };
        let into = |kind: &str, go_type: &str| {
            format!("json: cannot unmarshal {kind} into Go value of type {go_type}")
        };
        assert_eq!(
            junk(Route::ServiceList, "[]"),
            (400, into("array", "map[string]map[string]bool"))
        );
        assert_eq!(junk(Route::TaskList, r#"{"a":1}"#), (500, into("number", "map[string]bool")));
        assert_eq!(junk(Route::TaskList, r#"{"a":[1]}"#), (500, into("array", "map[string]bool")));
        assert_eq!(junk(Route::TaskList, r#"{"a":{"b":1}}"#), (500, into("number", "bool")));
    }
}
