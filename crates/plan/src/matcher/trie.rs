//! Plain patterns of one host class, by segment: a look-up costs one hash per segment, however many routes.

use std::collections::HashMap;
use std::ops::ControlFlow;

use foldhash::fast::FixedState;

use super::captures::Captures;
use super::pattern::{Segment, Tail};

/// Number of a route: its place in the list that the matcher was built from.
pub(super) type RouteId = usize;

/// The tree. Node 0 is the root, which stands before the first slash.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

/// Where all patterns with the same segments so far meet.
#[derive(Debug, Default)]
struct Node {
    // The keys are the config's, not the client's: a fixed seed invites nobody.
    literals: HashMap<Box<[u8]>, usize, FixedState>,
    parameter: Option<usize>,
    /// Routes whose pattern ends here, best first.
    ends: Vec<RouteId>,
    /// Routes whose pattern goes on with `**`, best first.
    below: Vec<RouteId>,
}

impl Trie {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds a route at the end of the list of those with the same pattern.
    pub(super) fn insert(&mut self, segments: &[Segment], tail: Tail, route: RouteId) {
        let mut at = 0;
        for segment in segments {
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(fresh),
                Segment::Parameter(_) => *node.parameter.get_or_insert(fresh),
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        match tail {
            Tail::Ends => self.nodes[at].ends.push(route),
            Tail::AnythingBelow => self.nodes[at].below.push(route),
        }
    }

    /// Every non-empty list of routes with the same pattern, for sorting and checking.
    pub(super) fn leaves_mut(&mut self) -> impl Iterator<Item = &mut Vec<RouteId>> {
        let lists = self.nodes.iter_mut().flat_map(|node| [&mut node.ends, &mut node.below]);
        lists.filter(|list| !list.is_empty())
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
        node: usize,
        path: &[u8],
        at: usize,
        captures: &mut Captures,
        visit: &mut impl FnMut(&[RouteId], &Captures) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let node = &self.nodes[node];
        if at == path.len() {
            if !node.ends.is_empty() {
                visit(&node.ends, captures)?;
            }
        } else {
            let start = at + 1;
            let end = path[start..].iter().position(|b| *b == b'/').map_or(path.len(), |length| start + length);
            if let Some(&child) = node.literals.get(&path[start..end]) {
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
            visit(&node.below, captures)?;
            captures.set_tail(None);
        }
        ControlFlow::Continue(())
    }
}
