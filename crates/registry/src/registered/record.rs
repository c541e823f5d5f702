//! An instance as it lies in the store: `instances/SERVICE/ID`, and in JSON what the instance said of itself, with `draining` and `since`
//! (when it registered, in seconds of Unix time) beside it. Others may write it, too: only `address` and `port` must be there.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate_core::serde_json::{self, Map, Value, json};
use tollgate_durable::{Entry, Revision};

use super::table::Item;
use super::{INSTANCES, LOADS};
use crate::Load;
use crate::directory::{Registered, Registration};
use crate::said::{self, Unsaid};

/// The key of an instance.
pub(super) fn key(service: &str, id: &str) -> String {
    format!("{INSTANCES}{service}/{id}")
}

/// The key of its load.
pub(super) fn load_key(service: &str, id: &str) -> String {
    format!("{LOADS}{service}/{id}")
}

/// The service and the id in the key of an instance or of its load.
pub(super) fn names<'k>(key: &'k str, below: &str) -> Option<(&'k str, &'k str)> {
    let (service, id) = key.strip_prefix(below)?.split_once('/')?;
    (said::is_service(service) && said::is_id(id)).then_some((service, id))
}

/// The value of an instance.
pub(super) fn write(registration: &Registration, draining: bool, since: SystemTime) -> Vec<u8> {
    let Registration { address, port, ttl, zone, version, weight, group, tags, .. } = registration;
    let mut said = Map::new();
    said.insert("address".into(), json!(&**address));
    said.insert("port".into(), json!(port));
    said.insert("ttl".into(), json!(format!("{}s", ttl.as_secs())));
    for (name, word) in [("zone", zone), ("version", version)] {
        if let Some(word) = word {
            said.insert(name.into(), json!(&**word));
        }
    }
    said.insert("weight".into(), json!(weight));
    said.insert("group".into(), json!(group));
    said.insert("tags".into(), tags.iter().map(|tag| json!(&**tag)).collect());
    said.insert("draining".into(), json!(draining));
    said.insert("since".into(), json!(since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()));
    Value::Object(said).to_string().into_bytes()
}

/// What is known of an instance that was written just now.
pub(super) fn made(registration: Registration, revision: Revision, since: SystemTime) -> Registered {
    Registered { registration, draining: false, load: None, revision: revision.0, since, expires: None }
}

/// Reads an entry. `ttl`: that of an instance which does not say; `now`: since when it is there, likewise.
///
/// # Errors
/// All that is wrong with it, in words.
pub(super) fn read(entry: &Entry, ttl: Duration, now: SystemTime) -> Result<Item, String> {
    let Some((service, id)) = names(&entry.key, INSTANCES) else {
        return Err(format!("the key is not `{INSTANCES}SERVICE/ID`"));
    };
    let mut value: Value = serde_json::from_slice(&entry.value).map_err(|error| format!("it is no JSON: {error}"))?;
    let own = value.as_object_mut().map(|said| (said.shift_remove("draining"), said.shift_remove("since")));
    let (draining, since) = own.unwrap_or_default();
    let draining = match draining {
        None => false,
        Some(Value::Bool(draining)) => draining,
        Some(_) => return Err("/draining: expected true or false".to_owned()),
    };
    let since = since.and_then(|since| UNIX_EPOCH.checked_add(Duration::from_secs(since.as_u64()?))).unwrap_or(now);
    let (registration, load) =
        said::registration(service, id, &value, Unsaid { address: None, ttl }).map_err(|mistakes| {
            let told = mistakes.into_iter().map(|mistake| match mistake.pointer.as_str() {
                "" => mistake.detail,
                pointer => format!("{pointer}: {}", mistake.detail),
            });
            told.collect::<Vec<_>>().join("; ")
        })?;
    let revision = entry.modified.0;
    let registered = Registered { registration, draining, load, revision, since, expires: None };
    Ok(Item { registered: Arc::new(registered), lease: entry.lease })
}

/// Reads the load of an instance: numbers by name.
pub(super) fn load(entry: &Entry) -> Option<(&str, &str, Load)> {
    let (service, id) = names(&entry.key, LOADS)?;
    let Value::Object(fields) = serde_json::from_slice(&entry.value).ok()? else { return None };
    let mut load = Load::default();
    for (name, number) in &fields {
        load.set(name, number.as_f64()?);
    }
    Some((service, id, load))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        let (created, modified) = (Revision(3), Revision(4));
        Entry { key: key.to_owned(), value: value.into(), created, modified, lease: None }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"address":"10.0.0.1","port":8080,"ttl":"10s","zone":"a","version":"v2","weight":3,"group":1,"tags":["x","y"],"draining":true,"since":1800000000}"#;
        let item = read(&entry("instances/orders/a", text), Duration::from_secs(30), UNIX_EPOCH).unwrap();
        let Registered { registration, draining, since, .. } = item.registered.as_ref();
        assert_eq!(String::from_utf8(write(registration, *draining, *since)).unwrap(), text);
        assert_eq!((item.registered.revision, &*registration.service, &*registration.id), (4, "orders", "a"));
    }

    #[test]
    fn others_need_say_where_it_is_and_nothing_else() {
        let short = entry("instances/orders/10.0.0.1:80", r#"{"address":"10.0.0.1","port":80}"#);
        let item = read(&short, Duration::from_secs(30), UNIX_EPOCH).unwrap();
        assert_eq!((item.registered.registration.ttl, item.registered.draining), (Duration::from_secs(30), false));
        let wrong = [
            ("instances/orders", "{}"),
            ("instances/orders/a/b", "{}"),
            ("instances/orders/a", "no"),
            ("instances/orders/a", r#"{"address":"10.0.0.1"}"#),
            ("instances/orders/a", r#"{"address":"10.0.0.1","port":80,"prot":1}"#),
            ("instances/orders/a", r#"{"address":"10.0.0.1","port":80,"draining":1}"#),
        ];
        for (key, value) in wrong {
            assert!(read(&entry(key, value), Duration::from_secs(30), UNIX_EPOCH).is_err(), "{key}: {value}");
        }
    }
}
