//! YAML into plain values, for the case files. Their own reader: what is tested does not read its own tests.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The first document of `text`.
///
/// # Errors
/// Where the text is no YAML, a key is no text, or an anchor is used.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut events = Parser::new_from_str(text).filter_map(|event| match event {
        Ok((Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _)) => None,
        Ok((event, span)) => Some(Ok((event, span.start.line()))),
        Err(error) => Some(Err(error.to_string())),
    });
    value(&mut events)
}

type Item<'e> = Result<(Event<'e>, usize), String>;

fn value<'e>(events: &mut dyn Iterator<Item = Item<'e>>) -> Result<Value, String> {
    let (event, line) = events.next().ok_or("the text ends too early")??;
    inner(event, line, events)
}

fn inner<'e>(event: Event<'e>, line: usize, events: &mut dyn Iterator<Item = Item<'e>>) -> Result<Value, String> {
    match event {
        Event::Scalar(text, style, ..) => Ok(scalar(&text, style)),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match events.next().ok_or("the list does not end")?? {
                    (Event::SequenceEnd, _) => return Ok(Value::Array(list)),
                    (event, line) => list.push(inner(event, line, events)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            loop {
                let (key, line) = match events.next().ok_or("the mapping does not end")?? {
                    (Event::MappingEnd, _) => return Ok(Value::Object(map)),
                    (Event::Scalar(text, ..), line) => (text.into_owned(), line),
                    (other, line) => return Err(format!("line {line}: a key cannot be {other:?}")),
                };
                if map.insert(key.clone(), value(events)?).is_some() {
                    return Err(format!("line {line}: `{key}` is there twice"));
                }
            }
        }
        other => Err(format!("line {line}: {other:?} is not used in case files")),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => {
            let number = match text.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(digits, 16),
                None => text.parse::<i64>(),
            };
            number.map_or_else(|_| text.into(), Into::into)
        }
    }
}
