//! The gateway: `tollgate`.

mod cli;
mod demo;
mod health;
mod http;
mod memory;
mod redirect;
mod scrape;
mod start;
mod status;
mod tls;
mod watched;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
