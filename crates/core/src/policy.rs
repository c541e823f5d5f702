//! What a policy is: the three honest moments in an exchange, and how one is built from the file.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::criticality::Criticality;
use crate::decode::{Decode, DecodeCx};
use crate::diagnostic::Diagnostic;
use crate::exchange::Exchange;
use crate::facts::Route;
use crate::node::Node;
use crate::principal::Sources;
use crate::problem::{Fault, Problem};
use crate::reply::Reply;

/// A future that a policy needs only when it has to wait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether the exchange goes on.
#[derive(Debug)]
pub enum Flow {
    /// To the next policy.
    Next,
    /// No further: this is the answer. Boxed, since every exchange keeps room for one that few need.
    Reply(Box<Reply>),
}

/// What a hook gives back: at once, or later. Policies that need not wait never allocate a future.
pub enum Step<'a> {
    /// Done.
    Now(Result<Flow, Problem>),
    /// When this is done.
    Later(BoxFuture<'a, Result<Flow, Problem>>),
}

impl Step<'_> {
    /// Go on.
    #[must_use]
    pub fn next() -> Self {
        Self::Now(Ok(Flow::Next))
    }

    /// Answer with this.
    #[must_use]
    pub fn reply(reply: Reply) -> Self {
        Self::Now(Ok(Flow::Reply(Box::new(reply))))
    }

    /// Refuse.
    #[must_use]
    pub fn refuse(problem: Problem) -> Self {
        Self::Now(Err(problem))
    }
}

/// Which moments a policy wants to see. Unused hooks cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything is sent to an upstream.
    pub request: bool,
    /// With all of the request's body, for some requests at least ([`Policy::wants_content`]).
    pub content: bool,
    /// Before each attempt to send it to a service.
    pub attempt: bool,
    /// Once an answer's head is known, whoever gave it.
    pub response: bool,
    /// After the last byte, or once the client hung up.
    pub done: bool,
}

impl Hooks {
    /// Requests only.
    pub const REQUEST: Self = Self { request: true, ..Self::NONE };
    /// Responses only.
    pub const RESPONSE: Self = Self { response: true, ..Self::NONE };
    /// Requests and responses.
    pub const BOTH: Self = Self { request: true, response: true, ..Self::NONE };
    /// None.
    pub const NONE: Self = Self { request: false, content: false, attempt: false, response: false, done: false };
}

/// One attempt to have a request answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The name of the service.
    pub service: &'a str,
}

/// Something that looks at exchanges and may change or end them.
pub trait Policy: std::fmt::Debug + Send + Sync + 'static {
    /// The moments it wants to see.
    fn hooks(&self) -> Hooks;

    /// The head was read and a route found; nothing was sent yet. May change the head, answer, or refuse.
    fn on_request<'a>(&'a self, _x: &'a mut Exchange) -> Step<'a> {
        Step::next()
    }

    /// The most bytes of body that it wants to have in `x.content` when it sees this request, if it wants that at all. A larger one is
    /// refused. Nothing of the body is sent to anybody before all of it is there, so this is for those who cannot do without.
    fn wants_content(&self, _x: &Exchange) -> Option<usize> {
        None
    }

    /// How much the requests of its route matter, as long as it has not seen them; `None`: that is not for it to say.
    fn criticality(&self) -> Option<Criticality> {
        None
    }

    /// The request is about to be sent to this service, perhaps not for the first time. May say in `x.onward` what this attempt says
    /// in place of what the client sent; it is empty when the first policy sees it.
    fn on_attempt<'a>(&'a self, _x: &'a mut Exchange, _to: Attempt<'a>) -> Step<'a> {
        Step::next()
    }

    /// The request fields that nobody but this policy may write: whatever clients send under these names is dropped, on all routes.
    fn owned_fields(&self) -> Vec<Bytes> {
        Vec::new()
    }

    /// `x.reply` is there; nothing of it was sent. Runs in reverse order for every policy whose `on_request` was
    /// reached, also when the gateway itself answers. May change the head or put another reply in its place.
    fn on_response<'a>(&'a self, _x: &'a mut Exchange) -> Step<'a> {
        Step::next()
    }

    /// The exchange is over.
    fn on_done(&self, _x: &Exchange) {}

    /// Whether a file that it was built from is another one now: a reload builds it anew, also if the config is the same. Blocks; asked by
    /// reloads alone.
    fn is_stale(&self) -> bool {
        false
    }

    /// One line for `explain`: what it does on this route.
    fn describe(&self) -> String;
}

/// Where in the fixed order a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Needs nothing but the head: address lists, CORS, required fields.
    Edge,
    /// Who calls.
    Authenticate,
    /// What they may do.
    Authorize,
    /// How much.
    Quota,
    /// Whether the request is well formed.
    Validate,
    /// Whether the answer is known already.
    Cache,
    /// When it goes on.
    Smooth,
    /// Changes to what is sent on and sent back.
    Transform,
    /// What has to see the request as it is sent.
    Sign,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 9] = [
        Self::Edge,
        Self::Authenticate,
        Self::Authorize,
        Self::Quota,
        Self::Validate,
        Self::Cache,
        Self::Smooth,
        Self::Transform,
        Self::Sign,
    ];

    /// Its name in `explain` and docs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Quota => "quota",
            Self::Validate => "validate",
            Self::Cache => "cache",
            Self::Smooth => "smooth",
            Self::Transform => "transform",
            Self::Sign => "sign",
        }
    }
}

/// What a policy may know of the world while it is built.
#[derive(Debug)]
pub struct BuildCx<'a> {
    /// The route it is built for.
    pub route: &'a Route,
    /// Who can tell who calls, and who counts.
    pub sources: &'a Sources,
    /// Where it is written.
    pub place: Place,
}

/// Where a policy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the `defaults` of the file.
    File,
    /// In the `defaults` of the route's api.
    Api,
    /// On the route.
    Route,
}

/// What one key of a route becomes.
pub type Built = Vec<(Stage, Arc<dyn Policy>)>;

/// The section of the file that makes a policy. Parse, don't validate: after `build` no wrong state can exist.
pub trait PolicyConfig: Decode + JsonSchema {
    /// The key in the file and the name everywhere else.
    const NAME: &'static str;
    /// A sentence for lists and docs.
    const SUMMARY: &'static str;
    /// A working value of the key, shown in the docs and built by a test.
    const EXAMPLE: &'static str;
    /// What it may refuse with; each slug starts with the policy's name.
    const FAULTS: &'static [&'static Fault];
    /// How `defaults` combine with a route's own.
    const MERGE: Merge = Merge::Replace;
    /// The policy without which it makes no sense on a route.
    const NEEDS: Option<&'static str> = None;
    /// Whether nobody passes it who is not known.
    const KNOWS_CALLERS: bool = false;
    /// Whether it makes sense on routes alone that send requests on.
    const IS_ONWARD: bool = false;

    /// Rewrites short forms to the one long form.
    fn desugar(node: Node) -> Node {
        node
    }

    /// The policies for one route.
    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic>;
}

/// How a value in `defaults` combines with the route's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The route's own stands in its place.
    Replace,
    /// Guards: both hold.
    Add,
}

/// A policy of the list, with its types erased.
#[derive(Clone, Copy)]
pub struct PolicyKind {
    /// See [`PolicyConfig::NAME`].
    pub name: &'static str,
    /// See [`PolicyConfig::SUMMARY`].
    pub summary: &'static str,
    /// See [`PolicyConfig::EXAMPLE`].
    pub example: &'static str,
    /// See [`PolicyConfig::FAULTS`].
    pub faults: &'static [&'static Fault],
    /// See [`PolicyConfig::MERGE`].
    pub merge: Merge,
    /// See [`PolicyConfig::NEEDS`].
    pub needs: Option<&'static str>,
    /// See [`PolicyConfig::KNOWS_CALLERS`].
    pub knows_callers: bool,
    /// See [`PolicyConfig::IS_ONWARD`].
    pub is_onward: bool,
    /// See [`PolicyConfig::desugar`].
    pub desugar: fn(Node) -> Node,
    /// Its part of the file's schema.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes (long form) and builds; mistakes go to the second.
    pub build: fn(&Node, &mut DecodeCx, &BuildCx<'_>) -> Option<Built>,
}

impl PolicyKind {
    /// The kind whose section is `C`.
    #[must_use]
    pub const fn of<C: PolicyConfig>() -> Self {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            example: C::EXAMPLE,
            faults: C::FAULTS,
            merge: C::MERGE,
            needs: C::NEEDS,
            knows_callers: C::KNOWS_CALLERS,
            is_onward: C::IS_ONWARD,
            desugar: C::desugar,
            schema: |generator| generator.subschema_for::<C>(),
            build: |node, cx, build_cx| {
                let built = C::decode(node, cx)?.build(build_cx);
                built.map_err(|mistake| cx.report(mistake.at(&node.span))).ok()
            },
        }
    }
}

impl std::fmt::Debug for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyKind").field("name", &self.name).finish_non_exhaustive()
    }
}
