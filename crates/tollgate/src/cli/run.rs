//! `tollgate run`.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tollgate_config::model::{Config, Level};
use tollgate_config::{Loaded, Part, Report, redact};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_observe::metrics::Metrics;
use tollgate_observe::own_log::OwnLog;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::cli::output::{Failure, Output};
use crate::inherited::Inherited;
use crate::last_good;
use crate::open_files;
use crate::sources::named;
use crate::start::{self, Running, StartError};
use crate::watch::Watched;
use crate::wire::policies;

/// How long the last lines of the gateway's own log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Loads what a command needs of the config at `path` that asks a gateway.
pub(crate) fn load_part(path: &Path, part: Part) -> Result<Config, Failure> {
    tollgate_config::load_part(path, &|name| std::env::var(name).ok(), part).map_err(Failure::Config)
}

/// Loads the config at `path`; tells everything that is wrong with it, also what only the compiler finds.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    let short_forms: Vec<_> = policies().iter().map(|kind| (kind.name, kind.desugar)).collect();
    let loaded = tollgate_config::load(path, &|name| std::env::var(name).ok(), &short_forms);
    loaded.map_err(|report| Failure::Config(complete(report)))
}

/// Loads texts as if they were the files of the config at `path`.
pub(crate) fn load_texts(path: &str, texts: &[(String, String)]) -> Result<Loaded, Report> {
    let short_forms: Vec<_> = policies().iter().map(|kind| (kind.name, kind.desugar)).collect();
    tollgate_config::load_texts(path, texts, &|name| std::env::var(name).ok(), &short_forms)
}

/// The report, with what the compiler finds in the part that reads well.
fn complete(report: Report) -> Report {
    let Report { name, mut diagnostics, partial: Some(partial) } = report else { return report };
    let compiled = tollgate_plan::compile(&partial.config, policies(), &named(&partial.config), &Metrics::new(1), 1);
    let mut found = compiled.map_or_else(|found| found, |compiled| compiled.warnings);
    redact(&partial.tree, &mut found);
    diagnostics.append(&mut found);
    Report::new(&name, diagnostics)
}

/// What was found while and after loading, without the secrets that it might quote.
pub(crate) fn all(name: &str, loaded: &Loaded, mut found: Vec<Diagnostic>) -> Report {
    redact(&loaded.tree, &mut found);
    Report::new(name, loaded.warnings.iter().cloned().chain(found).collect())
}

/// Runs the gateway until it is stopped.
pub(crate) fn run(path: &Path, output: &Output) -> Result<(), Failure> {
    let inherited = Inherited::take().map_err(|error| Failure::Other {
        message: format!("the sockets that are given to this process cannot be used: {error}"),
        hint: Some("without `LISTEN_FDS` and `TOLLGATE_UPGRADE` in its environment it opens its own".to_owned()),
    })?;
    let mut log = None;
    let mut attempt = |loaded: Loaded| {
        log.get_or_insert_with(|| log_to_stderr(loaded.config.log.level));
        open_files::allow_all();
        prepare(path, &loaded, &inherited, output)
    };
    // Looked at before they are read: what changes from here on is noticed.
    let files = Watched::new(path);
    let running = match load(path).and_then(&mut attempt) {
        // Whoever replaces a process that serves had better not serve than serve something else.
        Err(Failure::Config(report)) if !inherited.replaces() => match last_good::find(path) {
            Some((kept, file)) => {
                let running = attempt(kept)?;
                running.refused(&report, &file);
                running
            }
            None => return Err(Failure::Config(report)),
        },
        running => running?,
    };
    crate::memory::give_back();
    if running.until_stopped(Some(files)) { Ok(()) } else { Err(Failure::Silent) }
}

/// Everything up to the first request.
fn prepare(path: &Path, loaded: &Loaded, inherited: &Inherited, output: &Output) -> Result<Running, Failure> {
    let name = path.display().to_string();
    let mut running =
        start::start(&name, &loaded.config, Vec::new(), inherited.clone()).map_err(|error| match error {
            StartError::Config(found) => Failure::Config(all(&name, loaded, found)),
            other => {
                output.warn(&loaded.warnings);
                Failure::to_start(&name, other)
            }
        })?;
    output.warn(&all(&name, loaded, std::mem::take(&mut running.warnings)).diagnostics);
    running.tell(loaded);
    last_good::keep(loaded);
    for listener in &loaded.config.listen {
        tracing::info!(address = %start::shown(&listener.address), serves = start::serves(listener), "listening");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = name, "ready");
    running.serves().map_err(|error| Failure::to_start(&name, error))?;
    Ok(running)
}

/// The gateway's own log for as long as it lives; what was said is written before it ends.
pub(crate) struct Logging(Option<OwnLog>);

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.close(LAST_LINES);
        }
    }
}

/// The gateway's own log, on standard error.
#[must_use = "what was said is written before this is dropped"]
pub(crate) fn log_to_stderr(level: Level) -> Logging {
    let log = OwnLog::start().ok();
    let writer = match log.as_ref().map(OwnLog::lines) {
        Some(lines) => BoxMakeWriter::new(move || lines.clone()),
        // Without a thread of its own it is written where it is said.
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(std::io::stderr().is_terminal());
    // Tests in one process may have set one already.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    Logging(log)
}

/// What is logged can be changed while the gateway runs.
static FILTER: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Logs from this level on; `None`: as before.
pub(crate) fn set_level(level: Option<Level>) {
    if let (Some(level), Some(handle)) = (level, FILTER.get()) {
        // Fails only if nobody logs any more.
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
