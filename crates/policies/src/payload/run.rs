//! What is done with a body: it passes, and is looked at.

use tollgate_core::body::{Finish, Length, RecodeError, Recoder};
use tollgate_core::exchange::Exchange;
use tollgate_core::head::Fields;
use tollgate_core::policy::{Flow, Hooks, Policy, Step};
use tollgate_core::problem::Problem;
use tollgate_transform::bounds::{JsonChecker, JsonLimits, Values, Violation, Wrong, XmlChecker, XmlLimits};

use super::kind::{Kind, Told, is_coded, told};
use super::{CODING, JSON, MALFORMED, TYPE, XML};

/// Most bytes that pass in one go.
const PIECE: usize = 64 * 1024;

/// Looks at bodies.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) json: Option<JsonLimits>,
    pub(super) xml: Option<XmlLimits>,
    pub(super) is_shadow: bool,
}

impl Policy for Payload {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        if matches!(x.length, Length::None | Length::Known(0)) {
            return Step::next();
        }
        match self.decide(x) {
            Ok(None) => Step::next(),
            Ok(Some(check)) => {
                x.recoders.push(Box::new(check));
                Step::next()
            }
            Err(problem) if self.is_shadow => {
                x.trail.shadow = Some(problem.fault);
                x.trail.cause.clone_from(&problem.cause);
                Step::Now(Ok(Flow::Next))
            }
            Err(problem) => Step::refuse(problem),
        }
    }

    fn describe(&self) -> String {
        let json = self.json.map(|limits| {
            let JsonLimits { depth, keys, items, key, string, number, values } = limits;
            format!("json: depth {depth}, keys {keys}, items {items}, key {key}, string {string}, number {number}, values {values}")
        });
        let xml = self.xml.map(|limits| {
            let XmlLimits { depth, elements, attributes, namespaces, name, value, text, comments, instructions } = limits;
            format!(
                "xml: depth {depth}, elements {elements}, attributes {attributes}, namespaces {namespaces}, name {name}, \
                 value {value}, text {text}, comments {comments}, instructions {instructions}"
            )
        });
        let what = json.into_iter().chain(xml).collect::<Vec<_>>().join("; ");
        if self.is_shadow { format!("{what} (shadow: refuses nobody)") } else { what }
    }
}

impl Payload {
    /// What looks at the body of this request; `None`: nobody has to, any more.
    fn decide(&self, x: &Exchange) -> Result<Option<Check>, Problem> {
        let told = told(&x.head);
        let (Told::One(kind) | Told::Several(kind) | Told::Foreign(kind)) = told else { return Ok(None) };
        let Some(check) = self.check(kind) else { return Ok(None) };
        readable(told, &x.head.fields)?;
        match &x.content {
            // It was read for somebody else, and nothing changes it any more.
            Some(content) if x.recoders.is_empty() => check.whole(content).map_or(Ok(None), Err),
            _ => Ok(Some(check)),
        }
    }

    fn check(&self, kind: Kind) -> Option<Check> {
        let limits = match kind {
            Kind::Json(values) => Limits::Json(self.json?, values),
            Kind::Xml => Limits::Xml(self.xml?),
        };
        let document = Document::new(limits);
        Some(Check { limits, document, is_begun: false, found: None, is_shadow: self.is_shadow })
    }
}

/// Whether what is looked at can be read.
fn readable(told: Told, fields: &Fields) -> Result<(), Problem> {
    let refuse = |problem: Problem, why: &'static str| Err(problem.detail(why).cause(why));
    match told {
        Told::Several(_) => refuse(TYPE.problem(), "more than one `Content-Type`"),
        Told::Foreign(_) => refuse(TYPE.problem(), "a `charset` other than UTF-8"),
        // RFC 9110 §12.5.3: the answer says which codings are taken.
        Told::One(_) | Told::Other if is_coded(fields) => refuse(
            CODING.problem().header("Accept-Encoding", "identity"),
            "a `Content-Encoding` that nothing here undoes",
        ),
        Told::One(_) | Told::Other => Ok(()),
    }
}

/// What a body is, and how much it may have of what.
#[derive(Clone, Copy, Debug)]
enum Limits {
    Json(JsonLimits, Values),
    Xml(XmlLimits),
}

/// A document on its way.
#[derive(Debug)]
enum Document {
    Json(JsonChecker),
    Xml(XmlChecker),
}

impl Document {
    fn new(limits: Limits) -> Self {
        match limits {
            Limits::Json(limits, values) => Self::Json(JsonChecker::json(limits, values)),
            Limits::Xml(limits) => Self::Xml(XmlChecker::xml(limits)),
        }
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Json(checker) => checker.feed(piece),
            Self::Xml(checker) => checker.feed(piece),
        }
    }

    fn end(&mut self) -> Result<(), Violation> {
        match self {
            Self::Json(checker) => checker.end(),
            Self::Xml(checker) => checker.end(),
        }
    }
}

/// Looks at one body while it passes.
#[derive(Debug)]
struct Check {
    limits: Limits,
    document: Document,
    /// A first byte came.
    is_begun: bool,
    /// What is wrong with it; nothing more is looked at then.
    found: Option<Violation>,
    is_shadow: bool,
}

/// For whoever does not ask what it is.
const REFUSED: RecodeError = RecodeError::Malformed("a body that is malformed, or beyond what is allowed");

impl Check {
    /// Looks at a body that is there already.
    fn whole(mut self, content: &[u8]) -> Option<Problem> {
        self.is_begun = !content.is_empty();
        let judged =
            self.document.feed(content).and_then(|()| if self.is_begun { self.document.end() } else { Ok(()) });
        judged.err().map(|violation| problem(self.limits, violation))
    }

    /// Whether it goes on after that.
    fn settle(&mut self, judged: Result<(), Violation>) -> Result<(), RecodeError> {
        self.found = judged.err();
        if self.found.is_some() && !self.is_shadow { Err(REFUSED) } else { Ok(()) }
    }
}

impl Recoder for Check {
    fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
        let piece = &input[..input.len().min(PIECE)];
        self.is_begun |= !piece.is_empty();
        if self.found.is_none() {
            let judged = self.document.feed(piece);
            self.settle(judged)?;
        }
        output.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        if self.found.is_none() && self.is_begun {
            let judged = self.document.end();
            self.settle(judged)?;
        }
        Ok(Finish::Done)
    }

    fn only_looks(&self) -> bool {
        true
    }

    fn start_over(&mut self) {
        // What was found once is there, however often it comes.
        (self.document, self.is_begun) = (Document::new(self.limits), false);
    }

    fn problem(&self, _: RecodeError) -> Option<Problem> {
        self.found.map(|violation| problem(self.limits, violation))
    }

    fn shadow(&self) -> Option<Problem> {
        self.found.filter(|_| self.is_shadow).map(|violation| problem(self.limits, violation))
    }
}

/// What the sender is told. Never what stands in the body: it may be read in the wrong place.
fn problem(limits: Limits, violation: Violation) -> Problem {
    let beyond = match limits {
        Limits::Json(..) => &JSON,
        Limits::Xml(_) => &XML,
    };
    let problem = match violation.what {
        Wrong::Malformed(_) => MALFORMED.problem(),
        Wrong::Encoding(_) => TYPE.problem(),
        Wrong::Refused(_) => beyond.problem(),
        Wrong::Exceeded(limit, most) => beyond.problem().member("limit", limit.name).member("allowed", most),
    };
    problem.member("offset", violation.at).detail(violation.to_string()).cause(violation)
}
