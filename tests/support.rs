//! What the tests over the wire share: a gateway with one route to one backend.

use tollgate_testkit::{Gateway, Recorder};

/// Everything goes to the backend.
pub(crate) const ONE_ROUTE: &str = r#"
listen:
  "{{http}}": http
  "{{health}}": health
defaults: { body: 1GB }
routes:
  /**: "{{backend}}"
"#;

/// A gateway in front of `backend`.
pub(crate) fn before(backend: &Recorder) -> Gateway {
    with(ONE_ROUTE, backend)
}

/// A gateway with this config, in which `{{backend}}` is `backend`.
pub(crate) fn with(config: &str, backend: &Recorder) -> Gateway {
    Gateway::start(env!("CARGO_BIN_EXE_tollgate"), config, &[("backend", backend.address().to_string())])
}
