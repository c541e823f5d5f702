//! Where a request has its signature, and what it says of itself: in the `Authorization` field, or in the query of a
//! presigned URL.

use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use tollgate_core::path::percent_decode;
use tollgate_core::problem::Problem;

use super::canonical::pairs;
use super::key::{Scope, TERMINATOR};
use super::{ALGORITHM, CONTENT_HASH, DATE, Hash, SECURITY_TOKEN, SIGNATURE};
use crate::faults::{SIGV4_MALFORMED, SIGV4_SCOPE};
use crate::message::{Message, NotOne};

/// Most fields that a signature names.
const MOST_FIELDS: usize = 100;
/// The longest time for which an URL is presigned, in seconds: AWS takes none for longer than a week.
const LONGEST: u64 = 604_800;

/// What a request says of its signature; nothing of it is believed yet.
pub(super) struct Credential {
    pub(super) key: String,
    day: String,
    region: String,
    service: String,
    /// The names of the fields that are signed, in order.
    pub(super) signed: Vec<String>,
    pub(super) signature: Hash,
    /// `YYYYMMDDThhmmssZ`, as it is signed.
    pub(super) stamp: String,
    pub(super) time: SystemTime,
    pub(super) token: Option<String>,
    /// What it says of the body, as it is written; `None`: nothing.
    pub(super) content: Option<String>,
    pub(super) form: Form,
}

/// How a request has its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In a field.
    Field,
    /// In the query, good for so long.
    Presigned(Duration),
}

/// A credential that does not read, in words for whoever sent it.
pub(super) fn malformed(why: impl Into<String>) -> Problem {
    let why = why.into();
    SIGV4_MALFORMED.problem().cause(&why).detail(why)
}

impl Credential {
    /// Reads the one of a request; `None`: it has none of this kind.
    pub(super) fn of(message: &Message<'_>) -> Result<Option<Self>, Problem> {
        let mut fields = message.all("authorization").filter(|value| is_scheme(value));
        let in_query = message.query.is_some_and(has_signature);
        match (fields.next(), in_query) {
            (None, false) => Ok(None),
            // Which one of them counts is for nobody to guess.
            (Some(_), true) => Err(malformed("a signature in `Authorization` and another one in the query")),
            (Some(_), false) => Self::in_field(message).map(Some),
            (None, true) => Self::in_query(message).map(Some),
        }
    }

    fn in_field(message: &Message<'_>) -> Result<Self, Problem> {
        let value = one(message, "authorization")?.unwrap_or_default();
        let (scheme, parameters) = value.split_once(' ').unwrap_or((value, ""));
        if scheme != ALGORITHM {
            return Err(malformed(format!("only signatures of the kind {ALGORITHM} are taken")));
        }
        let [credential, signed, signature] = parameters_of(parameters)?;
        let stamp = match (one(message, DATE)?, one(message, "date")?) {
            (Some(stamp), _) => stamp.to_owned(),
            (None, Some(date)) => stamp_of(date)?,
            (None, None) => return Err(malformed("neither `X-Amz-Date` nor `Date`")),
        };
        let token = one(message, SECURITY_TOKEN)?.map(str::to_owned);
        let content = one(message, CONTENT_HASH)?.map(str::to_owned);
        Self::new(&Parts { credential, signed, signature, stamp }, token, content, Form::Field)
    }

    fn in_query(message: &Message<'_>) -> Result<Self, Problem> {
        let pairs = pairs(message.query.unwrap_or_default()).map_err(malformed)?;
        let optional = |name: &str| {
            let mut values = pairs.iter().filter(|(have, _)| have == name).map(|(_, value)| value);
            match (values.next(), values.next()) {
                (Some(_), Some(_)) => Err(malformed(format!("more than one `{name}`"))),
                (value, _) => value.map(|value| decoded(name, value)).transpose(),
            }
        };
        let needed = |name: &str| optional(name)?.ok_or_else(|| malformed(format!("no `{name}`")));
        if needed("X-Amz-Algorithm")? != ALGORITHM {
            return Err(malformed(format!("only signatures of the kind {ALGORITHM} are taken")));
        }
        let (credential, signed) = (needed("X-Amz-Credential")?, needed("X-Amz-SignedHeaders")?);
        let (signature, stamp) = (needed(SIGNATURE)?, needed("X-Amz-Date")?);
        let expires = whole_number(&needed("X-Amz-Expires")?).filter(|seconds| (1..=LONGEST).contains(seconds));
        let expires = expires.ok_or_else(|| malformed(format!("`X-Amz-Expires` is no number from 1 to {LONGEST}")))?;
        let once = |name: &str, in_query: &str| match (one(message, name)?, optional(in_query)?) {
            (Some(_), Some(_)) => Err(malformed(format!("`{in_query}` as a field and in the query"))),
            (in_field, in_query) => Ok(in_field.map(str::to_owned).or(in_query)),
        };
        let token = once(SECURITY_TOKEN, "X-Amz-Security-Token")?;
        let content = once(CONTENT_HASH, "X-Amz-Content-Sha256")?;
        let parts = Parts { credential: &credential, signed: &signed, signature: &signature, stamp };
        Self::new(&parts, token, content, Form::Presigned(Duration::from_secs(expires)))
    }

    fn new(parts: &Parts<'_>, token: Option<String>, content: Option<String>, form: Form) -> Result<Self, Problem> {
        // From the right: nothing is known of what is in a key's id.
        let scope: Vec<&str> = parts.credential.rsplitn(5, '/').collect();
        let [terminator, service, region, day, key] = scope[..] else {
            return Err(malformed(format!("`Credential` is not KEY/YYYYMMDD/REGION/SERVICE/{TERMINATOR}")));
        };
        if [service, region, day, key].contains(&"") {
            return Err(malformed("a part of `Credential` is empty"));
        }
        if terminator != TERMINATOR {
            return Err(SIGV4_SCOPE.problem().detail(format!("`Credential` does not end in `{TERMINATOR}`")));
        }
        let signature = HEXLOWER.decode(parts.signature.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or_else(|| malformed("`Signature` is not 64 hex digits in lower case"))?;
        let signed = signed(parts.signed)?;
        let time = time_of(&parts.stamp).ok_or_else(|| malformed("the date is not `YYYYMMDDThhmmssZ`"))?;
        // The key of the signature is one for this day only.
        if !parts.stamp.starts_with(day) || day.len() != 8 {
            return Err(SIGV4_SCOPE.problem().detail("the day in `Credential` is not that of the date"));
        }
        let [key, day, region, service] = [key, day, region, service].map(str::to_owned);
        let stamp = parts.stamp.clone();
        Ok(Self { key, day, region, service, signed, signature, stamp, time, token, content, form })
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { day: &self.day, region: &self.region, service: &self.service }
    }
}

struct Parts<'a> {
    credential: &'a str,
    signed: &'a str,
    signature: &'a str,
    stamp: String,
}

/// Whether a value of `Authorization` has a scheme of AWS; those of other versions are refused, not passed over.
pub(super) fn is_scheme(value: &[u8]) -> bool {
    value.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AWS4-"))
}

/// Whether a query is that of a presigned URL.
pub(super) fn has_signature(query: &str) -> bool {
    let mut names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default().as_bytes());
    names.any(|name| matches!(&*percent_decode(name), b"X-Amz-Signature" | b"X-Amz-Algorithm"))
}

/// The value of a field that must not be there twice.
fn one<'a>(message: &Message<'a>, name: &str) -> Result<Option<&'a str>, Problem> {
    message.one(name).map_err(|why| match why {
        NotOne::Several => malformed(format!("more than one `{name}`")),
        NotOne::NoText => malformed(format!("`{name}` is no text")),
    })
}

fn decoded(name: &str, value: &str) -> Result<String, Problem> {
    let text = String::from_utf8(percent_decode(value.as_bytes()).into_owned()).ok();
    text.filter(|text| text.is_ascii()).ok_or_else(|| malformed(format!("`{name}` is no text")))
}

/// `Credential`, `SignedHeaders` and `Signature`: each once, in any order.
fn parameters_of(text: &str) -> Result<[&str; 3], Problem> {
    const NAMES: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];
    let mut found = [None; 3];
    for parameter in text.split(',') {
        let (name, value) = parameter.trim_matches([' ', '\t']).split_once('=').unwrap_or_default();
        let place = NAMES.iter().position(|known| *known == name).and_then(|at| found.get_mut(at));
        let place = place.ok_or_else(|| malformed("a parameter of `Authorization` that is not known"))?;
        if place.replace(value).is_some() {
            return Err(malformed(format!("`{name}` is in `Authorization` twice")));
        }
    }
    match found {
        [Some(credential), Some(signed), Some(signature)] => Ok([credential, signed, signature]),
        _ => Err(malformed(format!("`Authorization` needs {}", NAMES.join(", ")))),
    }
}

/// The names of the signed fields: in lower case, in order, none of them twice.
fn signed(text: &str) -> Result<Vec<String>, Problem> {
    let names: Vec<&str> = text.split(';').take(MOST_FIELDS + 1).collect();
    if names.len() > MOST_FIELDS {
        return Err(malformed(format!("more than {MOST_FIELDS} signed fields")));
    }
    let is_name = |name: &&str| {
        tollgate_core::field::is_token(name.as_bytes()) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    if !names.iter().all(is_name) || !names.is_sorted_by(|one, next| one < next) {
        return Err(malformed("`SignedHeaders` are not names in lower case, in order, with `;` between them"));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// When `YYYYMMDDThhmmssZ` is; no other way to write it is known.
fn time_of(stamp: &str) -> Option<SystemTime> {
    let bytes = stamp.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| stamp.get(from..to).and_then(whole_number);
    let short = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let year = i16::try_from(number(0, 4)?).ok()?;
    let time = DateTime::new(year, short(4)?, short(6)?, short(9)?, short(11)?, short(13)?, 0).ok()?;
    SystemTime::try_from(TimeZone::UTC.to_timestamp(time).ok()?).ok()
}

/// `YYYYMMDDThhmmssZ` of a time.
pub(super) fn stamp_at(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// The same of a `Date` field, which some write as `X-Amz-Date`, and others as RFC 9110 §5.6.7 has it.
fn stamp_of(date: &str) -> Result<String, Problem> {
    if time_of(date).is_some() {
        return Ok(date.to_owned());
    }
    let time = rfc2822::parse(date).ok().and_then(|time| SystemTime::try_from(time.timestamp()).ok());
    time.and_then(stamp_at).ok_or_else(|| malformed("`Date` is no date"))
}

/// A number of digits alone.
fn whole_number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
