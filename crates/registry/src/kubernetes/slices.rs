//! EndpointSlices, and what they come to together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MOST_SLICES, Port};
use crate::places::{Host, Place};

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) metadata: ListMetadata,
    /// Null, where Go has none.
    #[serde(default)]
    pub(super) items: Option<Vec<Slice>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(super) go_on: Option<String>,
}

/// A slice of a service's endpoints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    pub(super) metadata: Metadata,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<SlicePort>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    pub(super) resource_version: String,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Option<Conditions>,
    #[serde(default)]
    zone: Option<String>,
}

/// What is not said of an endpoint counts as its being ready, and not as its ending ("nil should be interpreted as …").
#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct SlicePort {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Event {
    /// It is new, or another one now.
    Put(Box<Slice>),
    /// It is gone.
    Gone(Box<Slice>),
    /// Nothing changed up to this version.
    Bookmark(String),
    /// What changed is not known any more.
    Expired,
    /// The watch broke.
    Failed(String),
}

impl List {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body).map_err(|error| format!("no list of EndpointSlices: {error}"))
    }
}

#[derive(Deserialize)]
struct Line<'l> {
    #[serde(rename = "type")]
    kind: &'l str,
    #[serde(borrow)]
    object: &'l RawValue,
}

/// What is said instead of an object.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: Option<String>,
}

/// What the server says of why it refuses, cut short.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let status: Status = serde_json::from_slice(body).ok()?;
    Some(status.message?.chars().filter(|c| !c.is_control()).take(200).collect())
}

impl Event {
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let wrong = |error| format!("no change of an EndpointSlice: {error}");
        let Line { kind, object } = serde_json::from_slice(line).map_err(wrong)?;
        let slice = || serde_json::from_str::<Slice>(object.get()).map(Box::new).map_err(wrong);
        Ok(match kind {
            "ADDED" | "MODIFIED" => Self::Put(slice()?),
            "DELETED" => Self::Gone(slice()?),
            "BOOKMARK" => Self::Bookmark(slice()?.metadata.resource_version),
            "ERROR" => {
                let status: Status = serde_json::from_str(object.get()).map_err(wrong)?;
                match status.code {
                    410 => Self::Expired,
                    code => Self::Failed(format!(
                        "the watch ends with {code}{}",
                        message(object.get().as_bytes()).map_or_else(String::new, |message| format!(": {message}"))
                    )),
                }
            }
            other => {
                return Err(format!("no change of an EndpointSlice: `{}`", other.chars().take(20).collect::<String>()));
            }
        })
    }
}

/// All slices of a service, by their names.
#[derive(Debug, Default)]
pub(super) struct Slices(BTreeMap<String, Slice>);

impl Slices {
    pub(super) fn extend(&mut self, slices: Option<Vec<Slice>>) -> Result<(), String> {
        slices.into_iter().flatten().try_for_each(|slice| self.put(slice))
    }

    pub(super) fn put(&mut self, slice: Slice) -> Result<(), String> {
        self.0.insert(slice.metadata.name.clone(), slice);
        if self.0.len() > MOST_SLICES { Err(format!("more than {MOST_SLICES} EndpointSlices")) } else { Ok(()) }
    }

    pub(super) fn remove(&mut self, slice: &Slice) {
        self.0.remove(&slice.metadata.name);
    }

    /// The instances: those that are ready. If none is, those that end but still serve, as kube-proxy does. An endpoint may be in two
    /// slices for a while, and in one for each family of addresses.
    ///
    /// # Errors
    /// Nobody can say which port is meant.
    pub(super) fn places(&self, wanted: Option<&Port>) -> Result<Vec<Place>, String> {
        let (mut ready, mut ending) = (BTreeMap::new(), BTreeMap::new());
        for slice in self.0.values() {
            // What has no port, or not this one, has no endpoints that could be asked.
            let Some(port) = slice.port(wanted)? else { continue };
            for endpoint in slice.endpoints.iter().flatten() {
                let Conditions { ready: is_ready, serving, terminating } = endpoint
                    .conditions
                    .as_ref()
                    .unwrap_or(&Conditions { ready: None, serving: None, terminating: None });
                let among = match (is_ready.unwrap_or(true), serving.unwrap_or(true), terminating.unwrap_or(false)) {
                    (true, ..) => &mut ready,
                    (false, true, true) => &mut ending,
                    (false, ..) => continue,
                };
                // "Clients … should use the first" of several addresses.
                let Some(host) = endpoint.addresses.first().and_then(|text| slice.host(text)) else { continue };
                let zone: Option<Arc<str>> = endpoint.zone.as_deref().filter(|zone| !zone.is_empty()).map(Arc::from);
                among.insert((host, port), zone);
            }
        }
        let used = if ready.is_empty() { ending } else { ready };
        let place = |((host, port), zone)| Place { host, port, weight: 1, zone, group: 0 };
        Ok(used.into_iter().map(place).collect())
    }
}

impl Slice {
    /// The port of its endpoints that is meant; of those that speak TCP.
    fn port(&self, wanted: Option<&Port>) -> Result<Option<u16>, String> {
        let speaks_tcp = |port: &&SlicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let mut ports = self.ports.iter().flatten().filter(speaks_tcp);
        let number = |port: &SlicePort| port.port.filter(|port| *port > 0);
        Ok(match wanted {
            Some(Port::Name(name)) => ports.find(|port| port.name.as_deref() == Some(name)).and_then(number),
            Some(Port::Number(wanted)) => ports.find(|port| port.port == Some(*wanted)).and_then(number),
            None => match (ports.next(), ports.next()) {
                (first, None) => first.and_then(number),
                (Some(_), Some(_)) => {
                    let all = self.ports.iter().flatten().filter_map(|port| port.name.as_deref());
                    let names: Vec<&str> = all.take(8).collect();
                    return Err(format!(
                        "the service has several ports ({}): say which one by `port`",
                        names.join(", ")
                    ));
                }
                (None, Some(_)) => None,
            },
        })
    }

    fn host(&self, text: &str) -> Option<Host> {
        match self.address_type.as_str() {
            "IPv4" | "IPv6" => text.parse().ok().map(Host::Ip),
            "FQDN" => Some(Host::Name(text.to_ascii_lowercase().into())),
            _ => None,
        }
    }
}
