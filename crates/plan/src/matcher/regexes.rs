//! The regex routes of one host class: one set tells which expressions match at all, then rank decides.

use std::ops::ControlFlow;

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::Compiled;
use super::captures::Captures;
use super::pattern::{Pattern, Shape};
use super::trie::RouteId;

/// Bytes that all expressions of a class together may take once compiled.
const SET_SIZE: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RegexTable {
    /// Best first.
    pub(super) ranked: Vec<RouteId>,
    /// The expressions in the order of `ranked`; `None` until [`RegexTable::seal`], and if there are none.
    set: Option<RegexSet>,
}

impl RegexTable {
    /// Builds the set, once `ranked` is in its order.
    pub(super) fn seal<C>(&mut self, routes: &[Compiled<C>]) -> Result<(), regex::Error> {
        if self.ranked.is_empty() {
            return Ok(());
        }
        let sources = self.ranked.iter().filter_map(|route| match &routes[*route as usize].path.regex()?.shape {
            Shape::Regex { regex, .. } => Some(regex.as_str()),
            Shape::Plain { .. } => None,
        });
        self.set = Some(RegexSetBuilder::new(sources).unicode(false).size_limit(SET_SIZE).build()?);
        Ok(())
    }

    /// Shows `visit` each route whose expression matches `path`, best first.
    pub(super) fn walk<C, B>(
        &self,
        path: &[u8],
        routes: &[Compiled<C>],
        visit: &mut impl FnMut(&[RouteId], &Captures) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        // The plain question allocates nothing and is mostly answered by no.
        let Some(set) = self.set.as_ref().filter(|set| set.is_match(path)) else {
            return ControlFlow::Continue(());
        };
        for at in &set.matches(path) {
            let route = self.ranked[at];
            let captures = routes[route as usize].path.regex().map(|pattern| captures(pattern, path));
            visit(&[route], &captures.unwrap_or_default())?;
        }
        ControlFlow::Continue(())
    }
}

fn captures(pattern: &Pattern, path: &[u8]) -> Captures {
    let mut captures = Captures::default();
    let Shape::Regex { regex, groups, .. } = &pattern.shape else { return captures };
    if groups.is_empty() {
        return captures;
    }
    let mut locations = regex.capture_locations();
    if regex.captures_read(&mut locations, path).is_some() {
        for group in groups {
            match locations.get(*group) {
                Some((start, end)) => captures.push(start..end),
                None => captures.push_absent(),
            }
        }
    }
    captures
}
