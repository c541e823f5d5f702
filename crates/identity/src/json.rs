//! JSON of strangers: without repeated members, which two readers may read differently (RFC 8259 §4), and not deeper than it must
//! be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::checks::{Check, on};

/// How deep tokens and keys go: claims of claims, and a little more.
const DEEPEST: usize = 12;

/// Reads an object.
///
/// # Errors
/// What is wrong, in words for our log.
pub fn object(text: &[u8]) -> Result<Map<String, Value>, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict(DEEPEST).deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("no object".to_owned()),
    }
}

/// Reads a value that goes so deep at most.
#[derive(Clone, Copy)]
struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl Strict {
    fn below<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom(format!("deeper than {DEEPEST} levels")))
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let (below, mut list) = (self.below()?, Vec::new());
        while let Some(value) = from.next_element_seed(below)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let (below, mut map) = (self.below()?, Map::new());
        while let Some(name) = from.next_key::<String>()? {
            if on(Check::JsonTwice) && map.contains_key(&name) {
                // Its name is a stranger's text, and the log is ours.
                return Err(A::Error::custom("a member stands twice"));
            }
            let value = from.next_value_seed(below)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_read_in_two_ways_is_not_read() {
        assert!(object(br#"{"a":1,"b":{"a":[1,2.5,-3,null,true,"x"]}}"#).is_ok());
        for text in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"sub":"a","\u0073ub":"b"}"#,
            r#"{"a":1} x"#,
            r#"[1]"#,
            r#""a""#,
            "",
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(nested(DEEPEST - 1).as_bytes()).is_ok());
        assert!(object(nested(DEEPEST).as_bytes()).unwrap_err().contains("deeper than 12 levels"));
        assert!(object(nested(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_what_others_read(text in r#"[\{\}\[\]",:a-c0-9 \\u]{0,60}"#) {
            if let Ok(read) = object(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), Value::Object(read));
            }
        }
    }
}
