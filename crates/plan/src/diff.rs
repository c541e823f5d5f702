//! What another config would change, in words for people: of two trees of long forms, as JSON.
//!
//! Pure: nothing is compiled or asked. What is disturbed by a change follows from which keys change, by the same rules as a reload
//! has them. Order means nothing, but in lists.

mod show;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use tollgate_core::node::MASK;

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// One after the other, by section.
    pub changes: Vec<Change>,
}

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which section of the config.
    pub section: Section,
    /// Its name there: a route's key, a service's name, an address; empty for sections that are one thing.
    pub name: String,
    /// What becomes of it.
    pub fate: Fate,
    /// What that means for what is on its way, if anything.
    pub effect: Option<String>,
}

/// Sections, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `listen`.
    Listeners,
    /// `routes`, and those of `apis`.
    Routes,
    /// What else `apis` say.
    Apis,
    /// `defaults`, and those of `apis`.
    Defaults,
    /// `services`.
    Services,
    /// Everything else.
    Settings,
}

/// What becomes of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new; what it says in short.
    Added(String),
    /// It is no more.
    Removed,
    /// It says something else.
    Changed(Vec<Detail>),
}

/// One setting that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Which: `keep_alive.idle`.
    pub path: String,
    /// What it said; `None`: it was not written.
    pub before: Option<String>,
    /// What it will say; `None`: it is not written any more.
    pub after: Option<String>,
}

/// A value that came from a reference, for [`diff`]: compared, and never shown.
#[must_use]
pub fn secret(value: Value) -> Value {
    json!({ MASK: value })
}

/// What changes from one config to another, both in long forms. Secrets are marked by [`secret`], or masked by those who do not
/// tell them: then nothing is known of them, and no change is seen.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Diff {
    let mut diff = Diff { changes: Vec::new() };
    let drain = after.pointer("/drain/time").and_then(Value::as_str).unwrap_or("30s").to_owned();
    diff.listeners(before, after, &drain);
    diff.routes("", before, after, &drain);
    diff.defaults("", before, after);
    diff.apis(before, after, &drain);
    diff.services(before, after);
    diff.settings(before, after);
    diff.changes.sort_by_key(|change| change.section);
    diff
}

const SECTIONS: [&str; 5] = ["listen", "routes", "apis", "defaults", "services"];

impl Diff {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let details = |details: &[Detail]| -> Vec<Value> {
            let one = |d: &Detail| json!({ "path": d.path, "before": d.before, "after": d.after });
            details.iter().map(one).collect()
        };
        let change = |change: &Change| {
            let (fate, details) = match &change.fate {
                Fate::Added(_) => ("added", Vec::new()),
                Fate::Removed => ("removed", Vec::new()),
                Fate::Changed(changed) => ("changed", details(changed)),
            };
            json!({
                "section": change.section.as_str(),
                "name": change.name,
                "change": fate,
                "details": details,
                "effect": change.effect,
            })
        };
        json!({ "changes": self.changes.iter().map(change).collect::<Vec<_>>() })
    }

    fn add(&mut self, section: Section, name: &str, fate: Fate, effect: Option<String>) {
        self.changes.push(Change { section, name: name.to_owned(), fate, effect });
    }

    /// All entries of two mappings: `effect` of what becomes of each.
    fn entries(
        &mut self,
        section: Section,
        [before, after]: [Option<&Value>; 2],
        effect: impl Fn(&str, &Fate, [Option<&Value>; 2]) -> Option<String>,
    ) {
        for name in keys(before, after) {
            let [was, is] = [before, after].map(|of| of.and_then(|of| of.get(name)));
            if let Some(fate) = fate(was, is) {
                let effect = effect(name, &fate, [was, is]);
                self.add(section, name, fate, effect);
            }
        }
    }

    fn listeners(&mut self, before: &Value, after: &Value, drain: &str) {
        self.entries(Section::Listeners, [before.get("listen"), after.get("listen")], |_, fate, _| match fate {
            Fate::Added(_) => None,
            Fate::Removed => Some(format!(
                "takes no more; connections end with their next answer, and after {drain} the rest is cut"
            )),
            Fate::Changed(_) => Some("holds for new connections".to_owned()),
        });
    }

    /// The routes of an api; `api` is what stands before their names.
    fn routes(&mut self, api: &str, before: &Value, after: &Value, drain: &str) {
        let [before, after] = [before, after].map(variants);
        let names = before.iter().chain(&after).map(|(name, _)| name);
        for name in distinct(names) {
            let [was, is] =
                [&before, &after].map(|of| of.iter().find(|(known, _)| known == name).map(|(_, says)| *says));
            let Some(fate) = fate(was, is) else { continue };
            let effect = match &fate {
                Fate::Removed => Some(format!("what is on its way there has {drain} to end")),
                Fate::Added(_) | Fate::Changed(_) => None,
            };
            self.add(Section::Routes, &format!("{api}{name}"), fate, effect);
        }
    }

    fn defaults(&mut self, api: &str, before: &Value, after: &Value) {
        let Some(Fate::Changed(details)) = fate_of_section(before.get("defaults"), after.get("defaults")) else {
            return;
        };
        let effect = "holds for every route that does not say otherwise".to_owned();
        self.add(Section::Defaults, api.trim_end_matches(": "), Fate::Changed(details), Some(effect));
    }

    fn apis(&mut self, before: &Value, after: &Value, drain: &str) {
        let none = json!({});
        let [before, after] = [before, after].map(|of| of.get("apis").unwrap_or(&none));
        for name in keys(Some(before), Some(after)) {
            let [was, is] = [before, after].map(|of| of.get(name).unwrap_or(&none));
            let api = format!("{name}: ");
            self.routes(&api, was, is, drain);
            self.defaults(&api, was, is);
            let rest = |of: &Value| without(of, &["routes", "defaults"]);
            if let Some(Fate::Changed(details)) = fate_of_section(Some(&rest(was)), Some(&rest(is))) {
                self.add(Section::Apis, name, Fate::Changed(details), None);
            }
        }
    }

    fn services(&mut self, before: &Value, after: &Value) {
        let heads = |of: &Value| ["target", "head", "fields"].map(|key| of.pointer(&format!("/limits/{key}")).cloned());
        let all_afresh = heads(before) != heads(after);
        self.entries(
            Section::Services,
            [before.get("services"), after.get("services")],
            |_, fate, [_, is]| match fate {
                Fate::Added(_) => None,
                Fate::Removed => Some("its connections close after their last request".to_owned()),
                Fate::Changed(details) => {
                    let is_checked = is.is_some_and(|is| is.get("health").is_some());
                    let afresh = all_afresh || details.iter().any(|detail| makes_afresh(&detail.path, is_checked));
                    Some(if afresh { AFRESH } else { KEPT }.to_owned())
                }
            },
        );
    }

    /// Everything that is one thing.
    fn settings(&mut self, before: &Value, after: &Value) {
        let [before, after] = [before, after].map(|of| without(of, &SECTIONS));
        for name in keys(Some(&before), Some(&after)) {
            let Some(Fate::Changed(details)) = fate_of_section(before.get(name), after.get(name)) else { continue };
            let has = |keys: &[&str]| details.iter().any(|detail| keys.contains(&detail.path.as_str()));
            let is_of = |key: &str| details.iter().any(|detail| detail.path.split('.').next() == Some(key));
            let effect = match name.as_str() {
                "workers" => {
                    Some("sockets go over to the workers that stay; what the others carry comes to its own end")
                }
                "limits" if has(&["target", "head", "fields"]) => Some(ALL_AFRESH),
                "dns" => Some("all names are looked up anew"),
                "log" if is_of("access") => Some("another access log is begun, the one before is written to its end"),
                "tests" => Some("has no effect on requests"),
                _ => None,
            };
            self.add(Section::Settings, name, Fate::Changed(details), effect.map(str::to_owned));
        }
    }
}

const AFRESH: &str =
    "starts afresh: new connections, health and ejections begin anew; the old ones close after their last request";
const ALL_AFRESH: &str = "all services start afresh: new connections, health and ejections begin anew";
const KEPT: &str = "keeps its connections, and what is known of the health of its instances";

/// Whether a service whose setting of this path changes is made anew: what only its list of instances, or requests, depend on
/// does not count.
fn makes_afresh(path: &str, is_checked: bool) -> bool {
    match path.split(['.', '[']).next().unwrap_or_default() {
        "to" | "try_timeout" | "fallback" => false,
        "retry" => matches!(path, "retry" | "retry.budget" | "retry.min"),
        // Checks ask for it, too.
        "host" => is_checked,
        _ => true,
    }
}

/// The routes of a section, variants under one key as routes of their own.
fn variants(owner: &Value) -> Vec<(String, &Value)> {
    let routes = owner.get("routes").and_then(Value::as_object);
    let mut all = Vec::new();
    for (key, says) in routes.into_iter().flatten() {
        match says {
            Value::Array(variants) => {
                let name = |at: usize, variant: &Value| match variant.get("name").and_then(Value::as_str) {
                    Some(name) => format!("{key} ({name})"),
                    None if at == 0 => key.clone(),
                    None => format!("{key} #{}", at + 1),
                };
                all.extend(variants.iter().enumerate().map(|(at, variant)| (name(at, variant), variant)));
            }
            says => all.push((key.clone(), says)),
        }
    }
    all
}

fn distinct<'v>(names: impl Iterator<Item = &'v String>) -> Vec<&'v String> {
    let mut seen = std::collections::HashSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

/// The keys of both mappings, those of the first one first.
fn keys<'v>(before: Option<&'v Value>, after: Option<&'v Value>) -> Vec<&'v String> {
    distinct([before, after].into_iter().flatten().filter_map(Value::as_object).flat_map(Map::keys))
}

fn without(of: &Value, keys: &[&str]) -> Value {
    let kept = of.as_object().into_iter().flatten().filter(|(key, _)| !keys.contains(&key.as_str()));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// What becomes of a thing; `None`: nothing.
fn fate(before: Option<&Value>, after: Option<&Value>) -> Option<Fate> {
    match (before, after) {
        (None, None) => None,
        (None, Some(is)) => Some(Fate::Added(show::in_short(is))),
        (Some(_), None) => Some(Fate::Removed),
        (Some(_), Some(_)) => fate_of_section(before, after),
    }
}

/// The same for what is there even if nothing is written.
fn fate_of_section(before: Option<&Value>, after: Option<&Value>) -> Option<Fate> {
    let mut details = Vec::new();
    compare("", before, after, &mut details);
    (!details.is_empty()).then_some(Fate::Changed(details))
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, details: &mut Vec<Detail>) {
    let is_mapping = |of: &Value| of.is_object() && !is_secret(of);
    match (before, after) {
        (None, None) => {}
        (Some(was), Some(is)) if is_same(was, is) => {}
        // One that is empty may mean something by being there.
        (was, is) if was.is_none_or(is_mapping) && is.is_none_or(is_mapping) && !keys(was, is).is_empty() => {
            for key in keys(was, is) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, was.and_then(|of| of.get(key)), is.and_then(|of| of.get(key)), details);
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) => compare_lists(path, was, is, details),
        (was, is) => {
            let [before, after] = [was, is].map(|of| of.map(show::in_short));
            details.push(Detail { path: path.to_owned(), before, after });
        }
    }
}

/// Lists of the same length item by item; others by what is there no more, and what is new.
fn compare_lists(path: &str, was: &[Value], is: &[Value], details: &mut Vec<Detail>) {
    if was.len() == is.len() {
        for (at, (was, is)) in was.iter().zip(is).enumerate() {
            compare(&format!("{path}[{}]", at + 1), Some(was), Some(is), details);
        }
        return;
    }
    let lacks = |list: &[Value], one: &Value| !list.iter().any(|other| is_same(other, one));
    for gone in was.iter().filter(|one| lacks(is, one)) {
        details.push(Detail { path: path.to_owned(), before: Some(show::in_short(gone)), after: None });
    }
    for new in is.iter().filter(|one| lacks(was, one)) {
        details.push(Detail { path: path.to_owned(), before: None, after: Some(show::in_short(new)) });
    }
    if !details.iter().any(|detail| detail.path == path) {
        let [before, after] = [was, is].map(|of| Some(format!("{} items", of.len())));
        details.push(Detail { path: path.to_owned(), before, after });
    }
}

/// A value that is not to be shown, however it is told.
fn is_secret(value: &Value) -> bool {
    value.as_str() == Some(MASK) || value.as_object().is_some_and(|of| of.len() == 1 && of.contains_key(MASK))
}

/// Whether both say the same; of a masked one nothing else is known.
fn is_same(one: &Value, other: &Value) -> bool {
    let masked = |value: &Value| value.as_str() == Some(MASK);
    match (one, other) {
        (one, other) if is_secret(one) && is_secret(other) => masked(one) || masked(other) || one == other,
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| is_same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (one, other) => one == other,
    }
}
