//! Bytes in JSON: standard base64, as Go writes them. On reading, a list of numbers will do as well.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Tells the lenient decoder that bytes are wanted.
pub(super) const BYTES: &str = "[]uint8";

/// Writes base64.
///
/// # Errors
/// Fails as the serialiser does.
pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

/// Reads base64; line ends in it are ignored.
///
/// # Errors
/// Fails on anything else.
pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<u8>, D::Error> {
    source.deserialize_newtype_struct(BYTES, Bytes)
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("base64")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<Vec<u8>, D::Error> {
        source.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        decode(text).map_err(E::custom)
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

/// Decodes base64, or says in Go's words where it goes wrong.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.chars().filter(|letter| !"\r\n".contains(*letter)).collect();
    STANDARD.decode(&text).map_err(|error| {
        let place = match error {
            base64::DecodeError::InvalidByte(place, _)
            | base64::DecodeError::InvalidLastSymbol(place, _) => place,
            // Go points at the beginning of a group that ends early, or behind a padding that is too short.
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                if text.ends_with('=') { text.len() } else { text.len() - text.len() % 4 }
            }
        };
        format!("illegal base64 data at input byte {place}")
    })
}
