//! HTTP on sockets: here ends what any protocol shares and begins what each one needs.

pub(crate) mod attempt;
pub(crate) mod connection;
pub(crate) mod downstream;
pub(crate) mod ends;
pub(crate) mod h1;
mod h2;
mod handshake;
pub(crate) mod line;
pub(crate) mod nobody;
pub(crate) mod pump;
pub(crate) mod reports;
pub(crate) mod request_head;
pub(crate) mod timer;
pub(crate) mod turn;
pub(crate) mod websocket;

pub use connection::Greeting;
pub use reports::Forward;
