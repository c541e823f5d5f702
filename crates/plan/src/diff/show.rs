//! A difference for people.

use std::fmt;

use serde_json::Value;
use tollgate_core::node::MASK;

use super::{Detail, Diff, Fate, Section, is_secret};

/// Most characters of a value that are shown.
const MOST: usize = 80;

impl Section {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Routes => "routes",
            Self::Apis => "apis",
            Self::Defaults => "defaults",
            Self::Services => "services",
            Self::Settings => "settings",
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return f.write_str("nothing changes\n");
        }
        let mut section = None;
        for change in &self.changes {
            if section != Some(change.section) {
                section = Some(change.section);
                writeln!(f, "{}", change.section.as_str())?;
            }
            let name = if change.name.is_empty() { "(all)" } else { &change.name };
            match &change.fate {
                Fate::Added(says) => writeln!(f, "  + {name}  {says}")?,
                Fate::Removed => writeln!(f, "  - {name}")?,
                Fate::Changed(details) => {
                    writeln!(f, "  ~ {name}")?;
                    details.iter().try_for_each(|detail| writeln!(f, "      {detail}"))?;
                }
            }
            if let Some(effect) = &change.effect {
                writeln!(f, "      ({effect})")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before == after && before == MASK => write!(f, "{path}another secret"),
            (Some(before), Some(after)) => write!(f, "{path}{before} -> {after}"),
            (Some(before), None) => write!(f, "{path}without {before}"),
            (None, Some(after)) => write!(f, "{path}with {after}"),
            (None, None) => f.write_str(&path),
        }
    }
}

/// A value on one line, as it might be written.
pub(super) fn in_short(value: &Value) -> String {
    let text = written(value);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn written(value: &Value) -> String {
    match value {
        value if is_secret(value) => MASK.to_owned(),
        Value::Null => "null".to_owned(),
        Value::String(text) if text.contains('\n') => format!("{text:?}"),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key}: {}", written(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
