//! Conditions in CEL, with simple predicates turned into plain compares.
