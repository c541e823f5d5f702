//! `tollgate register`: starts a service, registers it once it is ready, and takes it away before it is told to stop.
//!
//! `gateways.rs` asks gateways, `asking.rs` keeps the service registered, `instance.rs` is what it says of itself, `ready.rs` sees whether
//! it is there, `child.rs` is its process.

mod asking;
mod child;
mod gateways;
mod instance;
mod ready;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tollgate_registry::said::ttl;

use self::asking::Asking;
use self::child::{Child, NotStarted};
use self::gateways::Gateways;
use self::instance::Instance;
use self::ready::Ready;
use crate::cli::failure;
use crate::cli::output::{Failure, Output};

/// Longest time to drain.
const MOST_DRAIN: Duration = Duration::from_secs(3600);
/// How long deregistering may take at least, however short the time to drain is.
const LEAVING: Duration = Duration::from_secs(5);

pub(crate) const EXAMPLES: &str = "Examples:
  tollgate register --service orders --port 8081 -- ./orders --listen :8081
  tollgate register --service orders --port 8081 --ready /healthz --zone eu-1 --tag canary -- ./orders
  tollgate register --service orders --port 8081 --gateway https://gw-1:9901 --gateway https://gw-2:9901 \\
                    --ca ca.pem --token-file /run/secrets/orders-token -- java -jar orders.jar

On SIGTERM or SIGINT the instance is deregistered first, then the requests in flight get the time of --drain, then the service is
told; a second signal is passed on at once. SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on.

Exit code: that of the service, or 128 and the number of the signal that ended it; 126 it cannot be executed, 127 it is not found, 1 a
gateway does not let it register, 2 wrong arguments.";

/// What to start, and how to register it.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegisterArgs {
    /// The service whose instance it is.
    #[arg(long, value_name = "NAME")]
    service: String,
    /// The port on which it listens.
    #[arg(long)]
    port: u16,
    /// Where it listens, for the gateways: an IP address or a host name. Without it, the address of this machine that the gateway is
    /// reached from.
    #[arg(long)]
    address: Option<String>,
    /// Which of the service's instances it is. Without it, `ADDRESS:PORT`.
    #[arg(long)]
    id: Option<String>,
    /// For how long it counts as being there after it last said so. It is renewed three times as often.
    #[arg(long, default_value = "10s", value_parser = ttl)]
    ttl: Duration,
    /// The zone it runs in.
    #[arg(long)]
    zone: Option<String>,
    /// Which version of the service it is.
    #[arg(long, value_name = "WORD")]
    version: Option<String>,
    /// Its share of the requests, relative to the others': 0 to 1000.
    #[arg(long)]
    weight: Option<u16>,
    /// Its priority group: 0 is asked first.
    #[arg(long)]
    group: Option<u8>,
    /// A word by which it may be chosen; may be said again.
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// It is ready once `GET` of this path is answered with 2xx. Without it, once its port takes connections.
    #[arg(long, value_name = "PATH", value_parser = ready::path)]
    ready: Option<String>,
    /// How long requests in flight have once it is deregistered, before it is told to stop.
    #[arg(long, default_value = "5s", value_parser = drain)]
    drain: Duration,
    /// An admin listener of a gateway; may be said again. The first one that answers is asked.
    #[arg(
        long = "gateway",
        value_name = "URL",
        default_value = "http://127.0.0.1:9901",
        env = "TOLLGATE_GATEWAY",
        value_delimiter = ','
    )]
    gateways: Vec<String>,
    /// The file with the token that lets it register; read again whenever it is needed. Without it, what TOLLGATE_TOKEN says.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificates of those who vouch for the gateways (PEM), instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate that is shown to the gateways (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The service: a command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn drain(text: &str) -> Result<Duration, String> {
    period(text).filter(|drain| *drain <= MOST_DRAIN).ok_or_else(|| "expected a time, from `0s` to `1h`".to_owned())
}

fn period(text: &str) -> Option<Duration> {
    text.parse::<jiff::SignedDuration>().ok().and_then(|period| Duration::try_from(period).ok())
}

/// Starts the service and keeps it registered; the exit code is its own.
pub(crate) fn register(args: &RegisterArgs, output: &Output) -> ExitCode {
    match run(args, output) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => output.failed(&failure),
    }
}

fn run(args: &RegisterArgs, output: &Output) -> Result<u8, Failure> {
    let instance = Instance::new(args)?;
    let gateways = Arc::new(Gateways::new(args)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failure(format!("no runtime: {e}")))?;
    let code = runtime.block_on(whole_life(args, Arc::new(instance), &gateways, output));
    // A question to a gateway that does not answer need not be waited for.
    runtime.shutdown_background();
    code
}

/// From before the service starts until after it has ended.
async fn whole_life(
    args: &RegisterArgs,
    instance: Arc<Instance>,
    gateways: &Arc<Gateways>,
    output: &Output,
) -> Result<u8, Failure> {
    let mut stop = Stop::listen().map_err(|e| failure(format!("signals cannot be received: {e}")))?;
    let mut asking = Asking::new(gateways, &instance, output);
    // Whoever may not register is told so before anything runs; a gateway that does not answer may come back.
    tokio::select! {
        allowed = asking.allowed() => allowed?,
        signal = stop.asked() => return Ok(128 + signal.number),
    }
    let ready = Ready::new(args);
    if ready.look().await.is_ok() {
        output.note(&format!(
            "tollgate register: something answers at port {} already: it would be taken for the service",
            args.port
        ));
    }
    let mut child = match Child::start(&args.command) {
        Ok(child) => child,
        Err(NotStarted { message, code }) => {
            output.note(&format!("error: {message}"));
            return Ok(code);
        }
    };
    let passing = tokio::spawn(stop.pass_others_on(child.process())?);
    let asked = tokio::select! {
        code = child.ended() => {
            passing.abort();
            // Nobody is served there any more: nothing to wait for.
            let _ = timeout(LEAVING, asking.leave()).await;
            return Ok(code);
        }
        never = asking.live(&ready) => match never {},
        signal = stop.asked() => signal,
    };
    tokio::select! {
        () = leave(&mut asking, args.drain, output) => {}
        code = child.ended() => {
            let _ = timeout(LEAVING, asking.leave()).await;
            return Ok(code);
        }
        _ = stop.asked() => output.note("tollgate register: not waited for any longer: a second signal"),
    }
    child.signal(asked.kind);
    loop {
        tokio::select! {
            code = child.ended() => return Ok(code),
            again = stop.asked() => child.signal(again.kind),
        }
    }
}

/// Deregisters, then lets requests in flight finish.
async fn leave(asking: &mut Asking<'_>, drain: Duration, output: &Output) {
    if !asking.may_be_known() {
        return;
    }
    match timeout(drain.max(LEAVING), asking.leave()).await {
        Ok(()) => sleep(drain).await,
        Err(_) => {
            output.note("tollgate register: no gateway could be told that it leaves: its registration ends by itself");
        }
    }
}

/// The signals by which it is asked to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

/// One of them.
#[derive(Clone, Copy)]
struct Asked {
    kind: rustix::process::Signal,
    number: u8,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked { kind: rustix::process::Signal::TERM, number: 15 },
            _ = self.interrupt.recv() => Asked { kind: rustix::process::Signal::INT, number: 2 },
        }
    }

    /// Passes on, for as long as it is polled, those that mean something to the service alone.
    fn pass_others_on(&self, to: child::Process) -> Result<impl Future<Output = ()> + use<>, Failure> {
        let listen = |kind| signal(kind).map_err(|e| failure(format!("signals cannot be received: {e}")));
        let (mut hup, mut quit) = (listen(SignalKind::hangup())?, listen(SignalKind::quit())?);
        let (mut one, mut two) = (listen(SignalKind::user_defined1())?, listen(SignalKind::user_defined2())?);
        Ok(async move {
            loop {
                let kind = tokio::select! {
                    _ = hup.recv() => rustix::process::Signal::HUP,
                    _ = quit.recv() => rustix::process::Signal::QUIT,
                    _ = one.recv() => rustix::process::Signal::USR1,
                    _ = two.recv() => rustix::process::Signal::USR2,
                };
                to.signal(kind);
            }
        })
    }
}
