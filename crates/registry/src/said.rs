//! What instances say, in JSON: a registration, a report of load. Every mistake is told, each with its place.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tollgate_core::serde_json::{Map, Value};

use crate::Load;
use crate::directory::{LEAST_TTL, MOST_TTL, Registration};

/// Longest name of a service, longest tag, version and zone.
const LONGEST_WORD: usize = 63;
/// Longest id: a host name of greatest length, and a port.
const LONGEST_ID: usize = 260;
/// Most tags of one instance.
const MOST_TAGS: usize = 32;
/// Largest weight.
const MOST_WEIGHT: u64 = 1000;
/// What a registration may say.
const KEYS: [&str; 9] = ["address", "port", "ttl", "zone", "version", "weight", "group", "tags", "load"];
/// The numbers of a report (`xds.data.orca.v3.OrcaLoadReport`).
const NUMBERS: [&str; 5] = ["cpu_utilization", "mem_utilization", "application_utilization", "rps_fractional", "eps"];
/// What of a report has numbers by names of one's own.
const NAMED: [&str; 3] = ["named_metrics", "request_cost", "utilization"];
/// Short names, and what they stand for.
const SHORT: [(&str, &str); 3] =
    [("cpu", "cpu_utilization"), ("mem", "mem_utilization"), ("in_flight", "named_metrics.in_flight")];

const NO_TTL: &str = "expected a time in whole seconds, from `2s` to `24h`";

/// One thing that is wrong with what an instance says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, as a JSON pointer (RFC 6901); empty: all of it.
    pub pointer: String,
    /// What.
    pub detail: String,
}

/// What holds where a registration says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unsaid {
    /// Where it listens: whoever asks, if that is known.
    pub address: Option<IpAddr>,
    /// Its time to live.
    pub ttl: Duration,
}

/// Whether services may be called that: 1 to 63 letters, digits, `-`, `_` or `.`.
#[must_use]
pub fn is_service(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_WORD).contains(&text.len()) && text.bytes().all(is_fit) && !matches!(text, "." | "..")
}

/// Whether instances may be called that: the same letters, and what else `ADDRESS:PORT` is written with.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(is_fit) && !matches!(text, "." | "..")
}

/// A time to live as it is written.
///
/// # Errors
/// What is expected instead.
pub fn ttl(text: &str) -> Result<Duration, &'static str> {
    let read = text.parse::<SignedDuration>().ok().and_then(|ttl| Duration::try_from(ttl).ok());
    read.filter(|ttl| (LEAST_TTL..=MOST_TTL).contains(ttl) && ttl.subsec_nanos() == 0).ok_or(NO_TTL)
}

/// What an instance of that name says of itself, and how busy it is, if it says that as well.
///
/// # Errors
/// All that is wrong with it.
pub fn registration(
    service: &str,
    id: &str,
    said: &Value,
    unsaid: Unsaid,
) -> Result<(Registration, Option<Load>), Vec<Mistake>> {
    let mut reading = Reading::default();
    let Value::Object(said) = said else { return Err(vec![mistake("", "expected an object")]) };
    reading.only(said, &KEYS, "");
    if !is_service(service) {
        reading.wrong("", "the service's name is not 1 to 63 letters, digits, `-`, `_` or `.`");
    }
    if !is_id(id) {
        reading.wrong(
            "",
            "the id is not 1 to 260 letters, digits, `-`, `_`, `.` or, as in `[2001:db8::1]:80`, `:`, `[`, `]`",
        );
    }
    let address = reading.address(said.get("address"), unsaid.address);
    let port = match said.get("port") {
        None => reading.none("/port", "expected a port, 1 to 65535"),
        Some(port) => reading.whole("/port", port, 1, u64::from(u16::MAX)),
    };
    let ttl = said.get("ttl").map_or(Some(unsaid.ttl), |ttl| reading.ttl(ttl));
    let zone = reading.word(said, "zone");
    let version = reading.word(said, "version");
    let weight = said.get("weight").map_or(Some(1), |weight| reading.whole("/weight", weight, 0, MOST_WEIGHT));
    let group = said.get("group").map_or(Some(0), |group| reading.whole("/group", group, 0, u64::from(u8::MAX)));
    let tags = said.get("tags").map_or_else(BTreeSet::new, |tags| reading.tags(tags));
    let load = said.get("load").map(|load| reading.load("/load", load));
    let (Some(address), Some(port), Some(ttl), Some(weight), Some(group), true) =
        (address, port, ttl, weight, group, reading.0.is_empty())
    else {
        return Err(reading.0);
    };
    let registration = Registration {
        service: service.into(),
        id: id.into(),
        address,
        port: u16::try_from(port).unwrap_or_default(),
        ttl,
        zone,
        version,
        weight: u32::try_from(weight).unwrap_or_default(),
        group: u8::try_from(group).unwrap_or_default(),
        tags,
    };
    Ok((registration, load))
}

/// What an instance says when it renews itself: how busy it is, if it says that.
///
/// # Errors
/// All that is wrong with it.
pub fn renewal(said: &Value) -> Result<Option<Load>, Vec<Mistake>> {
    let mut reading = Reading::default();
    let Value::Object(said) = said else { return Err(vec![mistake("", "expected an object")]) };
    reading.only(said, &["load"], "");
    let load = said.get("load").map(|load| reading.load("/load", load));
    if reading.0.is_empty() { Ok(load) } else { Err(reading.0) }
}

fn mistake(pointer: &str, detail: impl Into<String>) -> Mistake {
    Mistake { pointer: pointer.to_owned(), detail: detail.into() }
}

/// Mistakes so far.
#[derive(Default)]
struct Reading(Vec<Mistake>);

impl Reading {
    fn wrong(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push(mistake(pointer, detail));
    }

    fn none<T>(&mut self, pointer: &str, detail: impl Into<String>) -> Option<T> {
        self.wrong(pointer, detail);
        None
    }

    /// Whatever else is said would be lost.
    fn only(&mut self, said: &Map<String, Value>, known: &[&str], below: &str) {
        for key in said.keys().filter(|key| !known.contains(&key.as_str())) {
            self.wrong(&format!("{below}/{}", escaped(key)), format!("nothing here is called that: {}", listed(known)));
        }
    }

    fn address(&mut self, said: Option<&Value>, unsaid: Option<IpAddr>) -> Option<Arc<str>> {
        let text = match said {
            None => match unsaid {
                Some(address) => return Some(address.to_canonical().to_string().into()),
                None => return self.none("/address", "expected an address: from where it is asked is not known"),
            },
            Some(Value::String(text)) => text,
            Some(_) => return self.none("/address", "expected a text: an IP address, or a host name"),
        };
        let is_nobodys = |address: IpAddr| address.is_unspecified() || address.is_multicast();
        match text.parse::<IpAddr>() {
            Ok(address) if is_nobodys(address) => {
                self.none("/address", format!("`{address}` is no address of one machine"))
            }
            Ok(address) => Some(address.to_canonical().to_string().into()),
            Err(_) if is_host(text) => Some(text.to_ascii_lowercase().into()),
            Err(_) => self.none("/address", "expected an IP address, or a host name, without a port"),
        }
    }

    fn whole(&mut self, pointer: &str, said: &Value, least: u64, most: u64) -> Option<u64> {
        match said.as_u64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.none(pointer, format!("expected a whole number, {least} to {most}")),
        }
    }

    fn ttl(&mut self, said: &Value) -> Option<Duration> {
        match said.as_str().map(ttl) {
            Some(Ok(ttl)) => Some(ttl),
            _ => self.none("/ttl", NO_TTL),
        }
    }

    fn word(&mut self, said: &Map<String, Value>, key: &str) -> Option<Arc<str>> {
        match said.get(key)? {
            Value::String(text) if is_word(text) => Some(text.as_str().into()),
            _ => self.none(&format!("/{key}"), NO_WORD),
        }
    }

    fn tags(&mut self, said: &Value) -> BTreeSet<Arc<str>> {
        let Value::Array(said) = said else {
            self.wrong("/tags", "expected a list of texts");
            return BTreeSet::new();
        };
        if said.len() > MOST_TAGS {
            self.wrong("/tags", format!("at most {MOST_TAGS} tags"));
            return BTreeSet::new();
        }
        let mut tags = BTreeSet::new();
        for (index, tag) in said.iter().enumerate() {
            match tag {
                Value::String(text) if is_word(text) => drop(tags.insert(text.as_str().into())),
                _ => self.wrong(&format!("/tags/{index}"), NO_WORD),
            }
        }
        tags
    }

    fn load(&mut self, below: &str, said: &Value) -> Load {
        let mut load = Load::default();
        let Value::Object(said) = said else {
            self.wrong(below, "expected an object of numbers");
            return load;
        };
        let known: Vec<&str> = NUMBERS.into_iter().chain(SHORT.map(|(short, _)| short)).chain(NAMED).collect();
        self.only(said, &known, below);
        for (key, value) in said {
            let pointer = format!("{below}/{}", escaped(key));
            if NUMBERS.contains(&key.as_str()) {
                self.number(&mut load, key, &pointer, value);
            } else if let Some((_, long)) = SHORT.iter().find(|(short, _)| short == key) {
                self.number(&mut load, long, &pointer, value);
            } else if NAMED.contains(&key.as_str()) {
                self.named(&mut load, key, &pointer, value);
            }
        }
        load
    }

    fn named(&mut self, load: &mut Load, kind: &str, below: &str, said: &Value) {
        let Value::Object(said) = said else { return self.wrong(below, "expected an object of numbers") };
        for (name, value) in said {
            let pointer = format!("{below}/{}", escaped(name));
            if is_word(name) {
                self.number(load, &format!("{kind}.{name}"), &pointer, value);
            } else {
                self.wrong(&pointer, NO_WORD);
            }
        }
    }

    fn number(&mut self, load: &mut Load, name: &str, pointer: &str, said: &Value) {
        match said.as_f64() {
            Some(number) if number >= 0.0 => {
                if !load.set(name, number) {
                    self.wrong(pointer, "a report has at most 32 numbers");
                }
            }
            _ => self.wrong(pointer, "expected a number, not below 0"),
        }
    }
}

const NO_WORD: &str = "expected 1 to 63 letters, digits and signs of ASCII, without blanks";

fn is_word(text: &str) -> bool {
    (1..=LONGEST_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 952 and RFC 1123 §2.1, with `_`, which names of machines have all the same.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_fit) && !label.starts_with('-') && !label.ends_with('-')
    };
    // What ends in a number is meant to be an IPv4 address, and is none (WHATWG URL §3.5).
    let is_number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && text.split('.').all(is_label) && !is_number
}

/// RFC 6901 §3.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use tollgate_core::serde_json::json;

    use super::*;

    const UNSAID: Unsaid =
        Unsaid { address: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9))), ttl: Duration::from_secs(30) };

    fn mistakes(said: &Value) -> Vec<(String, String)> {
        let wrong = registration("orders", "a", said, UNSAID).unwrap_err();
        wrong.into_iter().map(|mistake| (mistake.pointer, mistake.detail)).collect()
    }

    #[test]
    fn what_is_not_said_is_as_it_mostly_is() {
        let (least, load) = registration("orders", "a", &json!({ "port": 81 }), UNSAID).unwrap();
        assert_eq!((&*least.address, least.port, least.ttl), ("10.0.0.9", 81, Duration::from_secs(30)));
        assert_eq!((least.weight, least.group, least.tags.len(), load), (1, 0, 0, None));
    }

    #[test]
    fn all_of_it_is_read() {
        let said = json!({
            "address": "Web-1.Example", "port": 65535, "ttl": "1m", "zone": "a", "version": "v2", "weight": 0, "group": 255,
            "tags": ["b", "a", "b"], "load": { "cpu": 0.5, "named_metrics": { "queue": 3 }, "in_flight": 7 },
        });
        let (all, load) = registration("orders", "[2001:db8::1]:80", &said, UNSAID).unwrap();
        assert_eq!((&*all.address, all.ttl, all.weight, all.group), ("web-1.example", Duration::from_secs(60), 0, 255));
        assert_eq!((all.zone.as_deref(), all.version.as_deref(), all.tags.len()), (Some("a"), Some("v2"), 2));
        let load = load.unwrap();
        assert_eq!(load.get("cpu_utilization"), Some(0.5));
        assert_eq!((load.get("named_metrics.queue"), load.get("named_metrics.in_flight")), (Some(3.0), Some(7.0)));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let said = json!({
            "address": "10.0.0.5:80", "ttl": "1500ms", "zone": "a b", "weight": 1001, "group": -1, "tags": ["ok", 7],
            "load": { "cpu": -1, "gpu": 1, "named_metrics": { "a/b c": 1, "x": "y" } }, "colour": "red",
        });
        let told = mistakes(&said);
        let places: BTreeSet<&str> = told.iter().map(|(pointer, _)| pointer.as_str()).collect();
        let expected = [
            "/address",
            "/colour",
            "/group",
            "/load/cpu",
            "/load/gpu",
            "/load/named_metrics/a~1b c",
            "/load/named_metrics/x",
            "/port",
            "/tags/1",
            "/ttl",
            "/weight",
            "/zone",
        ];
        assert_eq!(places, expected.into());
        assert_eq!(told.len(), expected.len());
    }

    #[test]
    fn addresses_are_of_one_machine() {
        for fit in ["10.0.0.1", "::1", "::ffff:10.0.0.1", "web", "a.b-c.example", "127.0.0.1"] {
            let said = json!({ "address": fit, "port": 1 });
            assert!(registration("s", "i", &said, UNSAID).is_ok(), "{fit}");
        }
        for wrong in
            ["", "0.0.0.0", "::", "224.0.0.1", "10.0.0.256", "1", "[::1]", "a b", "-a", "a..b", "http://a", "web:80"]
        {
            assert_eq!(mistakes(&json!({ "address": wrong, "port": 1 })).len(), 1, "{wrong}");
        }
        let unknown = registration("s", "i", &json!({ "port": 1 }), Unsaid { address: None, ..UNSAID });
        assert_eq!(unknown.unwrap_err()[0].pointer, "/address");
    }

    #[test]
    fn lives_are_whole_seconds_within_bounds() {
        for (text, fits) in
            [("2s", true), ("24h", true), ("1m30s", true), ("1s", false), ("25h", false), ("2500ms", false)]
        {
            let said = json!({ "port": 1, "ttl": text });
            assert_eq!(registration("s", "i", &said, UNSAID).is_ok(), fits, "{text}");
        }
        assert!(mistakes(&json!({ "port": 1, "ttl": 10 }))[0].1.contains("`2s` to `24h`"));
    }

    #[test]
    fn a_report_has_an_end() {
        let named: Map<String, Value> = (0..40).map(|n| (format!("n{n}"), json!(n))).collect();
        assert_eq!(renewal(&json!({ "load": { "named_metrics": named } })).unwrap_err().len(), 8);
        assert!(renewal(&json!([])).is_err() && renewal(&json!({ "port": 1 })).is_err());
        assert_eq!(renewal(&json!({})), Ok(None));
    }

    #[test]
    fn names_are_plain() {
        for fit in ["a", "a.b-c_d", &"x".repeat(63)] {
            assert!(is_service(fit) && is_id(fit), "{fit}");
        }
        for wrong in ["", ".", "..", "a b", "a/b", "ä", "a%"] {
            assert!(!is_service(wrong) && !is_id(wrong), "{wrong}");
        }
        assert!(!is_service("10.0.0.1:80") && is_id("10.0.0.1:80") && is_id("[::1]:80") && !is_id(&"x".repeat(261)));
    }
}
