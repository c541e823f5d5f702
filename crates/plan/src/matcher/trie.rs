//! Plain patterns of one host class, by segment: a look-up costs one step per segment, however many routes.
//!
//! Nodes are many (three for `/api/orders/{id}`) and nearly all of them have one child and one route at most. So they
//! are kept small: a table only where there are several literals, and the routes of all nodes in one list.

use std::collections::HashMap;
use std::mem;
use std::ops::ControlFlow;

use foldhash::fast::FixedState;

use super::captures::Captures;
use super::pattern::{Segment, Tail};

/// Number of a route: its place in the list that the matcher was built from.
pub(super) type RouteId = u32;

/// Place of a node in the list of nodes.
type NodeId = u32;

/// The tree. Node 0 is the root, which stands before the first slash.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Those with the same pattern stand together, best first.
    routes: Box<[RouteId]>,
    /// What was added and not sealed yet.
    added: Vec<Added>,
}

/// A route, and where in the tree its pattern ends.
#[derive(Debug)]
struct Added {
    node: NodeId,
    tail: Tail,
    route: RouteId,
}

/// Where all patterns with the same segments so far meet.
#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    parameter: Option<NodeId>,
    /// Routes whose pattern ends here.
    ends: Leaf,
    /// Routes whose pattern goes on with `**`.
    below: Leaf,
}

/// A part of the list of routes.
#[derive(Clone, Copy, Debug, Default)]
struct Leaf {
    from: u32,
    to: u32,
}

/// The literal segments by which a node is left.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "tables are few: each of the many nodes would be as big as if it had one")]
enum Literals {
    #[default]
    None,
    One(Box<[u8]>, NodeId),
    // The keys are the config's, not the client's: a fixed seed invites nobody.
    Many(Box<HashMap<Box<[u8]>, NodeId, FixedState>>),
}

impl Trie {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()], routes: Box::default(), added: Vec::new() }
    }

    /// Adds a route, which is found once the tree is sealed.
    pub(super) fn insert(&mut self, segments: &[Segment], tail: Tail, route: RouteId) {
        let mut at = 0;
        for segment in segments {
            let fresh = number(self.nodes.len());
            let node = &mut self.nodes[at as usize];
            at = match segment {
                Segment::Literal(text) => node.literals.get_or_insert(text, fresh),
                Segment::Parameter(_) => *node.parameter.get_or_insert(fresh),
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        self.added.push(Added { node: at, tail, route });
    }

    /// Puts the routes in their places, those with the same pattern by rank, and gives back what was only needed to add.
    pub(super) fn seal<R: Ord>(&mut self, rank: impl Fn(RouteId) -> R) {
        let mut added = mem::take(&mut self.added);
        added.sort_by_key(|added| (added.node, added.tail, rank(added.route)));
        self.routes = added.iter().map(|added| added.route).collect();
        let mut from = 0;
        for same in added.chunk_by(|a, b| (a.node, a.tail) == (b.node, b.tail)) {
            let to = from + number(same.len());
            let node = &mut self.nodes[same[0].node as usize];
            match same[0].tail {
                Tail::Ends => node.ends = Leaf { from, to },
                Tail::AnythingBelow => node.below = Leaf { from, to },
            }
            from = to;
        }
        self.nodes.shrink_to_fit();
    }

    /// Every non-empty list of routes with the same pattern, best first, for checking.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &[RouteId]> {
        let leaves = self.nodes.iter().flat_map(|node| [node.ends, node.below]);
        leaves.map(|leaf| self.leaf(leaf)).filter(|routes| !routes.is_empty())
    }

    fn leaf(&self, leaf: Leaf) -> &[RouteId] {
        &self.routes[leaf.from as usize..leaf.to as usize]
    }

    /// Shows `visit` the routes of every pattern that matches `path`, most specific pattern first, until it breaks.
    pub(super) fn walk<B>(
        &self,
        path: &[u8],
        captures: &mut Captures,
        visit: &mut impl FnMut(&[RouteId], &Captures) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.walk_from(0, path, 0, captures, visit)
    }

    /// `at` is the slash before the next segment, or the path's end. The depth is bounded by that of the tree,
    /// and each node is seen once at most, since a path leads to a node in one way only.
    fn walk_from<B>(
        &self,
        node: NodeId,
        path: &[u8],
        at: usize,
        captures: &mut Captures,
        visit: &mut impl FnMut(&[RouteId], &Captures) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let node = &self.nodes[node as usize];
        if at == path.len() {
            if !node.ends.is_empty() {
                visit(self.leaf(node.ends), captures)?;
            }
        } else {
            let start = at + 1;
            let end = path[start..].iter().position(|b| *b == b'/').map_or(path.len(), |length| start + length);
            if let Some(child) = node.literals.get(&path[start..end]) {
                self.walk_from(child, path, end, captures, visit)?;
            }
            if let Some(child) = node.parameter.filter(|_| end > start) {
                captures.push(start..end);
                self.walk_from(child, path, end, captures, visit)?;
                captures.pop();
            }
        }
        if !node.below.is_empty() {
            captures.set_tail(Some(at));
            visit(self.leaf(node.below), captures)?;
            captures.set_tail(None);
        }
        ControlFlow::Continue(())
    }
}

impl Leaf {
    fn is_empty(self) -> bool {
        self.from == self.to
    }
}

impl Literals {
    fn get(&self, segment: &[u8]) -> Option<NodeId> {
        match self {
            Self::None => None,
            Self::One(text, node) => (**text == *segment).then_some(*node),
            Self::Many(nodes) => nodes.get(segment).copied(),
        }
    }

    /// The node behind a segment; `fresh`, if there was none.
    fn get_or_insert(&mut self, segment: &[u8], fresh: NodeId) -> NodeId {
        if let Some(node) = self.get(segment) {
            return node;
        }
        let mut many = match mem::take(self) {
            Self::None => {
                *self = Self::One(segment.into(), fresh);
                return fresh;
            }
            Self::One(text, node) => Box::new(HashMap::from_iter([(text, node)])),
            Self::Many(many) => many,
        };
        many.insert(segment.into(), fresh);
        *self = Self::Many(many);
        fresh
    }
}

/// Places of nodes and routes as they are kept. A config is far too small for 2³² of them.
pub(super) fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_few_bytes() {
        assert_eq!(size_of::<Node>(), 48);
    }
}
