//! A deserialiser that reads a JSON value as Go's encoding/json would. Knows no type of the API.

use std::fmt;
use std::rc::Rc;

use serde::Deserialize as _;
use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde_json::Value;

use super::Wording;
use super::base64_bytes::{BYTES, decode};
use super::place::{Place, Step, mismatch, struct_type};

/// Why a value does not fit.
#[derive(Debug)]
pub(super) struct Misfit(String);

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
pub(super) struct Lenient {
    value: Value,
    place: Option<Rc<Place>>,
    wording: Wording,
}

impl Lenient {
    /// Takes a whole body.
    pub(super) fn new(value: Value, wording: Wording) -> Self {
        Self { value, place: None, wording }
    }

    fn child(&self, value: Value, step: Step) -> Self {
        let place = Some(Place::below(self.place.as_ref(), step));
        Self { value, place, wording: self.wording }
    }

    /// Says that the value is of another type. Only integers are told with their digits.
    fn misfit(&self, go_type: &str) -> Misfit {
        let integer = go_type.starts_with("int") || go_type.starts_with("uint");
        let number;
        let kind = match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(held) if integer => {
                number = format!("number {held}");
                &number
            }
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Misfit(mismatch(self.place.as_deref(), kind, go_type, self.wording))
    }

    /// Reads bytes: base64, or a list of numbers.
    fn bytes(mut self) -> Result<Vec<u8>, Misfit> {
        match &mut self.value {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => decode(text).map_err(|reason| match self.wording {
                Wording::Old => Misfit(reason),
                Wording::Current => Misfit(format!("{}: {reason}", self.misfit(BYTES))),
            }),
            Value::Array(items) => {
                let items = std::mem::take(items).into_iter().enumerate();
                items.map(|(at, item)| u8::deserialize(self.child(item, Step::Item(at)))).collect()
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(self.misfit(BYTES)),
        }
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
            Value::String(held) => visitor.visit_string(held),
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
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if name == BYTES {
            visitor.visit_byte_buf(self.bytes()?)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Misfit> {
        let items = match &mut self.value {
            Value::Null => Vec::new(),
            Value::Array(items) => std::mem::take(items),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                return Err(self.misfit("[]string"));
            }
        };
        let items = items.into_iter().enumerate();
        visitor.visit_seq(SeqDeserializer::new(
            items.map(|(at, item)| self.child(item, Step::Item(at))),
        ))
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
            entries
                .into_iter()
                .map(|(key, value)| (key.clone(), self.child(value, Step::Key(key)))),
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
                return Err(self.misfit(&struct_type(name, self.wording)));
            }
        };
        // As in Go, the last of several spellings of a field wins.
        let mut known: Vec<(&'static str, Lenient)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let exact = fields.iter().find(|field| **field == key);
            let field = exact.or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(&key)));
            let Some(field) = field.filter(|_| !value.is_null()) else { continue };
            let inner = self.child(value, Step::Field { owner: name, name: field });
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
