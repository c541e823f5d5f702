//! What `/v1/health/service/NAME` answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::places::{Host, Place};

/// One instance: its node, itself, and their checks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: String,
}

/// The instances that may be asked. One without a port, or without weight as its checks stand, is none.
///
/// # Errors
/// It is no such answer.
pub(super) fn places(body: &[u8]) -> Result<Vec<Place>, String> {
    let entries: Vec<Entry> = serde_json::from_slice(body).map_err(|error| format!("no answer of Consul: {error}"))?;
    Ok(entries.iter().filter_map(place).collect())
}

fn place(entry: &Entry) -> Option<Place> {
    let port = u16::try_from(entry.service.port).ok().filter(|port| *port > 0)?;
    let address = if entry.service.address.is_empty() { &entry.node.address } else { &entry.service.address };
    let host = match address.parse() {
        Ok(ip) => Host::Ip(ip),
        Err(_) if is_host(address) => Host::Name(address.to_ascii_lowercase().into()),
        Err(_) => return None,
    };
    let zone =
        |meta: &Option<BTreeMap<String, String>>| meta.as_ref()?.get("zone").map(|zone| Arc::from(zone.as_str()));
    let zone = zone(&entry.service.meta).or_else(|| zone(&entry.node.meta));
    Some(Place { host, port, weight: weight(entry)?, zone, group: 0 })
}

/// By the worst of its checks; those of whom one is critical (or in maintenance, which is such a check) get nothing.
fn weight(entry: &Entry) -> Option<u32> {
    let weights = entry.service.weights.unwrap_or(Weights { passing: 1, warning: 1 });
    let mut weight = weights.passing;
    for check in entry.checks.iter().flatten() {
        match check.status.as_str() {
            "passing" => {}
            "warning" => weight = weights.warning,
            _ => return None,
        }
    }
    u32::try_from(weight).ok().filter(|weight| *weight > 0)
}

fn is_host(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_fit)
}
