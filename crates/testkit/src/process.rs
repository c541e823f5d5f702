//! Processes that are nobody's child here.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::{Deadline, pause};

pub(crate) fn process(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Whether a process has ended.
#[must_use]
pub fn has_ended(pid: u32) -> bool {
    // Whoever should look after it may not.
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// The processes that were started with this in their command line.
pub(crate) fn started_with(argument: &Path) -> Vec<u32> {
    let argument = argument.as_os_str().as_encoded_bytes();
    let processes = fs::read_dir("/proc").expect("the list of processes");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.windows(argument.len()).any(|part| part == argument)
    })
    .collect()
}

/// Asks a process to end, then makes it.
pub(crate) fn end(pid: u32) {
    let deadline = Deadline::after(Duration::from_secs(5));
    // It may have ended by itself.
    let _ = kill_process(process(pid), Signal::TERM);
    while !has_ended(pid) {
        if deadline.left().is_none() {
            let _ = kill_process(process(pid), Signal::KILL);
        }
        pause();
    }
}
