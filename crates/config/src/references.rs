//! `${env:NAME}` and `${file:/path}`: values that stand elsewhere, secrets above all. Resolved after parsing, so
//! that no value can change the structure, and in values only.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{MASK, Node, Value};

/// The largest file that a value may stand in.
const LARGEST: u64 = 1024 * 1024;

/// How references are looked up.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Puts the values in place of their references; what cannot be found is reported, and stays as it is.
pub(crate) fn resolve(node: &mut Node, env: Environment<'_>, mistakes: &mut Vec<Diagnostic>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| resolve(item, env, mistakes)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| resolve(&mut entry.value, env, mistakes)),
        Value::String(text) if text.contains("${") => match look_up(text, env) {
            Ok(Found::Secret(value)) => {
                node.value = Value::String(value);
                node.secret = true;
            }
            Ok(Found::Text(value)) => node.value = Value::String(value),
            Err(mistake) => mistakes.push(mistake.at(&node.span)),
        },
        _ => {}
    }
}

enum Found {
    /// What a reference leads to.
    Secret(String),
    /// No reference: the text, with `$${` read as `${`.
    Text(String),
}

fn look_up(text: &str, env: Environment<'_>) -> Result<Found, Diagnostic> {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).filter(|inner| !inner.contains('}'));
    let Some(reference) = inner else { return no_reference(text) };
    match reference.split_once(':') {
        Some(("env", name)) => env(name).map(Found::Secret).ok_or_else(|| {
            Diagnostic::error(format!("the environment variable `{name}` is not set"))
                .hint(format!("start Tollgate with `{name}=…`"))
        }),
        Some(("file", path)) => read_file(path).map(Found::Secret),
        _ => Err(Diagnostic::error(format!("`{text}` is no reference"))
            .hint("`${env:NAME}` or `${file:/path}`; `$${` stands for the characters `${`")),
    }
}

/// A reference inside a longer text would be easy to overlook, so it is refused.
fn no_reference(text: &str) -> Result<Found, Diagnostic> {
    let unescaped = text.replace("$${", "");
    if unescaped.contains("${env:") || unescaped.contains("${file:") {
        return Err(Diagnostic::error("a reference must be the whole value")
            .hint("put the whole value into the variable or file; `$${` stands for the characters `${`"));
    }
    Ok(Found::Text(text.replace("$${", "${")))
}

fn read_file(path: &str) -> Result<String, Diagnostic> {
    if !path.starts_with('/') {
        return Err(Diagnostic::error(format!("`{path}` is no absolute path")).hint("`${file:/run/secrets/name}`"));
    }
    let cannot = |why: &str| Diagnostic::error(format!("cannot read `{path}`: {why}"));
    let file = File::open(Path::new(path)).map_err(|error| cannot(&error.to_string()))?;
    // A pipe or device could keep us waiting for ever.
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(cannot("it is no regular file"));
    }
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| cannot(&error.to_string()))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LARGEST {
        return Err(cannot("it is larger than 1 MiB"));
    }
    let trimmed = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).map(str::len);
    text.truncate(trimmed.unwrap_or(text.len()));
    Ok(text)
}

/// Takes every resolved value out of messages that may have quoted it; short ones too, even if that garbles a message.
pub fn redact(tree: &Node, diagnostics: &mut [Diagnostic]) {
    let secrets = secrets(tree);
    for diagnostic in diagnostics {
        diagnostic.message = masked(&diagnostic.message, &secrets);
        diagnostic.hint = diagnostic.hint.take().map(|hint| masked(&hint, &secrets));
    }
}

/// A text without any resolved value, as [`redact`] does it.
#[must_use]
pub fn redact_text(tree: &Node, text: &str) -> String {
    masked(text, &secrets(tree))
}

fn masked(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
}

/// Every resolved value, also as it reads where case does not matter (hosts); long ones first, in case one is a part
/// of another.
fn secrets(tree: &Node) -> Vec<String> {
    let mut found = Vec::new();
    collect(tree, &mut found);
    let mut secrets: Vec<String> = found.iter().map(|text| text.to_ascii_lowercase()).collect();
    secrets.extend(found.into_iter().map(str::to_owned));
    secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
    secrets
}

fn collect<'n>(node: &'n Node, secrets: &mut Vec<&'n str>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect(item, secrets)),
        Value::Map(entries) => entries.iter().for_each(|entry| collect(&entry.value, secrets)),
        Value::String(text) if node.secret && !text.is_empty() => secrets.push(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<Node, String> {
        let mut node = Node::synthetic(text.into());
        let mut mistakes = Vec::new();
        resolve(&mut node, &|name| (name == "TOKEN").then(|| "s3cret".to_owned()), &mut mistakes);
        mistakes.pop().map_or(Ok(node), |mistake| Err(mistake.message))
    }

    #[test]
    fn a_resolved_value_is_never_shown() {
        let node = resolved("${env:TOKEN}").unwrap();
        assert_eq!(node.text(), Some("s3cret"));
        assert_eq!(format!("{node:?}"), "***");
        let mut mistakes = [Diagnostic::error("`s3cret` is no duration")];
        redact(&node, &mut mistakes);
        assert_eq!(mistakes[0].message, "`***` is no duration");
        assert_eq!(redact_text(&node, "Host: s3cret"), "Host: ***");
    }

    #[test]
    fn only_whole_values_are_references() {
        assert!(resolved("Bearer ${env:TOKEN}").is_err_and(|m| m.contains("whole value")));
        assert!(resolved("${env:MISSING}").is_err_and(|m| m.contains("`MISSING` is not set")));
        assert!(resolved("${vault:x}").is_err_and(|m| m.contains("is no reference")));
        assert_eq!(resolved("$${env:TOKEN}").unwrap().text(), Some("${env:TOKEN}"));
        assert_eq!(resolved("a ${b} c").unwrap().text(), Some("a ${b} c"));
    }

    #[test]
    fn files_lose_the_newline_at_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "a b\n").unwrap();
        let reference = |path: &Path| format!("${{file:{}}}", path.display());
        assert_eq!(resolved(&reference(&path)).unwrap().text(), Some("a b"));
        std::fs::write(&path, "x".repeat(1024 * 1024 + 1)).unwrap();
        assert!(resolved(&reference(&path)).is_err_and(|m| m.contains("larger than 1 MiB")));
        assert!(resolved(&reference(dir.path())).is_err_and(|m| m.contains("no regular file")));
        assert!(resolved("${file:x}").is_err_and(|m| m.contains("no absolute path")));
    }
}
