//! Why a route won: every route that could have served a request, in order, and what decided.

use std::fmt;
use std::ops::ControlFlow;

use super::pattern::{Pattern, Segment, Shape, Tail};
use super::{Asked, Compiled, HEAD, HostPattern, Lookup, Matcher};

/// What `tollgate explain` tells about matching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The routes that match, best first. The first serves the request.
    pub matching: Vec<usize>,
    /// Why the first beats the second; `None` if there are fewer than two.
    pub reason: Option<Reason>,
    /// Routes whose host and path match but that do not serve the request, most specific first.
    pub missed: Vec<(usize, Miss)>,
}

/// Why a route with the right host and path does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It takes other methods.
    Method,
    /// Its condition does not hold.
    Condition,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "takes other methods",
            Self::Condition => "its condition does not hold",
        })
    }
}

/// What made one matching route better than the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Only one of them names `OPTIONS`, and the request is a preflight.
    OptionsByName,
    /// An exact host beats a wildcard.
    ExactHost {
        /// The exact host.
        host: String,
        /// The wildcard.
        wildcard: String,
    },
    /// A longer wildcard beats a shorter.
    LongerWildcard {
        /// The winner.
        longer: String,
        /// The loser.
        shorter: String,
    },
    /// Any host beats none.
    HostOverNone {
        /// The host.
        host: String,
    },
    /// A literal segment beats a parameter.
    LiteralOverParameter {
        /// The literal.
        literal: String,
        /// The parameter's name.
        parameter: String,
    },
    /// A literal segment beats `**`.
    LiteralOverTail {
        /// The literal.
        literal: String,
    },
    /// A parameter beats `**`.
    ParameterOverTail {
        /// The parameter's name.
        parameter: String,
    },
    /// A pattern that ends where the path ends beats `**`.
    EndOverTail,
    /// A plain pattern beats a regex.
    PlainOverRegex,
    /// More conditions beat fewer.
    MoreConditions {
        /// How many the winner has.
        more: usize,
        /// How many the loser has.
        fewer: usize,
    },
    /// The higher priority.
    Priority {
        /// The winner's.
        higher: i64,
        /// The loser's.
        lower: i64,
    },
    /// `HEAD` by name beats `GET`, which serves it too.
    HeadByName,
    /// A named method beats none.
    NamedMethod,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OptionsByName => f.write_str("a route that names `OPTIONS` answers preflights itself"),
            Self::ExactHost { host, wildcard } => write!(f, "exact host `{host}` beats wildcard `{wildcard}`"),
            Self::LongerWildcard { longer, shorter } => write!(f, "longer wildcard `{longer}` beats `{shorter}`"),
            Self::HostOverNone { host } => write!(f, "host `{host}` beats no host"),
            Self::LiteralOverParameter { literal, parameter } => {
                write!(f, "literal segment `{literal}` beats parameter `{{{parameter}}}`")
            }
            Self::LiteralOverTail { literal } => write!(f, "literal segment `{literal}` beats `**`"),
            Self::ParameterOverTail { parameter } => write!(f, "parameter `{{{parameter}}}` beats `**`"),
            Self::EndOverTail => f.write_str("the whole path beats `**`"),
            Self::PlainOverRegex => f.write_str("a plain pattern beats a regular expression"),
            Self::MoreConditions { more, fewer } => write!(f, "more conditions: {more} beat {fewer}"),
            Self::Priority { higher, lower } => write!(f, "priority {higher} beats {lower}"),
            Self::HeadByName => f.write_str("`HEAD` by name beats `GET`, which serves it too"),
            Self::NamedMethod => f.write_str("a named method beats none"),
        }
    }
}

/// A route with the host pattern under which it matched.
struct Candidate {
    route: usize,
    host: Option<HostPattern>,
}

impl<C> Matcher<C> {
    /// All that [`Matcher::find`] weighs for this request. Not for the hot path.
    pub fn explain(&self, request: &Lookup<'_>, mut holds: impl FnMut(&C) -> bool) -> Explanation {
        let mut told = match request.preflight_for {
            Some(method) => {
                let by_name = self.weigh(request, Asked::OptionsByName, &mut holds);
                let for_method = self.weigh(request, Asked::Method(self.methods.bit(method)), &mut holds);
                prefer(by_name, for_method)
            }
            None => self.weigh(request, Asked::Method(self.methods.bit(request.method)), &mut holds),
        };
        told.explanation.reason = told.explanation.reason.or_else(|| match told.matching.as_slice() {
            [first, second, ..] => self.reason(first, second, request),
            _ => None,
        });
        told.explanation.matching = told.matching.iter().map(|candidate| candidate.route).collect();
        told.explanation
    }

    fn weigh(&self, request: &Lookup<'_>, asked: Asked, holds: &mut impl FnMut(&C) -> bool) -> Weighed {
        let mut weighed = Weighed::default();
        let _: ControlFlow<()> = self.each_match(request, &mut |host, routes, _| {
            for &route in routes {
                let compiled = &self.routes[route as usize];
                let fits = match (compiled.takes(asked), compiled.holds(holds)) {
                    (true, true) => Ok(()),
                    (true, false) => Err(Miss::Condition),
                    (false, _) => Err(Miss::Method),
                };
                weighed.add(Candidate { route: route as usize, host: host.cloned() }, fits);
            }
            ControlFlow::Continue(())
        });
        weighed
    }

    fn reason(&self, first: &Candidate, second: &Candidate, request: &Lookup<'_>) -> Option<Reason> {
        let (a, b) = (&self.routes[first.route], &self.routes[second.route]);
        host_reason(first.host.as_ref(), second.host.as_ref())
            .or_else(|| pattern_reason(&a.path.pattern()?, &b.path.pattern()?))
            .or_else(|| rank_reason(a, b, request.preflight_for.unwrap_or(request.method) == b"HEAD"))
    }
}

/// An explanation in the making.
#[derive(Default)]
struct Weighed {
    matching: Vec<Candidate>,
    explanation: Explanation,
}

impl Weighed {
    /// A route with several hosts may come more than once; its best place counts.
    fn add(&mut self, candidate: Candidate, fits: Result<(), Miss>) {
        let route = candidate.route;
        match fits {
            Ok(()) if self.matching.iter().all(|known| known.route != route) => self.matching.push(candidate),
            Err(miss) if self.explanation.missed.iter().all(|(known, _)| *known != route) => {
                self.explanation.missed.push((route, miss));
            }
            _ => {}
        }
    }
}

/// For a preflight: routes that name `OPTIONS` before those that take the method asked for.
fn prefer(mut by_name: Weighed, for_method: Weighed) -> Weighed {
    if by_name.matching.is_empty() {
        return for_method;
    }
    let named = by_name.matching.len();
    for candidate in for_method.matching {
        by_name.add(candidate, Ok(()));
    }
    if named == 1 && by_name.matching.len() > 1 {
        by_name.explanation.reason = Some(Reason::OptionsByName);
    }
    let matching = &by_name.matching;
    by_name.explanation.missed.retain(|(route, _)| matching.iter().all(|known| known.route != *route));
    by_name
}

fn host_reason(first: Option<&HostPattern>, second: Option<&HostPattern>) -> Option<Reason> {
    match (first?, second) {
        (host, None) => Some(Reason::HostOverNone { host: host.to_string() }),
        (a, Some(b)) if a == b => None,
        (HostPattern::Exact(host), Some(b)) => Some(Reason::ExactHost { host: host.clone(), wildcard: b.to_string() }),
        (a, Some(b)) => Some(Reason::LongerWildcard { longer: a.to_string(), shorter: b.to_string() }),
    }
}

fn pattern_reason(first: &Pattern, second: &Pattern) -> Option<Reason> {
    let (Shape::Plain { segments: a, .. }, Shape::Plain { segments: b, tail }) = (&first.shape, &second.shape) else {
        let plain_first = matches!(first.shape, Shape::Plain { .. });
        return (plain_first && matches!(second.shape, Shape::Regex { .. })).then_some(Reason::PlainOverRegex);
    };
    // Both match one path, so literals in the same place are equal.
    for (a, b) in a.iter().zip(b) {
        if let (Segment::Literal(literal), Segment::Parameter(parameter)) = (a, b) {
            return Some(Reason::LiteralOverParameter { literal: text(literal), parameter: parameter.clone() });
        }
    }
    match a.get(b.len()) {
        Some(Segment::Literal(literal)) => Some(Reason::LiteralOverTail { literal: text(literal) }),
        Some(Segment::Parameter(parameter)) => Some(Reason::ParameterOverTail { parameter: parameter.clone() }),
        None => (*tail == Tail::AnythingBelow && !first.has_tail()).then_some(Reason::EndOverTail),
    }
}

fn rank_reason<C>(a: &Compiled<C>, b: &Compiled<C>, is_head: bool) -> Option<Reason> {
    if a.conjuncts != b.conjuncts {
        return Some(Reason::MoreConditions { more: a.conjuncts, fewer: b.conjuncts });
    }
    if a.priority != b.priority {
        return Some(Reason::Priority { higher: a.priority, lower: b.priority });
    }
    if a.methods.served().is_empty() {
        return None;
    }
    if b.methods.served().is_empty() {
        return Some(Reason::NamedMethod);
    }
    (is_head && a.methods.names(HEAD)).then_some(Reason::HeadByName)
}

fn text(literal: &[u8]) -> String {
    String::from_utf8_lossy(literal).into_owned()
}
