//! What an instance says of how busy it is.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Most fields of a report.
const MOST_FIELDS: usize = 32;

/// A report of load: numbers by name, after ORCA (Open Request Cost Aggregation, `xds.data.orca.v3.OrcaLoadReport`): `cpu_utilization`,
/// `mem_utilization`, `application_utilization`, `rps_fractional`, `eps`, and of one's own `named_metrics.NAME`. Not negative; utilizations
/// are shares of what the instance has, and may be above 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load(BTreeMap<Arc<str>, Thousandths>);

/// A number, to three digits behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thousandths(u64);

impl Load {
    /// Sets a field, unless the number is no use (negative, no number at all) or there are as many fields as a report may have (32).
    /// Whether it was set.
    pub fn set(&mut self, name: &str, value: f64) -> bool {
        let is_fit = value.is_finite() && value >= 0.0;
        let has_room = self.0.len() < MOST_FIELDS || self.0.contains_key(name);
        if is_fit && has_room {
            self.0.insert(name.into(), Thousandths((value * 1000.0).round() as u64));
        }
        is_fit && has_room
    }

    /// A field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|value| value.0 as f64 / 1000.0)
    }

    /// All fields, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (&**name, value.0 as f64 / 1000.0))
    }
}
