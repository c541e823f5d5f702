//! What of a request a signature covers (RFC 9421 §2), and the bytes that are signed (§2.5).

use std::fmt;

use form_urlencoded::parse;
use tollgate_core::field::is_token;

use super::fields::{
    InnerList, Item, Member, Parameters, dictionary, is_string, write_item, write_list, write_parameters,
};
use crate::message::Message;

/// A part of a request that a signature can cover.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// `@method` (§2.2.1).
    Method,
    /// `@target-uri` (§2.2.2).
    TargetUri,
    /// `@authority` (§2.2.3): the host in lower case, without the port that is the scheme's own.
    Authority,
    /// `@scheme` (§2.2.4).
    Scheme,
    /// `@request-target` (§2.2.5), in its origin form or as `*`.
    RequestTarget,
    /// `@path` (§2.2.6), as it is sent.
    Path,
    /// `@query` (§2.2.7), with its `?`, also if there is none.
    Query,
    /// `@query-param` (§2.2.8) with its `name`, encoded as there.
    QueryParam(String),
    /// A field of the head (§2.1): its name in lower case.
    Field(String),
}

impl Component {
    /// Reads one as people write it: `@method`, `content-digest`, `@query-param;name="id"`.
    ///
    /// # Errors
    /// There is no such component, or it cannot be looked at here; in words for a person.
    pub fn read(text: &str) -> Result<Self, String> {
        let (name, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
        // A member that is true is not written, so its parameters follow its name at once.
        let read = dictionary([format!("a{parameters}").as_bytes()].into_iter()).map_err(str::to_owned)?;
        match &read[..] {
            [(_, Member::Item(_, parameters))] => Self::new(name, parameters),
            _ => Err(format!("`{text}` is no component")),
        }
    }

    /// The one of this name and these parameters.
    fn new(name: &str, parameters: &Parameters) -> Result<Self, String> {
        if let ("@query-param", [(parameter, Item::String(wanted))]) = (name, &parameters[..])
            && parameter == "name"
        {
            return Ok(Self::QueryParam(wanted.clone()));
        }
        if name == "@query-param" {
            return Err("`@query-param` needs a `name`, and takes nothing else".to_owned());
        }
        // `sf`, `key`, `bs`, `tr` and `req` (§2.1, §2.4) among them.
        if let Some((parameter, _)) = parameters.first() {
            return Err(format!("components with the parameter `{parameter}` are not taken"));
        }
        match name {
            "@method" => Ok(Self::Method),
            "@target-uri" => Ok(Self::TargetUri),
            "@authority" => Ok(Self::Authority),
            "@scheme" => Ok(Self::Scheme),
            "@request-target" => Ok(Self::RequestTarget),
            "@path" => Ok(Self::Path),
            "@query" => Ok(Self::Query),
            _ if name.starts_with('@') => Err(format!("`{name}` is no component of a request that is known")),
            _ if is_token(name.as_bytes()) && !name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                Ok(Self::Field(name.to_owned()))
            }
            _ => Err("a component that is no field's name in lower case".to_owned()),
        }
    }

    /// As it stands in the list of what is covered.
    pub(super) fn item(&self) -> (Item, Parameters) {
        let (name, parameters) = match self {
            Self::Method => ("@method", Vec::new()),
            Self::TargetUri => ("@target-uri", Vec::new()),
            Self::Authority => ("@authority", Vec::new()),
            Self::Scheme => ("@scheme", Vec::new()),
            Self::RequestTarget => ("@request-target", Vec::new()),
            Self::Path => ("@path", Vec::new()),
            Self::Query => ("@query", Vec::new()),
            Self::QueryParam(name) => ("@query-param", vec![("name".to_owned(), Item::String(name.clone()))]),
            Self::Field(name) => (name.as_str(), Vec::new()),
        };
        (Item::String(name.to_owned()), parameters)
    }

    /// Whether it can be written.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::QueryParam(name) => is_string(name),
            Self::Field(name) => Self::new(name, &Vec::new()).as_ref() == Ok(self),
            _ => true,
        }
    }

    /// Whether a request has it.
    pub(super) fn is_in(&self, message: &Message<'_>) -> bool {
        match self {
            Self::Field(name) if name != "host" => message.all(name).next().is_some(),
            Self::QueryParam(wanted) => parse(query(message).as_bytes()).any(|(name, _)| encoded(&name) == *wanted),
            _ => true,
        }
    }

    /// What it is in this request.
    fn value(&self, message: &Message<'_>) -> Result<String, String> {
        let origin = || match message.query {
            Some(query) => format!("{}?{query}", path(message)),
            None => path(message).to_owned(),
        };
        let value = match self {
            Self::Method => message.method.to_owned(),
            Self::Scheme => message.scheme.to_ascii_lowercase(),
            Self::Authority => authority(message),
            // As it was written, without the changes that `@authority` has. RFC 9110 §7.1: `OPTIONS *` is for the whole server.
            Self::TargetUri => {
                let target = if message.path == "*" { String::new() } else { origin() };
                format!("{}://{}{target}", message.scheme.to_ascii_lowercase(), message.host)
            }
            Self::RequestTarget => origin(),
            Self::Path => path(message).to_owned(),
            Self::Query => format!("?{}", query(message)),
            Self::QueryParam(wanted) => {
                let pairs = parse(query(message).as_bytes());
                let mut values = pairs.filter(|(name, _)| encoded(name) == *wanted).map(|(_, value)| encoded(&value));
                match (values.next(), values.next()) {
                    (Some(value), None) => value,
                    // §2.2.8: their order is nothing to rely on.
                    (Some(_), Some(_)) => return Err(format!("{self} is in the query more than once")),
                    (None, _) => return Err(format!("{self} is not in the query")),
                }
            }
            Self::Field(name) => field(message, name)?,
        };
        // §2.5: a line of the base must not be able to become two.
        let is_sound = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        if is_sound { Ok(value) } else { Err(format!("{self} has more than visible ASCII")) }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (item, parameters) = self.item();
        let mut out = String::new();
        write_item(&item, &mut out);
        write_parameters(&parameters, &mut out);
        f.write_str(&out)
    }
}

/// The components that a list names, each once (§2.5).
pub(super) fn components(list: &InnerList) -> Result<Vec<Component>, String> {
    let mut found: Vec<Component> = Vec::with_capacity(list.items.len());
    for (item, parameters) in &list.items {
        let Item::String(name) = item else { return Err("a component whose name is no string".to_owned()) };
        let component = Component::new(name, parameters)?;
        if found.contains(&component) {
            return Err(format!("{component} is covered twice"));
        }
        found.push(component);
    }
    Ok(found)
}

/// The signature base (§2.5).
///
/// # Errors
/// The request has not what is covered, in words for whoever sent it.
pub(super) fn base(message: &Message<'_>, covered: &[Component], list: &InnerList) -> Result<String, String> {
    let mut out = String::with_capacity(512);
    for component in covered {
        let value = component.value(message)?;
        out.push_str(&format!("{component}: {value}\n"));
    }
    out.push_str("\"@signature-params\": ");
    write_list(list, &mut out);
    Ok(out)
}

fn path<'a>(message: &Message<'a>) -> &'a str {
    if message.path.is_empty() { "/" } else { message.path }
}

fn query<'a>(message: &Message<'a>) -> &'a str {
    message.query.unwrap_or_default()
}

/// RFC 9110 §4.2.3.
fn authority(message: &Message<'_>) -> String {
    let host = message.host.to_ascii_lowercase();
    let port = if message.scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    host.strip_suffix(port).or_else(|| host.strip_suffix(':')).map(str::to_owned).unwrap_or(host)
}

/// All lines of a field as one (§2.1).
fn field(message: &Message<'_>, name: &str) -> Result<String, String> {
    if name == "host" {
        return Ok(message.host.to_owned());
    }
    let lines: Vec<String> =
        message.all(name).map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned()).collect();
    if lines.is_empty() {
        Err(format!("the field \"{name}\" is covered, and not in the request"))
    } else {
        Ok(lines.join(", "))
    }
}

/// Encodes what was decoded from a query, with the set of forms, but a blank as `%20` (§2.2.8).
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
