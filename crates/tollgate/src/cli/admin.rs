//! `tollgate reload`, `drain` and `undrain`: they ask the admin listener of a running gateway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tollgate_admin::Token;
use tollgate_config::Part;
use tollgate_config::model::{Config, ListenerKind};
use tollgate_core::facts::Address;
use tollgate_core::head::Method;

use crate::cli::output::{Failure, Output};
use crate::cli::run::load_part;
use crate::cli::status::{from_url, reached};
use crate::cli::{ConfigArgs, failure};
use crate::http;

/// How long the gateway may take to answer: a large config takes its time, and names are looked up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom to ask, and as whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin listener, instead of the one that the config names: `http://127.0.0.1:9901`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with the admin token, instead of the one in the folder `data:` of the config.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Has the gateway read its config again.
pub(crate) fn reload(args: &AdminArgs, output: &Output) -> Result<(), Failure> {
    let (text, answer) = post(args, "/v1/reload")?;
    if args.json {
        return output.print(&text);
    }
    let (revision, warnings) = (&answer["revision"], answer["warnings"].as_str().unwrap_or_default());
    if !warnings.is_empty() {
        output.note(warnings);
    }
    match answer["changed"].as_bool() {
        Some(true) => output.print(&format!("reloaded: revision {revision} is in force\n")),
        _ => output.print(&format!("nothing changes: revision {revision} stays in force\n")),
    }
}

/// Has the gateway say that it is not ready.
pub(crate) fn drain(args: &AdminArgs, output: &Output) -> Result<(), Failure> {
    let (text, _) = post(args, "/v1/drain")?;
    output.print(if args.json {
        &text
    } else {
        "not ready any more: what comes is served until balancers have seen that\n"
    })
}

/// Has the gateway say that it is ready.
pub(crate) fn undrain(args: &AdminArgs, output: &Output) -> Result<(), Failure> {
    let (text, _) = post(args, "/v1/undrain")?;
    output.print(if args.json { &text } else { "ready again\n" })
}

impl AdminArgs {
    /// Where the config is.
    pub(super) fn config(&self) -> &Path {
        &self.config.config
    }

    /// Whether the answer is for a program.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

/// Looks at something.
pub(super) fn get(args: &AdminArgs, path: &str) -> Result<Value, Failure> {
    ask(args, Method::Get, path).map(|(_, answer)| answer)
}

fn post(args: &AdminArgs, path: &str) -> Result<(String, Value), Failure> {
    ask(args, Method::Post, path)
}

fn ask(args: &AdminArgs, method: Method, path: &str) -> Result<(String, Value), Failure> {
    let ((address, host), token) = whom(args)?;
    let authorization = token.authorization();
    let word = if method == Method::Get { "GET" } else { "POST" };
    let head = format!(
        "{word} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = http::patiently(&address, method, &head, &[], PATIENCE).map_err(|e| Failure::Other {
        message: format!("no answer from {address}: {e}"),
        hint: Some("is the gateway running, and is that its admin listener?".to_owned()),
    })?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let parsed = serde_json::from_str::<Value>(&text).unwrap_or_default();
    match answer.status {
        200 if parsed.is_object() => Ok((text, parsed)),
        422 if parsed["report"].is_string() => {
            let report = parsed["report"].as_str().unwrap_or_default();
            Err(Failure::Refused(format!("{report}\nrefused: the config before stays in force\n")))
        }
        401 => Err(Failure::Other {
            message: format!("{address} does not take this token"),
            hint: Some(
                "it is in `admin.token` in the folder `data:` of the config that the gateway runs with: `--token-file`"
                    .to_owned(),
            ),
        }),
        status => {
            let title = parsed["title"].as_str().unwrap_or("that is no answer of an admin listener");
            Err(failure(format!("{address} answered {status}: {title}")))
        }
    }
}

/// The admin listener, and its token.
fn whom(args: &AdminArgs) -> Result<((Address, String), Token), Failure> {
    // With both given, the config is not needed; it may be what is broken.
    let loaded = match (&args.url, &args.token_file) {
        (Some(_), Some(_)) => None,
        _ => Some(load_part(&args.config.config, Part::Places)?),
    };
    let address = match (&args.url, &loaded) {
        (Some(url), _) => from_url(url, "an admin listener: `http://127.0.0.1:9901`")?,
        (None, Some(loaded)) => listener(&args.config.config, loaded)?,
        (None, None) => return Err(failure("no admin listener")),
    };
    let in_data = loaded.map(|config| Token::file(&config.data.0));
    let file = args.token_file.clone().or(in_data).unwrap_or_default();
    let token = Token::read(&file).map_err(|e| Failure::Other { message: e.message, hint: Some(e.hint) })?;
    Ok((address, token))
}

fn listener(path: &Path, config: &Config) -> Result<(Address, String), Failure> {
    let mut admin = config.listen.iter().filter(|listener| listener.kind == ListenerKind::Admin).peekable();
    if admin.peek().is_none() {
        return Err(Failure::Other {
            message: format!("{} has no admin listener", path.display()),
            hint: Some("add `\"127.0.0.1:9901\": admin` under `listen`".to_owned()),
        });
    }
    match admin.find(|listener| listener.tls.is_none()) {
        Some(listener) => Ok(reached(&listener.address)),
        None => Err(Failure::Other {
            message: format!("the admin listener of {} is reached by TLS only", path.display()),
            hint: Some("add one for this machine: `\"127.0.0.1:9901\": admin`; or ask with curl".to_owned()),
        }),
    }
}
