//! What an answer says of how busy its instance is: in its head, or, as gRPC has it, in its trailers.

use std::sync::Arc;

use tollgate_core::head::Fields;
use tollgate_upstream::balance::orca::{FIELD, FIELD_BINARY};
use tollgate_upstream::{Lesson, Service};

/// Reads the reports of one answer.
#[derive(Debug)]
pub(crate) struct Reports {
    service: Arc<Service>,
    lesson: Lesson,
    forward: Forward,
}

/// Whether clients get reports too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// They are taken off the answer.
    Taken,
    /// They go on.
    Kept,
}

impl Reports {
    pub(crate) fn new(service: &Arc<Service>, lesson: Lesson, forward: Forward) -> Self {
        Self { service: Arc::clone(service), lesson, forward }
    }

    /// Reads what is in these fields, and takes it out if clients do not get it. What is malformed counts for nothing.
    pub(crate) fn read(&self, fields: &mut Fields) {
        let Some(reporting) = self.service.reporting() else { return };
        for name in [FIELD, FIELD_BINARY] {
            let mut values = fields.all(name);
            let Some(value) = values.next() else { continue };
            let report = match values.next() {
                Some(_) => Ok(None),
                None if name == FIELD => reporting.of.field(value),
                None => reporting.of.binary(value),
            };
            drop(values);
            match report {
                Ok(Some(report)) => self.service.reported(&self.lesson, report),
                Ok(None) => {}
                Err(_) => {
                    tracing::debug!(service = %self.service.name(), field = name, "a report of load is malformed")
                }
            }
            if self.forward == Forward::Taken {
                fields.remove(name);
            }
        }
    }
}
