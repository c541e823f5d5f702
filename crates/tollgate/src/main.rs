//! The gateway: `tollgate`.

mod cli;
mod demo;
mod health;
mod http;
mod memory;
mod start;
mod status;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
