//! `tollgate explain`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use tollgate_config::redact_text;
use tollgate_core::buffer::Buffer;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{ClientAddress, Conn};
use tollgate_core::head::Method;
use tollgate_core::node::Node;
use tollgate_core::problem::Problem;
use tollgate_engine::{Rules, identify};
use tollgate_http1::{Parsed, request};
use tollgate_observe::metrics::Metrics;

use crate::cli::output::{Failure, Output};
use crate::cli::run::{all, load};
use crate::cli::{ConfigArgs, failure};
use crate::sources::named;
use crate::wire::policies;

/// The request to explain.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The method.
    method: String,
    /// A URL, or just a path.
    url: String,
    /// A header, as in curl; may be given again.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address of who connects: a client, or a proxy; whom the latter names is believed if it is one of `trust`. `unix`:
    /// somebody by a Unix socket.
    #[arg(long, value_name = "IP", default_value_t = ClientAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)))]
    from: ClientAddress,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Explains what would happen to a request; nothing is sent.
pub(crate) fn explain(args: &ExplainArgs, output: &Output) -> Result<(), Failure> {
    let loaded = load(&args.config.config)?;
    let name = args.config.config.display().to_string();
    let compiled = tollgate_plan::compile(&loaded.config, policies(), &named(&loaded.config), &Metrics::new(1), 1)
        .map_err(|found| Failure::Config(all(&name, &loaded, found)))?;
    let x = exchange(args, &compiled, &crate::wire::rules(&loaded.config))?;
    let usual = args.method.to_ascii_uppercase();
    if usual != args.method && Method::of(usual.as_bytes()) != Method::Extension {
        let unusual = Diagnostic::warning(format!("`{}` is an unusual method", args.method));
        output.warn(&[unusual.hint(format!("case matters in methods: did you mean `{usual}`?"))]);
    }
    let explained = tollgate_plan::explain(&loaded.config, &compiled, &x);
    if !args.json {
        return output.print(&redact_text(&loaded.tree, &explained.to_string()));
    }
    let mut json = explained.to_json();
    redact_json(&loaded.tree, &mut json);
    output.print(&format!("{json:#}\n"))
}

/// Text by text: once written as JSON, a value with a quote in it would not be found any more.
fn redact_json(tree: &Node, json: &mut Value) {
    match json {
        Value::String(text) => *text = redact_text(tree, text),
        Value::Array(items) => items.iter_mut().for_each(|item| redact_json(tree, item)),
        Value::Object(entries) => entries.values_mut().for_each(|value| redact_json(tree, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The request as the gateway would read it from a socket, and of whom it would believe it to come.
fn exchange(args: &ExplainArgs, compiled: &tollgate_plan::Compiled, rules: &Rules) -> Result<Exchange, Failure> {
    let text = head_text(args);
    let conn = match args.from {
        ClientAddress::Ip(address) => Conn::new((address, 0).into(), (Ipv4Addr::LOCALHOST, 0).into(), 0),
        ClientAddress::Unix => Conn::by_unix_socket(0),
    };
    let mut x = Exchange::new(Arc::new(conn), Arc::clone(&compiled.plan.unrouted.meta), Clock::real().now());
    x.head.fields.buffer = Buffer::holding(text.as_bytes());
    let refused = |problem: Problem| Failure::Other {
        message: format!("the gateway refuses this request: {} {}", problem.fault.status, problem.fault.title),
        hint: Some(problem.detail.to_string()).filter(|detail| !detail.is_empty()),
    };
    match request::Reader::default().read(&mut x.head, &rules.heads).map_err(refused)? {
        Parsed::Complete if x.head.fields.head_len == text.len() => {}
        _ => return Err(failure("a header may not contain a line break")),
    }
    x.length = request::judge(&mut x.head).map_err(refused)?.length;
    if args.url.starts_with("https://") {
        x.scheme = "https";
    }
    identify(&mut x, rules);
    Ok(x)
}

fn head_text(args: &ExplainArgs) -> String {
    let rest = ["http://", "https://"].iter().find_map(|scheme| args.url.strip_prefix(scheme));
    let (host, target) = match rest {
        Some(rest) => {
            let path = rest.find(['/', '?']).unwrap_or(rest.len());
            let target = &rest[path..];
            (&rest[..path], if target.starts_with('/') { target.to_owned() } else { format!("/{target}") })
        }
        None => ("localhost", args.url.clone()),
    };
    let names_host = |header: &String| header.split(':').next().is_some_and(|n| n.trim().eq_ignore_ascii_case("host"));
    let host = match args.headers.iter().any(names_host) {
        true => String::new(),
        false => format!("Host: {host}\r\n"),
    };
    let headers: String = args.headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{} {target} HTTP/1.1\r\n{host}{headers}\r\n", args.method)
}
