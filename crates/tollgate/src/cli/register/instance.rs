//! What the service says of itself.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tollgate_registry::said::{self, Unsaid};

use super::RegisterArgs;
use crate::cli::output::Failure;

/// An instance that registers itself.
#[derive(Debug)]
pub(super) struct Instance {
    service: String,
    id: Option<String>,
    port: u16,
    pub(super) ttl: Duration,
    said: Map<String, Value>,
    /// Where it listens. Found out once: another address would be another instance.
    address: OnceLock<String>,
}

impl Instance {
    /// # Errors
    /// What the registry would refuse: better now than once the service runs.
    pub(super) fn new(args: &RegisterArgs) -> Result<Self, Failure> {
        let mut said = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            value.into_iter().for_each(|value| drop(said.insert(name.to_owned(), value)));
        };
        set("port", Some(args.port.into()));
        set("ttl", Some(format!("{}s", args.ttl.as_secs()).into()));
        set("zone", args.zone.clone().map(Value::from));
        set("version", args.version.clone().map(Value::from));
        set("weight", args.weight.map(Value::from));
        set("group", args.group.map(Value::from));
        set("tags", (!args.tags.is_empty()).then(|| json!(args.tags)));
        set("address", args.address.clone().map(Value::from));
        let unsaid = Unsaid { address: Some(IpAddr::from([127, 0, 0, 1])), ttl: args.ttl };
        let id = args.id.as_deref().unwrap_or("id");
        if let Err(mistakes) = said::registration(&args.service, id, &Value::Object(said.clone()), unsaid) {
            let told = |mistake: &said::Mistake| match mistake.pointer.trim_start_matches('/') {
                "" => mistake.detail.clone(),
                place => format!("--{}: {}", place.replace("tags/", "tag "), mistake.detail),
            };
            let told = mistakes.iter().map(|mistake| format!("error: {}", told(mistake)));
            return Err(Failure::Refused(told.collect::<Vec<_>>().join("\n")));
        }
        let address = args.address.clone().map(OnceLock::from).unwrap_or_default();
        let service = args.service.clone();
        Ok(Self { service, id: args.id.clone(), port: args.port, ttl: args.ttl, said, address })
    }

    /// Its service.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// It is reached where this machine asks gateways from, unless it is said otherwise.
    pub(super) fn asks_from(&self, address: IpAddr) {
        self.address.get_or_init(|| address.to_canonical().to_string());
    }

    /// Where the service's instances are.
    pub(super) fn list(&self) -> String {
        format!("/v1/registry/services/{}/instances", self.service)
    }

    /// Where it is registered itself; `None`: it is not known yet where it is reached.
    pub(super) fn path(&self) -> Option<String> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.shown()?,
        };
        // RFC 3986 §3.3: brackets are no `pchar`.
        Some(format!("{}/{}", self.list(), id.replace('[', "%5B").replace(']', "%5D")))
    }

    /// Where it listens.
    pub(super) fn shown(&self) -> Option<String> {
        let address = self.address.get()?;
        let is_v6 = address.contains(':');
        Some(if is_v6 { format!("[{address}]:{}", self.port) } else { format!("{address}:{}", self.port) })
    }

    /// What it says of itself.
    pub(super) fn said(&self) -> String {
        let mut said = self.said.clone();
        self.address.get().into_iter().for_each(|address| drop(said.insert("address".into(), address.clone().into())));
        Value::Object(said).to_string()
    }
}
