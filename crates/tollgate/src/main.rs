//! The gateway: `tollgate`.
fn main() {}
