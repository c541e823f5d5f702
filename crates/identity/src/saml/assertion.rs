//! What an assertion says (SAML 2.0 Core §2), judged once it is known who signed it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tollgate_core::problem::Problem;

use super::faults::{AUDIENCE, CONTEXT, ENCRYPTED, EXPIRED, ISSUER, MALFORMED, NOT_YET, RECIPIENT, because};
use super::response::{Answers, Expected};
use super::xml::{self, Node, SAML};
use crate::checks::{Check, on};

/// How the user proves to be the subject: by having the assertion (SAML 2.0 Profiles §3.3).
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

/// Claims of our own, which no attribute takes the place of.
const OWN: [&str; 10] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "name_id_format", "session_index", "auth_time", "acr"];

/// An assertion that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Its ID: no second one of the provider's has it.
    pub id: String,
    /// When it ends, with what clocks may differ by: until then its ID is to be remembered.
    pub ends: SystemTime,
    /// Who it is about.
    pub name_id: NameId,
    /// Their session with the provider.
    pub session: Session,
    /// `iss`, `sub` (the name ID), `name_id_format`, `session_index`, `auth_time`, `acr`, and the attributes by their `Name`: a text,
    /// or a list of several.
    pub claims: Map<String, Value>,
}

/// A name of the subject (SAML 2.0 Core §2.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameId {
    /// The name.
    pub value: String,
    /// What kind it is.
    pub format: Option<String>,
    /// Who gave it.
    pub qualifier: Option<String>,
    /// Whom they gave it to.
    pub service_qualifier: Option<String>,
}

/// A session with the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Its name: a logout says it.
    pub index: Option<String>,
    /// When it ends, if that is known.
    pub ends: Option<SystemTime>,
}

/// What it was given for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use<'a> {
    /// Signing in at a browser (SAML 2.0 Profiles §4.1).
    SignIn(Answers<'a>),
    /// Getting a token (RFC 7522).
    Grant,
}

/// Judges an assertion that the provider signed.
///
/// # Errors
/// What is wrong with it.
pub(super) fn judge(
    expected: &Expected<'_>,
    assertion: Node<'_>,
    given_for: Use<'_>,
    now: SystemTime,
) -> Result<Accepted, Problem> {
    let id = expected.judge_head(assertion, now)?;
    let issuer = xml::text(xml::one(assertion, SAML, "Issuer").map_err(malformed)?).map_err(malformed)?;
    if on(Check::SamlIssuer) && issuer != expected.provider.entity_id {
        return Err(because(&ISSUER, "another `Issuer`"));
    }
    let subject = xml::one(assertion, SAML, "Subject").map_err(malformed)?;
    let name_id = NameId::of(subject)?;
    let conditions = judge_conditions(expected, assertion, now)?;
    let confirmed = judge_confirmations(expected, subject, given_for, conditions, now)?;
    let statements = Statements::read(expected, assertion, now)?;
    if matches!(given_for, Use::SignIn(_)) && !statements.is_signed_in {
        return Err(because(&MALFORMED, "no `AuthnStatement`"));
    }
    let ends = [conditions, confirmed].into_iter().flatten().min();
    let ends = ends.ok_or_else(|| because(&MALFORMED, "it never ends"))? + expected.skew;
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), json!(issuer));
    claims.insert("sub".to_owned(), json!(name_id.value));
    if let Some(format) = &name_id.format {
        claims.insert("name_id_format".to_owned(), json!(format));
    }
    claims.extend(statements.claims);
    add_attributes(&mut claims, assertion).map_err(malformed)?;
    Ok(Accepted { id, ends, name_id, session: statements.session, claims })
}

fn malformed(why: String) -> Problem {
    because(&MALFORMED, why)
}

impl NameId {
    /// The name in this element: a subject, or a request to end its session.
    pub(super) fn of(node: Node<'_>) -> Result<Self, Problem> {
        if xml::children(node, SAML, "EncryptedID").next().is_some() {
            return Err(because(&ENCRYPTED, "an `EncryptedID`"));
        }
        let name = xml::one(node, SAML, "NameID").map_err(malformed)?;
        let value = xml::text(name).map_err(malformed)?;
        if value.trim().is_empty() {
            return Err(because(&MALFORMED, "an empty `NameID`"));
        }
        let said = |what: &str| name.attribute(what).map(str::to_owned);
        let (qualifier, service_qualifier) = (said("NameQualifier"), said("SPNameQualifier"));
        Ok(Self { value, format: said("Format"), qualifier, service_qualifier })
    }
}

impl Expected<'_> {
    /// What responses, assertions and requests have alike: version, ID, and when they were made. The ID.
    pub(super) fn judge_head(&self, node: Node<'_>, now: SystemTime) -> Result<String, Problem> {
        if node.attribute("Version") != Some("2.0") {
            return Err(because(&MALFORMED, "another version than 2.0"));
        }
        let id = xml::attribute(node, "ID").map_err(malformed)?;
        let made = xml::time(node, "IssueInstant").map_err(malformed)?;
        // One from the future is from a clock that goes wrong, or from somebody who makes them in stock.
        if made.ok_or_else(|| because(&MALFORMED, "no `IssueInstant`"))? > now + self.skew {
            return Err(because(&NOT_YET, "`IssueInstant` lies ahead"));
        }
        Ok(id.to_owned())
    }

    /// `NotBefore` and `NotOnOrAfter`; when it ends, if it does.
    pub(super) fn judge_time(&self, node: Node<'_>, now: SystemTime) -> Result<Option<SystemTime>, Problem> {
        if xml::time(node, "NotBefore")
            .map_err(malformed)?
            .is_some_and(|from| from > now + self.skew && on(Check::SamlNotYet))
        {
            return Err(because(&NOT_YET, "`NotBefore` lies ahead"));
        }
        let ends = xml::time(node, "NotOnOrAfter").map_err(malformed)?;
        if on(Check::SamlExpiry) && ends.is_some_and(|ends| ends + self.skew <= now) {
            return Err(because(&EXPIRED, "`NotOnOrAfter` has passed"));
        }
        Ok(ends)
    }
}

/// SAML 2.0 Core §2.5.1: all conditions hold, and one that is not known does not. When they end.
fn judge_conditions(
    expected: &Expected<'_>,
    assertion: Node<'_>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Problem> {
    let Some(conditions) = xml::at_most_one(assertion, SAML, "Conditions").map_err(malformed)? else {
        return Err(because(&AUDIENCE, "no `Conditions`"));
    };
    let ends = expected.judge_time(conditions, now)?;
    let mut is_restricted = false;
    for condition in conditions.children().filter(Node::is_element) {
        if xml::is(condition, SAML, "AudienceRestriction") {
            is_restricted = true;
            let audiences = xml::children(condition, SAML, "Audience").map(xml::text);
            let audiences = audiences.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
            if on(Check::SamlAudience) && !audiences.iter().any(|audience| expected.audiences.contains(audience)) {
                return Err(because(&AUDIENCE, "another `Audience`"));
            }
        } else if !["OneTimeUse", "ProxyRestriction"].iter().any(|name| xml::is(condition, SAML, name)) {
            // `OneTimeUse`: each is good for once. `ProxyRestriction`: nothing is asserted here to others.
            return Err(because(&MALFORMED, "a condition that is not known"));
        }
    }
    // SAML 2.0 Profiles §4.1.4.2: at least one.
    if is_restricted { Ok(ends) } else { Err(because(&AUDIENCE, "no `AudienceRestriction`")) }
}

/// One that holds is enough (SAML 2.0 Core §2.4.1.1). When it ends.
fn judge_confirmations(
    expected: &Expected<'_>,
    subject: Node<'_>,
    given_for: Use<'_>,
    conditions: Option<SystemTime>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Problem> {
    let mut first = None;
    for confirmation in xml::children(subject, SAML, "SubjectConfirmation") {
        if confirmation.attribute("Method") != Some(BEARER) {
            continue;
        }
        match judge_confirmation(expected, confirmation, given_for, conditions, now) {
            Ok(ends) => return Ok(ends),
            Err(problem) => first = first.or(Some(problem)),
        }
    }
    Err(first.unwrap_or_else(|| because(&MALFORMED, "no `SubjectConfirmation` of a bearer")))
}

/// SAML 2.0 Profiles §4.1.4.2 and §4.1.4.3, RFC 7522 §3.
fn judge_confirmation(
    expected: &Expected<'_>,
    confirmation: Node<'_>,
    given_for: Use<'_>,
    conditions: Option<SystemTime>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Problem> {
    let data = xml::at_most_one(confirmation, SAML, "SubjectConfirmationData").map_err(malformed)?;
    let data = match (data, given_for) {
        (Some(data), _) => data,
        (None, Use::Grant) if conditions.is_some() => return Ok(None),
        (None, _) => return Err(because(&MALFORMED, "no `SubjectConfirmationData`")),
    };
    if on(Check::SamlRecipient) && data.attribute("Recipient") != Some(expected.recipient) {
        return Err(because(&RECIPIENT, "another `Recipient`"));
    }
    if let Use::SignIn(answers) = given_for {
        answers.judge(data)?;
    }
    let ends = expected.judge_time(data, now)?;
    ends.map(Some).ok_or_else(|| because(&MALFORMED, "a `SubjectConfirmationData` that never ends"))
}

/// What is said of signing in.
#[derive(Default)]
struct Statements {
    is_signed_in: bool,
    session: Session,
    claims: Map<String, Value>,
}

impl Statements {
    /// SAML 2.0 Core §2.7.2. Of several the first names the session, and the earliest end is the end.
    fn read(expected: &Expected<'_>, assertion: Node<'_>, now: SystemTime) -> Result<Self, Problem> {
        let mut all = Self::default();
        for statement in xml::children(assertion, SAML, "AuthnStatement") {
            let instant = xml::time(statement, "AuthnInstant").map_err(malformed)?;
            let instant = instant.ok_or_else(|| because(&MALFORMED, "no `AuthnInstant`"))?;
            if instant > now + expected.skew {
                return Err(because(&NOT_YET, "`AuthnInstant` lies ahead"));
            }
            let ends = xml::time(statement, "SessionNotOnOrAfter").map_err(malformed)?;
            if ends.is_some_and(|ends| ends + expected.skew <= now) {
                return Err(because(&EXPIRED, "`SessionNotOnOrAfter` has passed"));
            }
            all.session.ends = [all.session.ends, ends].into_iter().flatten().min();
            if !std::mem::replace(&mut all.is_signed_in, true) {
                all.name(statement, instant).map_err(malformed)?;
            }
        }
        let way = all.claims.get("acr").and_then(Value::as_str).unwrap_or_default();
        let is_asked_for = expected.contexts.is_empty() || expected.contexts.iter().any(|context| context == way);
        if !is_asked_for && on(Check::SamlContext) {
            return Err(because(&CONTEXT, format!("`{way}`")));
        }
        Ok(all)
    }

    fn name(&mut self, statement: Node<'_>, instant: SystemTime) -> Result<(), String> {
        let seconds = instant.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        self.claims.insert("auth_time".to_owned(), json!(seconds));
        if let Some(index) = statement.attribute("SessionIndex") {
            self.session.index = Some(index.to_owned());
            self.claims.insert("session_index".to_owned(), json!(index));
        }
        if let Some(context) = xml::at_most_one(statement, SAML, "AuthnContext")?
            && let Some(class) = xml::at_most_one(context, SAML, "AuthnContextClassRef")?
        {
            self.claims.insert("acr".to_owned(), json!(xml::text(class)?));
        }
        Ok(())
    }
}

/// SAML 2.0 Core §2.7.3. Encrypted ones are left out, and so are values that are neither a text nor a `NameID`.
fn add_attributes(claims: &mut Map<String, Value>, assertion: Node<'_>) -> Result<(), String> {
    let mut attributes: Map<String, Value> = Map::new();
    let statements = xml::children(assertion, SAML, "AttributeStatement");
    for attribute in statements.flat_map(|statement| xml::children(statement, SAML, "Attribute")) {
        let name = xml::attribute(attribute, "Name")?;
        if OWN.contains(&name) {
            continue;
        }
        for value in xml::children(attribute, SAML, "AttributeValue") {
            let inner = xml::at_most_one(value, SAML, "NameID").ok().flatten().unwrap_or(value);
            let Ok(text) = xml::text(inner) else { continue };
            match attributes.get_mut(name) {
                None => {
                    attributes.insert(name.to_owned(), Value::String(text));
                }
                Some(Value::Array(list)) => list.push(Value::String(text)),
                Some(one) => *one = Value::Array(vec![one.take(), Value::String(text)]),
            }
        }
    }
    claims.extend(attributes);
    Ok(())
}
