//! Decodes request bodies as leniently as Go's encoding/json does, so that what stock clients send is understood.
//!
//! Field names match without regard to case, `null` stands for the zero value of anything, unknown fields are
//! ignored, an empty body is a zero value. Wire structs stay plain serde: `#[serde(default, rename_all =
//! "PascalCase")]`, and no `flatten`, which hides the field names from this decoder.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde_json::Value;

use crate::error::ApiError;

/// Largest body that is decoded. The largest legal one is a config of 1,000 KiB in base64.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Decodes a body.
///
/// # Errors
/// Fails with Docker's texts on another content type, on bad JSON and on values of the wrong type.
pub fn decode<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<T, ApiError> {
    check_content_type(headers, body.is_empty())?;
    if body.is_empty() {
        return Ok(T::default());
    }
    let value = parse(body)?;
    T::deserialize(Lenient { value, path: None })
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

/// Parses one JSON value and nothing after it.
fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("invalid JSON: got EOF while reading request body"));
    }
    let mut source = serde_json::Deserializer::from_slice(body);
    let value = serde::Deserialize::deserialize(&mut source).map_err(|error| {
        ApiError::bad_request(format!("invalid JSON: {}", go_text(&error, body)))
    })?;
    source.end().map_err(|_| ApiError::bad_request("unexpected content after JSON"))?;
    Ok(value)
}

/// Says what keeps a text from being JSON, if anything does.
pub(crate) fn syntax_error(text: &[u8]) -> Option<String> {
    let parsed = serde_json::from_slice::<Value>(text);
    parsed.err().map(|error| go_text(&error, text))
}

/// Says what is wrong with a text that is not JSON in the words of Go's decoder.
fn go_text(error: &serde_json::Error, body: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let found = line.and_then(|line| line.get(error.column().saturating_sub(1)));
    let text = error.to_string();
    let place = if text.starts_with("expected value") {
        "looking for beginning of value"
    } else if text.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if text.starts_with("expected `:`") {
        "after object key"
    } else if text.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if text.starts_with("expected `,` or `]`") {
        "after array element"
    } else {
        return text;
    };
    match found {
        Some(byte) => format!("invalid character '{}' {place}", char::from(*byte)),
        None => text,
    }
}

/// Why a value does not fit.
#[derive(Debug)]
struct Misfit(String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// A value on its way into a wire type, and where in the body it stood.
struct Lenient {
    value: Value,
    /// Outermost struct and the fields down to here; absent at the top.
    path: Option<String>,
}

impl Lenient {
    fn child(&self, value: Value) -> Self {
        Self { value, path: self.path.clone() }
    }

    fn misfit(&self, go_type: &str) -> Misfit {
        let kind = match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if go_type == "string" || go_type == "bool" => {
                let _ = number;
                "number".to_owned()
            }
            Value::Number(number) => format!("number {number}"),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        match &self.path {
            Some(path) => Misfit(format!(
                "json: cannot unmarshal {kind} into Go struct field {path} of type {go_type}"
            )),
            None => {
                Misfit(format!("json: cannot unmarshal {kind} into Go value of type {go_type}"))
            }
        }
    }

    /// Adds the place to an error that a field's own decoder made.
    fn located<T>(path: Option<&str>, result: Result<T, Misfit>) -> Result<T, Misfit> {
        result.map_err(|error| match path {
            Some(path) if !error.0.starts_with("json: ") => Misfit(format!(
                "json: cannot unmarshal string into Go struct field {path} of type {}",
                error.0
            )),
            Some(_) | None => error,
        })
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $kind:ty, $go:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            let number = match &self.value {
                Value::Null => Some(0),
                Value::Number(number) => number
                    .as_i64()
                    .and_then(|held| <$kind>::try_from(held).ok())
                    .or_else(|| number.as_u64().and_then(|held| <$kind>::try_from(held).ok())),
                Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
            };
            match number {
                Some(number) => visitor.$visit(number),
                None => Err(self.misfit($go)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(held) => visitor.visit_bool(held),
            Value::Number(ref number) => {
                match (number.as_u64(), number.as_i64(), number.as_f64()) {
                    (Some(held), _, _) => visitor.visit_u64(held),
                    (None, Some(held), _) => visitor.visit_i64(held),
                    (None, None, Some(held)) => visitor.visit_f64(held),
                    (None, None, None) => Err(self.misfit("float64")),
                }
            }
            Value::String(held) => visitor.visit_string(held),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, "int8";
        deserialize_i16 visit_i16 i16, "int16";
        deserialize_i32 visit_i32 i32, "int32";
        deserialize_i64 visit_i64 i64, "int64";
        deserialize_u8 visit_u8 u8, "uint8";
        deserialize_u16 visit_u16 u16, "uint16";
        deserialize_u32 visit_u32 u32, "uint32";
        deserialize_u64 visit_u64 u64, "uint64";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match (&self.value, self.value.as_f64()) {
            (Value::Null, _) => visitor.visit_f64(0.0),
            (_, Some(held)) => visitor.visit_f64(held),
            (_, None) => Err(self.misfit("float32")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match (&self.value, self.value.as_bool()) {
            (Value::Null, _) => visitor.visit_bool(false),
            (_, Some(held)) => visitor.visit_bool(held),
            (_, None) => Err(self.misfit("bool")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::String(held) => Self::located(self.path.as_deref(), visitor.visit_string(held)),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(self.misfit("string"))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Misfit> {
        let items = match &mut self.value {
            Value::Null => Vec::new(),
            Value::Array(items) => std::mem::take(items),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                return Err(self.misfit("[]string"));
            }
        };
        visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(|item| self.child(item))))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Misfit> {
        let entries = match &mut self.value {
            Value::Null => serde_json::Map::new(),
            Value::Object(entries) => std::mem::take(entries),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(self.misfit("map[string]string"));
            }
        };
        visitor.visit_map(MapDeserializer::new(
            entries.into_iter().map(|(key, value)| (key, self.child(value))),
        ))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let entries = match &mut self.value {
            Value::Null => serde_json::Map::new(),
            Value::Object(entries) => std::mem::take(entries),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(self.misfit(&format!("swarm.{name}")));
            }
        };
        let path = self.path.as_deref().unwrap_or(name);
        // As in Go, the last of several spellings of a field wins.
        let mut known: Vec<(&'static str, Lenient)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let exact = fields.iter().find(|field| **field == key);
            let field = exact.or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(&key)));
            let Some(field) = field.filter(|_| !value.is_null()) else { continue };
            let inner = Lenient { value, path: Some(format!("{path}.{field}")) };
            known.retain(|(held, _)| held != field);
            known.push((field, inner));
        }
        visitor.visit_map(MapDeserializer::new(
            known.into_iter().map(|(field, value)| (Field(field), value)),
        ))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_enum(StrDeserializer::new("")),
            Value::String(held) => visitor.visit_enum(held.into_deserializer()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(self.misfit("string"))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Misfit> for Lenient {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The name of a field that a struct knows.
struct Field(&'static str);

impl<'de> IntoDeserializer<'de, Misfit> for Field {
    type Deserializer = StrDeserializer<'de, Misfit>;

    fn into_deserializer(self) -> Self::Deserializer {
        self.0.into_deserializer()
    }
}

/// Serialises bytes as standard base64, as Go does.
pub mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// Writes base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads base64; line ends in it are ignored.
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<u8>, D::Error> {
        source.deserialize_str(Base64)
    }

    /// Decodes inside the visit, so that the error learns the field's name.
    struct Base64;

    impl Visitor<'_> for Base64 {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("base64")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
            let text: String = text.chars().filter(|letter| !"\r\n".contains(*letter)).collect();
            STANDARD.decode(&text).map_err(|error| {
                let place = match error {
                    base64::DecodeError::InvalidByte(place, _)
                    | base64::DecodeError::InvalidLastSymbol(place, _) => place,
                    base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                        text.len()
                    }
                };
                E::custom(format!("[]uint8: illegal base64 data at input byte {place}"))
            })
        }
    }
}

#[cfg(test)]
mod tests;
