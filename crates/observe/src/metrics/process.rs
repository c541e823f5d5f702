//! What the kernel knows of this process. Elsewhere than on Linux nothing, and the metrics are left out.

/// Figures of this process at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) open_fds: u64,
    pub(crate) max_fds: Option<u64>,
    pub(crate) threads: u64,
    /// Unix time.
    pub(crate) started: f64,
}

/// Reads `/proc/self`; `None` if there is none.
#[cfg(target_os = "linux")]
pub(crate) fn read() -> Option<Process> {
    use procfs::process::LimitValue;
    use procfs::{CurrentSI, KernelStats};

    let own = procfs::process::Process::myself().ok()?;
    let stat = own.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let booted = KernelStats::current().ok()?.btime as f64;
    let max_fds = match own.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most),
        LimitValue::Unlimited => None,
    };
    Some(Process {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        virtual_bytes: stat.vsize,
        open_fds: own.fd_count().ok()? as u64,
        max_fds,
        threads: u64::try_from(stat.num_threads).unwrap_or_default(),
        started: booted + stat.starttime as f64 / ticks,
    })
}

/// Bytes of memory that are in RAM; `None`: nobody can tell here.
#[cfg(target_os = "linux")]
#[must_use]
pub fn resident() -> Option<u64> {
    let pages = procfs::process::Process::myself().ok()?.statm().ok()?.resident;
    Some(pages.saturating_mul(procfs::page_size()))
}

/// File descriptors that are open, and the most that may be; `None`: nobody can tell here, or there is no end.
#[cfg(target_os = "linux")]
#[must_use]
pub fn open_files() -> Option<(u64, u64)> {
    use procfs::process::LimitValue;

    let own = procfs::process::Process::myself().ok()?;
    match own.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some((own.fd_count().ok()? as u64, most)),
        LimitValue::Unlimited => None,
    }
}

/// Nothing is known here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn resident() -> Option<u64> {
    None
}

/// Nothing is known here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn open_files() -> Option<(u64, u64)> {
    None
}

/// Nothing is known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read() -> Option<Process> {
    None
}
