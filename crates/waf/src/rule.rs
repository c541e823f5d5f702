//! Rules, ready to be held against requests.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::body::Processor;
use crate::compile::Called;
use crate::operator::Operator;
use crate::template::Template;
use crate::value::{Selector, Target};

/// A rule, with those that it is chained to.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) called: Called,
    /// 1: with the head, 2: with the body. What looks at answers is not kept.
    pub(crate) phase: usize,
    pub(crate) links: Vec<Link>,
    pub(crate) message: String,
    /// Whether it is told of when it matched.
    pub(crate) is_told: bool,
    pub(crate) then: Then,
    /// Behind which marker it goes on if it matched.
    pub(crate) skip: Option<Skip>,
    pub(crate) place: Place,
}

/// Where a rule goes on.
#[derive(Debug)]
pub(crate) struct Skip {
    pub(crate) marker: String,
    /// The number of the rule there, in the same phase.
    pub(crate) to: usize,
}

/// Where a rule stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<Path>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// What a rule does once it matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Pass,
    /// The request is refused.
    Deny,
    /// Nothing more is asked of it.
    Allow,
    /// Nothing more in this phase.
    AllowPhase,
}

/// One of the rules that have to match, all of them.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) targets: Vec<Target>,
    pub(crate) except: Vec<Selector>,
    /// What is looked for; `None`: it matches whatever there is.
    pub(crate) operator: Option<Operator>,
    /// Whether it matches what the operator does not find.
    pub(crate) is_negated: bool,
    /// The list of transformations, by its number.
    pub(crate) pipeline: usize,
    /// Whether the value is looked at after each of them.
    pub(crate) is_multi: bool,
    pub(crate) captures: bool,
    pub(crate) actions: Vec<Action>,
}

/// What a link does for each value that it finds.
#[derive(Debug)]
pub(crate) enum Action {
    Set(Assignment),
    /// Rules that are not run any more.
    Without(Named),
    /// Values that rules do not look at any more.
    WithoutTarget(Named, Selector),
    /// Nothing more is asked.
    Off,
    /// Matches are told, and refuse nobody.
    DetectOnly,
    /// The body is read so.
    Read(Processor),
}

/// A variable that is set.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) name: Name,
    pub(crate) change: Change,
    pub(crate) value: Template,
}

/// Which variable.
#[derive(Debug)]
pub(crate) enum Name {
    /// By its number.
    Known(usize),
    /// By a name that varies.
    Varying(Template),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Set,
    Add,
    Subtract,
    Unset,
}

/// Rules by what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// From this number to that.
    Ids(u64, u64),
    /// With this tag.
    Tag(String),
}

impl Named {
    /// `942100`, or `942100-942999`.
    pub(crate) fn ids(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(Self::Ids(first, last))
    }

    pub(crate) fn has(&self, called: &Called) -> bool {
        match self {
            Self::Ids(first, last) => (first..=last).contains(&&called.id),
            Self::Tag(tag) => called.tags.contains(tag),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ids(first, last) if first == last => write!(f, "{first}"),
            Self::Ids(first, last) => write!(f, "{first}-{last}"),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}
