//! The gateway: `tollgate`.

mod cli;
mod demo;
mod health;
mod http;
mod start;
mod status;
mod wire;

use std::process::ExitCode;

/// Many small buffers of all sizes over months: the system's allocator fragments where this one does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
