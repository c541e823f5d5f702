//! Recipes that people and CI share.
fn main() {}
