//! The query part of a request's address. Gives values as Docker's server reads them.

use crate::error::ApiError;
use crate::route::{decode, encode};

/// The parameters of a request, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub fn parse(text: &str) -> Self {
        let part = |piece: &str| decode(&piece.replace('+', " "));
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (part(key), part(value)))
                .collect(),
        )
    }

    /// Refuses percent signs that begin no escape. Only lists are so particular.
    ///
    /// # Errors
    /// Names the first of them.
    pub fn check_escapes(text: &str) -> Result<(), ApiError> {
        let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        let bytes = text.as_bytes();
        let at = (0..bytes.len())
            .find(|&at| bytes[at] == b'%' && !(hex(bytes.get(at + 1)) && hex(bytes.get(at + 2))));
        let Some(at) = at else { return Ok(()) };
        let wrong = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]);
        Err(ApiError::bad_request(format!("invalid URL escape {wrong:?}")))
    }

    /// Replaces a parameter.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.to_owned(), value));
    }

    /// Returns the first value of a parameter; empty when absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// Tells whether a parameter is there, even if empty.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Reads a parameter as most routes do: anything but an empty value and the words for "no" is true.
    pub fn truthy(&self, name: &str) -> bool {
        let value = self.get(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Reads a parameter strictly; absent or empty is false.
    ///
    /// # Errors
    /// Fails on a value that is none of Go's words for a truth value.
    pub fn strict_bool(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(ApiError::bad_request(format!(
                "invalid value for {name}: {other}: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }

    /// As [`Query::strict_bool`], with the shorter text of what rotates keys.
    ///
    /// # Errors
    /// Fails on a value that is none of Go's words for a truth value.
    pub fn rotates(&self, name: &str) -> Result<bool, ApiError> {
        self.strict_bool(name).map_err(|_| {
            let value = self.get(name);
            ApiError::bad_request(format!("invalid value for {name}: {value}"))
        })
    }

    /// Reads the `version` parameter that every update must carry; `kind` is the word of the error's text.
    ///
    /// # Errors
    /// Fails on anything but a number.
    pub fn version(&self, kind: &str) -> Result<u64, ApiError> {
        let text = self.get("version");
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            if let Ok(version) = text.parse() {
                return Ok(version);
            }
            return Err(ApiError::bad_request(format!(
                "invalid {kind} version '{text}': strconv.ParseUint: parsing {text:?}: value out of range"
            )));
        }
        Err(ApiError::bad_request(format!(
            "invalid {kind} version '{text}': strconv.ParseUint: parsing {text:?}: invalid syntax"
        )))
    }

    /// Writes the parameters as part of an address.
    pub fn to_text(&self) -> String {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect();
        pairs.join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("a=b%20c&d&a=x&e=1+2");
        assert_eq!(
            (query.get("a"), query.get("d"), query.get("e"), query.get("f")),
            ("b c", "", "1 2", "")
        );
        assert!(query.contains("d") && !query.contains("f"));
        assert_eq!(Query::parse(&query.to_text()), query);
    }

    #[test]
    fn escapes_must_be_whole() {
        assert_eq!(Query::check_escapes("a=%7B%7d&b=c"), Ok(()));
        for (text, wrong) in [("a=%zz&b", "%zz"), ("a=%2", "%2"), ("%", "%")] {
            let error = Query::check_escapes(text).expect_err(text);
            assert_eq!(error.message, format!("invalid URL escape {wrong:?}"));
        }
    }

    #[test]
    fn truth_is_read_as_by_docker() {
        for no in ["", "0", "no", " False ", "none"] {
            assert!(!Query(vec![("x".into(), no.into())]).truthy("x"), "{no:?}");
        }
        for yes in ["1", "true", "True", "yes", "2"] {
            assert!(Query(vec![("x".into(), yes.into())]).truthy("x"), "{yes:?}");
        }
        assert_eq!(Query::parse("x=T").strict_bool("x"), Ok(true));
        assert!(Query::parse("x=yes").strict_bool("x").is_err());
    }

    #[test]
    fn versions_must_be_numbers() {
        assert_eq!(Query::parse("version=12").version("node"), Ok(12));
        let error = Query::parse("version=x").version("node").expect_err("not a number");
        assert_eq!(error.status.as_u16(), 400);
        assert!(error.message.starts_with("invalid node version 'x': "), "{}", error.message);
    }
}
