//! What is written can be verified, and what is changed afterwards is noticed.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use tollgate_core::facts::ClientAddress;

use super::*;

fn clock() -> Clock {
    Clock::fake(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000))
}

fn reloaded(revision: u64) -> Event<'static> {
    let by = Actor::Token(ClientAddress::Ip("127.0.0.1".parse().unwrap()));
    Event { what: What::Reloaded, by, revision: Some(revision), detail: None }
}

fn log(lines: u64, largest: u64) -> (tempfile::TempDir, AuditLog) {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::with_size(&folder.path().join("data"), clock(), largest).unwrap();
    (1..=lines).for_each(|revision| log.record(&reloaded(revision)).unwrap());
    (folder, log)
}

/// The log's lines, changed by hand.
fn tampered(lines: u64, change: impl FnOnce(&mut Vec<String>)) -> Result<Verified, (u64, Why)> {
    let (_folder, log) = log(lines, LARGEST);
    let mut text: Vec<String> = fs::read_to_string(log.path()).unwrap().lines().map(str::to_owned).collect();
    change(&mut text);
    fs::write(log.path(), text.join("\n") + "\n").unwrap();
    verify(&log.path()).unwrap().map_err(|broken| (broken.line, broken.why))
}

#[test]
fn a_line_tells_who_did_what_when_and_from_where() {
    let (_folder, log) = log(1, LARGEST);
    let text = fs::read_to_string(log.path()).unwrap();
    assert!(text.starts_with("{\"number\":1,\"time\":\"2030-03-17T17:46:40.000Z\",\"what\":\"reloaded\",\"by\":\"token\",\"from\":\"127.0.0.1\""));
    assert!(text.contains(&format!("\"revision\":1,\"before\":\"{GENESIS}\",\"sha256\":\"")));
    assert_eq!(fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_nobody_touched_is_verified() {
    let verified = tampered(5, |_| {}).unwrap();
    assert_eq!((verified.lines, verified.first), (5, 1));
}

#[test]
fn the_first_line_that_was_changed_or_removed_is_named() {
    assert_eq!(tampered(5, |lines| lines[2] = lines[2].replace("127.0.0.1", "127.0.0.2")), Err((3, Why::Changed)));
    assert_eq!(tampered(5, |lines| lines[4] = lines[4].replace("reloaded", "drained")), Err((5, Why::Changed)));
    assert_eq!(tampered(5, |lines| lines[2] = "nonsense".to_owned()), Err((3, Why::Changed)));
    assert_eq!(tampered(5, |lines| drop(lines.remove(2))), Err((3, Why::Removed(2, 4))));
    assert_eq!(tampered(5, |lines| lines.swap(1, 2)), Err((2, Why::Removed(1, 3))));
    assert_eq!(tampered(5, |lines| lines.insert(2, lines[1].clone())), Err((3, Why::OutOfPlace)));
}

#[test]
fn the_chain_goes_on_over_files_and_processes() {
    let (_folder, log) = log(20, 1000);
    let other = AuditLog::with_size(&log.folder, clock(), 1000).unwrap();
    other.record(&reloaded(21)).unwrap();
    log.record(&reloaded(22)).unwrap();
    assert!(older(&log.path(), 1).exists());
    let verified = verify(&log.path()).unwrap().unwrap();
    assert_eq!((verified.lines, verified.first), (22, 1));
    let oldest = (1..=KEPT).rev().map(|n| older(&log.path(), n)).find(|file| file.exists()).unwrap();
    fs::remove_file(oldest).unwrap();
    let verified = verify(&log.path()).unwrap().unwrap();
    assert!(verified.first > 1 && verified.lines + verified.first == 23, "{verified:?}");
    fs::remove_file(older(&log.path(), 1)).unwrap();
    assert!(matches!(verify(&log.path()).unwrap(), Err(Broken { line: 1, why: Why::Removed(..), .. })));
}

#[test]
fn a_file_that_was_begun_and_not_written_to_does_not_break_the_chain() {
    let (_folder, log) = log(3, LARGEST);
    fs::rename(log.path(), older(&log.path(), 1)).unwrap();
    log.record(&reloaded(4)).unwrap();
    let verified = verify(&log.path()).unwrap().unwrap();
    assert_eq!((verified.lines, verified.first), (4, 1));
}

#[test]
fn a_line_that_is_not_whole_stays_to_be_seen() {
    let (_folder, log) = log(3, LARGEST);
    let text = fs::read(log.path()).unwrap();
    fs::write(log.path(), &text[..text.len() - 20]).unwrap();
    assert_eq!(verify(&log.path()).unwrap().unwrap_err().why, Why::Torn);
    log.record(&reloaded(4)).unwrap();
    let lines = fs::read_to_string(log.path()).unwrap();
    assert!(lines.contains("line before not whole") && lines.lines().count() == 5, "{lines}");
    assert_eq!(verify(&log.path()).unwrap().unwrap_err(), Broken { file: log.path(), line: 3, why: Why::Changed });
}

#[test]
fn a_long_detail_is_cut() {
    let (_folder, log) = log(0, LARGEST);
    let detail = "\u{1}ä".repeat(LONGEST_DETAIL);
    log.record(&Event { detail: Some(&detail), ..reloaded(1) }).unwrap();
    log.record(&reloaded(2)).unwrap();
    assert_eq!(verify(&log.path()).unwrap().unwrap().lines, 2);
}

#[test]
fn a_lock_that_another_program_holds_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::open(folder.path(), clock()).unwrap();
    let held = OpenOptions::new().append(true).open(folder.path().join(LOCK)).unwrap();
    held.lock().unwrap();
    let error =
        log.record(&Event { what: What::Started, by: Actor::Gateway, revision: None, detail: None }).unwrap_err();
    assert_eq!(error.to_string(), "`audit.lock` has been held by another program for 5 s");
    held.unlock().unwrap();
    log.record(&Event { what: What::Started, by: Actor::Gateway, revision: None, detail: None }).unwrap();
}
