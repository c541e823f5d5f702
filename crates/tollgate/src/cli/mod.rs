//! The command line: what can be asked for, and how answers and mistakes are shown.

mod admin;
mod audit;
mod check;
mod diff;
mod explain;
mod fmt;
mod generate;
mod key;
mod output;
mod register;
mod run;
mod status;
mod test;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub(crate) use output::{Failure, Output};
pub(crate) use run::{all, load, load_texts, log_to_stderr, set_level};

/// Tollgate: an API gateway for microservices. One binary, one readable file.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  tollgate demo                             three sample services and a gateway in front of them
  tollgate check -c tollgate.yaml           all mistakes of a config, with their places
  tollgate run -c tollgate.yaml             the gateway
  tollgate explain GET http://shop.example/orders/7";

/// What can be asked for.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C.
    #[command(after_help = "Example:\n  tollgate run -c /etc/tollgate/tollgate.yaml")]
    Run(ConfigArgs),
    /// Tell every mistake of a config at once, with file, line and column.
    #[command(after_help = "Example:\n  tollgate check -c tollgate.yaml\n\nExit code: 0 fine, 2 mistakes.")]
    Check(ConfigArgs),
    /// Run the tests of a config: requests, and what is to become of them. Nothing is sent.
    #[command(
        after_help = "Example:\n  tollgate test -c tollgate.yaml\n\nExit code: 0 all pass, 1 one fails, 2 the config is wrong."
    )]
    Test(test::TestArgs),
    /// Tell which route a request takes, why, through which policies, and where it goes.
    #[command(after_help = "Example:\n  tollgate explain GET 'http://shop.example/orders/7?x=1' -H 'X-Beta: 1'")]
    Explain(explain::ExplainArgs),
    /// Tell what a reload would change: what is in force, or another config, against this one.
    #[command(
        after_help = "Examples:\n  tollgate diff                        what is in force (by the admin listener) against \
                            ./tollgate.yaml\n  tollgate diff --from old.yaml        two configs, without a gateway\n\nExit code: 0 \
                            nothing changes, 1 something does, 2 a wrong config, or no answer."
    )]
    Diff(diff::DiffArgs),
    /// Bring a config into its canonical layout.
    #[command(
        after_help = "Examples:\n  tollgate fmt tollgate.yaml            rewrite the file\n  tollgate fmt --check \
                            tollgate.yaml    only say whether it is formatted\n  tollgate fmt --long tollgate.yaml     show \
                            it with every short form written in full"
    )]
    Fmt(fmt::FmtArgs),
    /// Print the JSON Schema of the config, for editors.
    #[command(after_help = "Example:\n  tollgate schema > tollgate.schema.json")]
    Schema,
    /// Show what a running gateway says of itself.
    #[command(
        after_help = "Examples:\n  tollgate status                            ask the health listener of ./tollgate.yaml\n  \
                            tollgate status --url http://127.0.0.1:9900 --json"
    )]
    Status(status::StatusArgs),
    /// Replace the running process by the binary that is at its path now, without a connection refused.
    #[command(
        after_help = "Example:\n  install tollgate-new /usr/local/bin/tollgate && tollgate upgrade\n\nThe running process \
                            starts the binary with its own arguments, hands it all sockets, and ends what it has once the \
                            new one serves; if that fails, it goes on. SIGUSR2 asks for the same."
    )]
    Upgrade(upgrade::UpgradeArgs),
    /// Have a running gateway read its config again.
    #[command(
        after_help = "Example:\n  tollgate reload -c /etc/tollgate/tollgate.yaml\n\nExit code: 0 in force (or nothing changes), 2 \
                            refused: the config before stays in force."
    )]
    Reload(admin::AdminArgs),
    /// Take a running gateway out: it says that it is not ready, and serves on.
    #[command(after_help = "Example:\n  tollgate drain && sleep 10 && systemctl stop tollgate")]
    Drain(admin::AdminArgs),
    /// Put a gateway back that was taken out by `drain`.
    #[command(after_help = "Example:\n  tollgate undrain")]
    Undrain(admin::AdminArgs),
    /// Run a service: registered with the gateways once it is ready, deregistered before it is told to stop.
    #[command(after_help = register::EXAMPLES)]
    Register(Box<register::RegisterArgs>),
    /// Look at the audit log: who changed what.
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Make, list and end API keys.
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// Run three sample services and a gateway in front of them.
    #[command(
        after_help = "Examples:\n  tollgate demo          run until Ctrl-C\n  tollgate demo --try    send eight \
                            requests and show the answers"
    )]
    Demo(crate::demo::DemoArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  tollgate completions bash > /etc/bash_completion.d/tollgate")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory.
    #[command(after_help = "Example:\n  tollgate man /usr/local/share/man/man1")]
    Man {
        /// The directory; made if it is not there.
        directory: PathBuf,
    },
    /// Write the generated pages of the documentation into a directory.
    #[command(hide = true)]
    Reference {
        /// The directory.
        directory: PathBuf,
    },
}

/// Where the config is.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// The config: a file, or a directory whose *.yaml files are merged.
    #[arg(short, long, value_name = "FILE|DIR", default_value = "./tollgate.yaml", env = "TOLLGATE_CONFIG")]
    config: PathBuf,
}

/// Does what was asked; exit code 0: done, 1: failed, 2: wrong config or arguments.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new();
    let done = match cli.command {
        Command::Run(args) => run::run(&args.config, &output),
        Command::Check(args) => check::check(&args.config, &output),
        Command::Diff(args) => return diff::diff_configs(&args, &output),
        Command::Test(args) => test::test(&args, &output),
        Command::Explain(args) => explain::explain(&args, &output),
        Command::Fmt(args) => fmt::fmt(&args, &output),
        Command::Schema => generate::schema(&output),
        Command::Status(args) => status::status(&args, &output),
        Command::Upgrade(args) => upgrade::upgrade(&args, &output),
        Command::Reload(args) => admin::reload(&args, &output),
        Command::Drain(args) => admin::drain(&args, &output),
        Command::Undrain(args) => admin::undrain(&args, &output),
        Command::Register(args) => return register::register(&args, &output),
        Command::Audit { command } => audit::audit(&command, &output),
        Command::Key { command } => key::key(&command, &output),
        Command::Demo(args) => crate::demo::demo(&args, &output),
        Command::Completions { shell } => generate::completions(shell, Cli::command(), &output),
        Command::Man { directory } => generate::manual(&directory, Cli::command(), &output),
        Command::Reference { directory } => generate::reference(&directory, &Cli::command(), &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failed(&failure),
    }
}

/// A failure without a hint.
pub(crate) fn failure(message: impl Into<String>) -> Failure {
    Failure::Other { message: message.into(), hint: None }
}
