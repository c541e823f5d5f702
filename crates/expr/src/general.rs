//! Conditions for the interpreter. It sees the request as variables, which are looked up before it starts.

use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelString};
use cel::{Context, Env, IdedExpr, Value};

use crate::caller::Trait;
use crate::facts::Facts;
use crate::plain::{Subject, Test};

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // Adds functions whose names the standard library does not have, so it cannot fail; the tests call them.
    let _ = environment.add_extension(cel::extensions::strings);
    Arc::new(environment)
});

/// What a variable stands for.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Text(Subject),
    Truth(Test),
    Caller(Trait),
}

/// The name of the variable for the slot with this number; no user can write it.
pub(crate) fn slot_name(number: usize) -> String {
    format!("#{number}")
}

/// An expression in which all that is ours was replaced by variables.
#[derive(Debug)]
pub(crate) struct General {
    expr: IdedExpr,
    slots: Vec<(String, Slot)>,
}

impl General {
    pub(crate) fn new(expr: IdedExpr, slots: Vec<Slot>) -> Self {
        let slots = slots.into_iter().enumerate().map(|(number, slot)| (slot_name(number), slot));
        Self { expr, slots: slots.collect() }
    }

    /// False too if the evaluation fails, or does not end in a truth value.
    pub(crate) fn holds(&self, facts: &dyn Facts) -> bool {
        matches!(self.value(facts), Some(Value::Bool(true)))
    }

    /// What it ends in. `None`: the evaluation fails.
    pub(crate) fn value(&self, facts: &dyn Facts) -> Option<Value> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, slot) in &self.slots {
            match slot {
                Slot::Text(subject) => {
                    context.add_variable_as_val(name.as_str(), Box::new(CelString::from(subject.read(facts))));
                }
                Slot::Truth(test) => {
                    context.add_variable_as_val(name.as_str(), Box::new(CelBool::from(test.holds(facts))));
                }
                // What is not there is no variable: whatever looks at it fails.
                Slot::Caller(asked) => {
                    if let Some(value) = asked.read(facts.caller()) {
                        context.add_variable_from_value(name.as_str(), value);
                    }
                }
            }
        }
        context.resolve(&self.expr).ok()
    }
}
