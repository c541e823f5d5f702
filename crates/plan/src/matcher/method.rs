//! Methods as bits: the few that the config names, numbered once.

/// A set of methods, one bit per name known to [`Methods`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MethodSet(u64);

pub(super) const GET: MethodSet = MethodSet(1);
pub(super) const HEAD: MethodSet = MethodSet(2);
pub(super) const OPTIONS: MethodSet = MethodSet(4);

impl MethodSet {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// Which methods a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteMethods {
    /// No method in the key.
    All,
    /// Those in the key.
    Named(MethodSet),
}

impl RouteMethods {
    /// The named methods a request may use: a GET route serves HEAD too (RFC 9110 §9.3.2). Empty for `All`.
    pub(super) fn served(self) -> MethodSet {
        match self {
            Self::All => MethodSet::default(),
            Self::Named(set) if set.meets(GET) => set.union(HEAD),
            Self::Named(set) => set,
        }
    }

    /// Whether the key names one of `methods` itself.
    pub(super) fn names(self, methods: MethodSet) -> bool {
        matches!(self, Self::Named(set) if set.meets(methods))
    }
}

/// All method names of the config, each with its bit.
#[derive(Debug)]
pub(super) struct Methods {
    names: Vec<Box<str>>,
}

impl Methods {
    /// The three with a meaning of their own come first: [`GET`], [`HEAD`], [`OPTIONS`].
    pub(super) fn new() -> Self {
        Self { names: ["GET", "HEAD", "OPTIONS"].map(Into::into).into() }
    }

    /// The bit of a method, newly given if need be; `None` once all 64 are given.
    pub(super) fn add(&mut self, name: &str) -> Option<MethodSet> {
        let at = self.names.iter().position(|known| &**known == name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        1u64.checked_shl(u32::try_from(at).ok()?).map(MethodSet)
    }

    /// The bit of a request's method; the empty set for one that no route names. Case counts (RFC 9110 §9.1).
    pub(super) fn bit(&self, name: &[u8]) -> MethodSet {
        let at = self.names.iter().position(|known| known.as_bytes() == name);
        at.map_or(MethodSet::default(), |at| MethodSet(1 << at))
    }

    /// The names in a set, sorted.
    pub(super) fn sorted(&self, set: MethodSet) -> Vec<&str> {
        let held = self.names.iter().enumerate().filter(|(at, _)| set.0 >> at & 1 == 1);
        let mut names: Vec<&str> = held.map(|(_, name)| &**name).collect();
        names.sort_unstable();
        names
    }
}
