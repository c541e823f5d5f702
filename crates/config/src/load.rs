//! A whole configuration: a file, or a directory of them, read, merged, resolved, desugared, decoded and checked.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::{Diagnostic, Severity};
use tollgate_core::node::{Entry, Node, Source, Span, Value};

use crate::desugar::{ShortForms, desugar};
use crate::diagnose::{Report, place};
use crate::merge::merge;
use crate::model::{self, Config};
use crate::partial::partial;
use crate::read::{LARGEST, Readable, read_on, start_of};
use crate::references::{Environment, redact, resolve};
use crate::{check, later};

/// A configuration that is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says, as types.
    pub config: Config,
    /// What it says, as a tree of long forms; resolved references are marked secret.
    pub tree: Node,
    /// What works, but probably not as meant; in the order of places.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a file, or all `*.yaml` and `*.yml` files of a directory (without its subdirectories) in the order of their
/// names. `env` looks up `${env:NAME}`; `policies` rewrites the short forms of policies.
///
/// # Errors
/// Everything that is wrong with it, in the order of places, along with what can be compiled nevertheless.
pub fn load(path: &Path, env: Environment<'_>, policies: ShortForms<'_>) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let files = match files(path) {
        Ok(files) => files,
        Err(mistake) => return Err(Report::new(&name, vec![mistake])),
    };
    let mut texts = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        match read_text(&file) {
            Ok(text) => texts.push((file.display().to_string(), text)),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    load_all(&name, &texts, env, policies, mistakes)
}

/// What a command needs that asks a gateway which runs with a config: everything else may be wrong, or name secrets that are not at
/// hand here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Where it listens, and its folder.
    Places,
    /// Its API keys, and its folder.
    ApiKeys,
}

impl Part {
    fn wants(self, entry: &Entry) -> bool {
        match entry.key.as_str() {
            "data" => true,
            "listen" => self == Self::Places,
            "auth" => self == Self::ApiKeys,
            _ => false,
        }
    }
}

/// Loads a part of a config, and looks at nothing else.
///
/// # Errors
/// What is wrong with that part, or a file that cannot be read at all.
pub fn load_part(path: &Path, env: Environment<'_>, part: Part) -> Result<Config, Report> {
    let name = path.display().to_string();
    let mut tree = Node::synthetic(Value::Null);
    let mut mistakes = Vec::new();
    for file in files(path).map_err(|mistake| Report::new(&name, vec![mistake]))? {
        let read = read_text(&file).map_err(|mistake| vec![mistake]);
        match read.and_then(|text| read_on(&file.display().to_string(), &text)) {
            Ok(Readable { node, .. }) => match tree.value {
                Value::Null => tree = node,
                _ => mistakes.extend(merge(&mut tree, node, &mut Vec::new()).err()),
            },
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        return Err(Report::new(&name, mistakes));
    }
    if let Value::Map(entries) = &mut tree.value {
        entries.retain(|entry| part.wants(entry));
        // Where nothing is to be listened on, something else stands in its place: nobody looks at it.
        if part == Part::ApiKeys {
            entries.push(Entry::at("listen", Node::synthetic(Value::Int(1))));
        }
        for entry in entries.iter_mut().filter(|entry| entry.key == "auth") {
            if let Value::Map(sources) = &mut entry.value.value {
                sources.retain(|source| source.value.get("api_key").is_some());
            }
        }
    }
    let mut unresolved = Vec::new();
    resolve(&mut tree, env, &mut unresolved);
    desugar(&mut tree, &[]);
    let mut cx = DecodeCx { diagnostics: unresolved };
    let config = model::decode(&tree, &mut cx);
    redact(&tree, &mut cx.diagnostics);
    let is_wrong = cx.diagnostics.iter().any(|found| found.severity == Severity::Error);
    config.filter(|_| !is_wrong).ok_or_else(|| Report::new(&name, cx.diagnostics))
}

/// Loads texts as if they were files of these names, in this order.
///
/// # Errors
/// Like [`load`].
pub fn load_texts(
    name: &str,
    texts: &[(String, String)],
    env: Environment<'_>,
    policies: ShortForms<'_>,
) -> Result<Loaded, Report> {
    load_all(name, texts, env, policies, Vec::new())
}

/// The files from which this was read, with all their text; but for those that say nothing.
#[must_use]
pub fn sources(tree: &Node) -> Vec<Arc<Source>> {
    fn collect(node: &Node, into: &mut Vec<Arc<Source>>) {
        let source = &node.span.source;
        if !source.name.is_empty() && into.iter().all(|known| known.name != source.name) {
            into.push(Arc::clone(source));
        }
        match &node.value {
            Value::Map(entries) => entries.iter().for_each(|entry| collect(&entry.value, into)),
            Value::List(items) => items.iter().for_each(|item| collect(item, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(tree, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Loads a text as if it were the file `name`.
///
/// # Errors
/// Like [`load`].
pub fn load_text(name: &str, text: &str, env: Environment<'_>, policies: ShortForms<'_>) -> Result<Loaded, Report> {
    load_texts(name, &[(name.to_owned(), text.to_owned())], env, policies)
}

fn load_all(
    name: &str,
    texts: &[(String, String)],
    env: Environment<'_>,
    policies: ShortForms<'_>,
    mut mistakes: Vec<Diagnostic>,
) -> Result<Loaded, Report> {
    let mut tree = Node::synthetic(Value::Null);
    let (mut clashes, mut unread) = (Vec::new(), Vec::new());
    for (name, text) in texts {
        match read_on(name, text) {
            Ok(Readable { node, mistakes: found }) => {
                unread.extend(found);
                match tree.value {
                    Value::Null => tree = node,
                    _ => mistakes.extend(merge(&mut tree, node, &mut clashes).err()),
                }
            }
            Err(found) => mistakes.extend(found),
        }
    }
    // A file that cannot be read to its end leaves holes in the tree, about which nothing true could be said.
    if !mistakes.is_empty() {
        mistakes.append(&mut unread);
        mistakes.append(&mut clashes);
        return Err(Report::new(name, mistakes));
    }
    let mut unresolved = unread;
    resolve(&mut tree, env, &mut unresolved);
    desugar(&mut tree, policies);
    let mut cx = DecodeCx { diagnostics: Vec::new() };
    later::refuse(&mut tree, &mut cx);
    let config = model::decode(&tree, &mut cx);
    let mut diagnostics = cx.diagnostics;
    diagnostics.extend(check::check(&tree));
    diagnostics.extend(config.iter().flat_map(check::ways_to_admin));
    diagnostics.extend(config.iter().flat_map(check::signing_in));
    diagnostics.extend(config.iter().flat_map(check::registering));
    diagnostics.extend(config.iter().flat_map(check::tested));
    diagnostics.extend(config.iter().flat_map(check::calling));
    diagnostics.extend(config.iter().flat_map(check::hedging));
    // That a reference which leads nowhere, or a text with a tag, is no duration either goes without saying.
    diagnostics.retain(|found| unresolved.iter().all(|mistake| place(mistake) != place(found)));
    let lost = unresolved.iter().filter_map(place).collect();
    diagnostics.extend(unresolved);
    diagnostics.extend(clashes);
    redact(&tree, &mut diagnostics);
    let report = Report::new(name, diagnostics);
    match config {
        Some(config) if report.diagnostics.iter().all(|d| d.severity == Severity::Warning) => {
            Ok(Loaded { config, tree, warnings: report.diagnostics })
        }
        _ => Err(Report { partial: partial(tree, &lost).map(Box::new), ..report }),
    }
}

/// Whether a file of a directory is one of its config, going by its name.
#[must_use]
pub fn is_read(file: &Path) -> bool {
    let is_yaml = file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
    let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    is_yaml && !is_hidden
}

/// The files to read, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let cannot = |error: &std::io::Error| Diagnostic::error(format!("cannot read `{}`: {error}", path.display()));
    let meta = fs::metadata(path).map_err(|error| {
        cannot(&error).hint("say which file or directory with `-c`; the default is `./tollgate.yaml`")
    })?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| cannot(&error))? {
        let file = entry.map_err(|error| cannot(&error))?.path();
        if is_read(&file) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        let mistake = Diagnostic::error(format!("no `*.yaml` or `*.yml` file in `{}`", path.display()));
        return Err(mistake.hint("files in subdirectories are not read"));
    }
    Ok(files)
}

fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let cannot = |why: &str| Diagnostic::error(format!("cannot read `{}`: {why}", path.display()));
    let mut bytes = Vec::new();
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let file = File::open(path).map_err(|error| cannot(&error.to_string()))?;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| cannot(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        let source = Arc::new(Source { name: path.display().to_string(), text });
        Diagnostic::error("this is not UTF-8").at(&end_of(&source)).hint("save the file as UTF-8")
    })
}

/// The last place of a file.
fn end_of(source: &Arc<Source>) -> Span {
    let text = &source.text;
    let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
    Span {
        start: text.len(),
        end: text.len(),
        line: text.matches('\n').count() + 1,
        column: text[line_start..].chars().count() + 1,
        ..start_of(source)
    }
}
