//! What is generated from the code: schema, completions, manual, reference pages.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use tollgate_core::dialect::TYPE_PREFIX;
use tollgate_core::problem::{Fault, Retry, Side};

use crate::cli::failure;
use crate::cli::output::{Failure, Output};
use crate::wire::policies;

/// Prints the JSON Schema.
pub(crate) fn schema(output: &Output) -> Result<(), Failure> {
    output.print(&format!("{:#}\n", schema_value()))
}

fn schema_value() -> serde_json::Value {
    tollgate_config::schema(&tollgate_policies::schemas())
}

/// Prints a completion script.
pub(crate) fn completions(shell: Shell, mut command: Command, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tollgate", &mut script);
    output.print(&String::from_utf8_lossy(&script))
}

/// Writes the manual pages.
pub(crate) fn manual(directory: &Path, command: Command, output: &Output) -> Result<(), Failure> {
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|e| failure(format!("cannot write to {}: {e}", directory.display())))?;
    output.print(&format!("manual pages are in {}\n", directory.display()))
}

/// Writes the reference pages of the documentation.
pub(crate) fn reference(directory: &Path, command: &Command, output: &Output) -> Result<(), Failure> {
    let schema = schema_value();
    let pages = [
        ("config.md", tollgate_config::reference_markdown(&schema)),
        ("policies.md", tollgate_policies::reference_markdown()),
        ("errors.md", errors()),
        ("metrics.md", metrics()),
        ("cli.md", command_line(command)),
    ];
    fs::create_dir_all(directory).map_err(|e| failure(format!("cannot make {}: {e}", directory.display())))?;
    for (name, text) in pages {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|e| failure(format!("cannot write {}: {e}", path.display())))?;
    }
    output.print(&format!("reference pages are in {}\n", directory.display()))
}

/// Every fault that any part of the gateway may answer with.
pub(crate) fn faults() -> Vec<&'static Fault> {
    let parts = [
        tollgate_admin::faults::ALL,
        tollgate_admin::registry::faults::ALL,
        tollgate_http1::faults::ALL,
        tollgate_engine::faults::ALL,
        tollgate_files::faults::ALL,
        tollgate_plan::faults::ALL,
        tollgate_upstream::faults::ALL,
        crate::health::FAULTS,
        tollgate_identity::faults::FAULTS,
        tollgate_identity::login::FAULTS,
        tollgate_identity::bound::faults::FAULTS,
        tollgate_identity::certificate::faults::FAULTS,
        tollgate_identity::saml::FAULTS,
        crate::redirect::FAULTS,
    ];
    let own = parts.into_iter().flatten().copied();
    let mut all: Vec<_> = own.chain(policies().iter().flat_map(|kind| kind.faults.iter().copied())).collect();
    all.sort_by_key(|fault| fault.slug);
    all
}

fn errors() -> String {
    let mut page = String::from(
        "# Errors\n\n<!-- Generated: `cargo xtask docs`. -->\n\nEvery error that the gateway itself answers is \
         `application/problem+json` (RFC 9457). `type` ends in the slug below, `policy` names the part that spoke, and \
         `correlation_id` is the id in the access log and in the request to the service. An error that a service \
         answers is passed on as it is.\n\n",
    );
    for fault in faults() {
        let side = match fault.side {
            Side::Client => "the request",
            Side::Gateway => "the gateway",
            Side::Upstream => "the service",
        };
        let retry = match fault.retry {
            Retry::Never => "not without a change",
            Retry::Later => "perhaps later",
        };
        let (slug, status, title, help) = (fault.slug, fault.status, fault.title, fault.help);
        // Writing to memory does not fail.
        let _ = write!(
            page,
            "## {slug}\n\n**{status} {title}** · at fault: {side} · the same request again: {retry} · `{TYPE_PREFIX}{slug}`\n\n{help}\n\n"
        );
    }
    page
}

fn metrics() -> String {
    format!(
        "# Metrics\n\n<!-- Generated: `cargo xtask docs`. -->\n\nWhat `/metrics` of a listener of kind `health` shows.\n\n{}",
        tollgate_observe::metrics::metrics_reference()
    )
}

/// The help of every command.
fn command_line(command: &Command) -> String {
    let mut page = String::from("# Command line\n\n<!-- Generated: `cargo xtask docs`. -->\n\n");
    let mut command = command.clone();
    command.build();
    let _ = write!(page, "```text\n{}```\n", command.clone().term_width(100).render_long_help());
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let help = sub.clone().term_width(100).render_long_help();
        let _ = write!(page, "\n## tollgate {}\n\n```text\n{help}```\n", sub.get_name());
    }
    page.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
