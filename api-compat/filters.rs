//! The `filters` parameter of lists, in both spellings that clients use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skep_core::model::Labels;

use crate::error::ApiError;

/// Values by key. An absent key lets everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads `{"key":{"value":true}}` or `{"key":["value"]}`; nothing is no filter.
    ///
    /// # Errors
    /// Fails on anything else.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let junk = || ApiError::bad_request("invalid filter");
        let value: Value = serde_json::from_str(text).map_err(|_| junk())?;
        let keys = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(keys) => keys,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(junk());
            }
        };
        let mut filters = Self::default();
        for (key, values) in keys {
            let values: Option<BTreeSet<String>> = match values {
                Value::Null => Some(BTreeSet::new()),
                Value::Object(values) => values
                    .into_iter()
                    .map(|(value, on)| (on.is_boolean() || on.is_null()).then_some(value))
                    .collect(),
                Value::Array(values) => {
                    values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            filters.0.insert(key, values.ok_or_else(junk)?);
        }
        Ok(filters)
    }

    /// Refuses keys that a list does not know.
    ///
    /// # Errors
    /// Names the first unknown key.
    pub fn only(self, known: &[&str]) -> Result<Self, ApiError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ApiError::bad_request(format!("invalid filter '{key}'"))),
            None => Ok(self),
        }
    }

    /// Tells whether no key is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether a key is given with a value.
    pub fn contains(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|values| !values.is_empty())
    }

    /// Returns the values of a key.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Adds a value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().insert(value.to_owned());
    }

    /// Takes a key away and returns its values.
    pub fn remove(&mut self, key: &str) -> BTreeSet<String> {
        self.0.remove(key).unwrap_or_default()
    }

    /// Tells whether a key is absent or one of its values passes the test.
    pub fn any(&self, key: &str, mut test: impl FnMut(&str) -> bool) -> bool {
        !self.contains(key) || self.get(key).any(&mut test)
    }

    /// Tells whether a key is absent or names the text.
    pub fn exact(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| value == text)
    }

    /// Tells whether a key is absent or one of its values is a prefix of the text.
    pub fn prefix(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| text.starts_with(value))
    }

    /// Tells whether a name begins as one of the values of `prefixes` or is one of `whole`; case does not matter.
    pub fn names(&self, prefixes: &str, whole: &str, name: &str) -> bool {
        let name = name.to_lowercase();
        self.get(prefixes).any(|prefix| name.starts_with(&prefix.to_lowercase()))
            || self.get(whole).any(|wanted| name == wanted.to_lowercase())
    }

    /// Tells whether the labels have every `k` or `k=v` of a key; an empty `v` asks for `k` alone.
    pub fn labels(&self, key: &str, labels: &Labels) -> bool {
        self.get(key).all(|wanted| {
            let (name, value) = wanted.split_once('=').unwrap_or((wanted, ""));
            labels.get(name).is_some_and(|held| value.is_empty() || held == value)
        })
    }

    /// Writes the filters in the spelling of current clients.
    pub fn to_text(&self) -> String {
        let keys: serde_json::Map<String, Value> = self
            .0
            .iter()
            .map(|(key, values)| {
                let values = values.iter().map(|value| (value.clone(), Value::Bool(true)));
                (key.clone(), Value::Object(values.collect()))
            })
            .collect();
        Value::Object(keys).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_are_read() {
        let maps = Filters::parse(r#"{"label":{"a=b":true},"name":{"x":true,"y":true}}"#);
        let lists = Filters::parse(r#"{"label":["a=b"],"name":["x","y"]}"#);
        assert_eq!(maps, lists);
        let filters = maps.expect("valid");
        assert_eq!(Filters::parse(&filters.to_text()), Ok(filters.clone()));
        assert!(filters.prefix("name", "xyz") && !filters.prefix("name", "zxy"));
        assert!(filters.exact("name", "y") && filters.exact("other", "anything"));
    }

    #[test]
    fn junk_is_refused() {
        for junk in ["broken", "[]", "1", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":{"b":"c"}}"#] {
            let error = Filters::parse(junk).expect_err(junk);
            assert_eq!((error.status.as_u16(), error.message.as_str()), (400, "invalid filter"));
        }
        let error = Filters::parse(r#"{"zzz":["x"]}"#).and_then(|held| held.only(&["id"]));
        assert_eq!(error.expect_err("unknown").message, "invalid filter 'zzz'");
    }

    #[test]
    fn labels_must_all_match() {
        let labels = Labels::from([("a".into(), "1".into()), ("b".into(), String::new())]);
        let check = |text: &str| {
            let mut filters = Filters::default();
            text.split(' ').for_each(|value| filters.add("label", value));
            filters.labels("label", &labels)
        };
        assert!(check("a") && check("a=1") && check("a= b") && check("a=1 b"));
        assert!(!check("a=2") && !check("c") && !check("a c"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}\\[\\]\":,a-z]{0,40}") {
            if let Ok(filters) = Filters::parse(&text) {
                prop_assert_eq!(Filters::parse(&filters.to_text()), Ok(filters));
            }
        }
    }
}
