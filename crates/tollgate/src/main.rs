//! The gateway: `tollgate`.

mod admin;
mod balancing;
mod cli;
mod control;
mod demo;
mod discovery;
mod followed;
mod health;
mod http;
mod inherited;
mod instances;
mod last_good;
mod memory;
mod node;
mod open_files;
mod overload;
mod redirect;
mod rehearsal;
mod reload;
mod scrape;
mod shown;
mod sources;
mod start;
mod status;
mod systemd;
mod tls;
mod upgrade;
mod watch;
mod watched;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
