//! The load client notices what is wrong with a proxy, and finds nothing wrong with a good one.

use std::time::Duration;

use tollgate_core::clock::Clock;
use tollgate_testkit::load::{Allowed, BadProxy, Badness, Got, Judged, Options, Outcome, Target, Way};
use tollgate_testkit::{Authority, Backends, Companions, Load, wait_until};

/// Enough for two bad moments at least.
const ENOUGH: u64 = 1100;

fn options() -> Options {
    Options { rate: 2000, patience: Duration::from_secs(3), ..Options::default() }
}

fn through(badness: Badness, options: Options) -> Outcome {
    let backends = Backends::start(1);
    let proxy = BadProxy::start(backends.address(0), badness);
    let targets = [Way::Kept, Way::New].map(|way| Target::new(proxy.address(), way));
    let load = Load::start(&backends, &targets, options);
    load.await_answers(ENOUGH);
    load.stop()
}

#[test]
fn a_good_proxy_is_good() {
    let outcome = through(Badness::Good, options());
    outcome.is_complete();
    assert_eq!((outcome.answered, outcome.retried, outcome.refused), (outcome.begun, 0, 0));
}

#[test]
fn what_is_cut_is_lost() {
    let outcome = through(Badness::Cuts, options());
    assert!(!outcome.is_good() && outcome.lost > 0, "{outcome}");
}

/// Such a GET may be sent again, and a POST may not.
#[test]
fn what_is_not_heard_is_retried_or_lost() {
    let gets = Options { posts: 0, ..options() };
    for (options, is_good) in [
        (Options { retries: Judged::Allowed, ..gets.clone() }, true),
        (Options { posts: 1, ..options() }, false),
        (gets, false),
    ] {
        let backends = Backends::start(1);
        let proxy = BadProxy::start(backends.address(0), Badness::Closes);
        let load = Load::start(&backends, &[Target::new(proxy.address(), Way::Kept)], options.clone());
        load.await_answers(ENOUGH);
        let outcome = load.stop();
        assert_eq!(outcome.is_good(), is_good, "{outcome}");
        assert_eq!((outcome.retried > 0, outcome.lost > 0), (options.posts == 0, options.posts == 1), "{outcome}");
    }
}

#[test]
fn what_comes_twice_is_doubled() {
    for posts in [0, 1] {
        let outcome = through(Badness::Doubles, Options { posts, ..options() });
        assert!(!outcome.is_good() && outcome.doubled > 0 && outcome.lost == 0, "{outcome}");
    }
}

#[test]
fn what_is_not_answered_in_time_is_lost() {
    let outcome = through(Badness::Drops, options());
    assert!(!outcome.is_good() && outcome.lost > 0, "{outcome}");
}

#[test]
fn what_is_answered_wrongly_is_lost() {
    for badness in [Badness::Fails, Badness::Spoils] {
        let outcome = through(badness, options());
        assert!(!outcome.is_good() && outcome.lost > 0, "{badness:?}: {outcome}");
    }
}

#[test]
fn what_no_backend_saw_is_unseen() {
    let outcome = through(Badness::Invents, options());
    assert!(!outcome.is_good() && outcome.unseen > 0 && outcome.lost == 0, "{outcome}");
}

#[test]
fn what_finds_nobody_is_refused() {
    for refusals in [Judged::Fault, Judged::Allowed] {
        let backends = Backends::start(1);
        let target = Target::new(backends.address(0), Way::New);
        let load = Load::start(&backends, &[target], Options { refusals, ..options() });
        load.await_answers(100);
        backends.kill(0);
        wait_until("the first trouble", || !load.troubles().is_empty());
        backends.revive(0);
        load.await_answers(100);
        let outcome = load.stop();
        // What was on its way at that moment may be lost besides.
        assert!(outcome.refused > 0, "{outcome}");
        assert_eq!(outcome.is_good(), refusals == Judged::Allowed && outcome.lost == 0, "{outcome}");
    }
}

#[test]
fn http2_is_understood_as_well() {
    let backends = Backends::start(0);
    let load = Load::start(&backends, &[Target::new(backends.http2_address(), Way::Http2)], options());
    load.await_answers(ENOUGH);
    load.stop().is_complete();
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    let backends = Backends::start(1);
    let target = Target::new(backends.address(0), Way::Kept).over_tls(&Authority::new("Test CA"), "shop.example");
    let load = Load::start(&backends, &[target], Options { refusals: Judged::Allowed, ..options() });
    wait_until("the first trouble", || !load.troubles().is_empty());
    let outcome = load.stop();
    assert!(!outcome.is_good() && outcome.answered == 0, "{outcome}");
}

#[test]
fn companions_that_end_are_missed() {
    let backends = Backends::start(1);
    let websockets = Companions::websockets(3, backends.address(0), "/ws");
    let download = Companions::downloads(1, backends.address(0), "/slow");
    let streams = Companions::streams(2, backends.http2_address(), "/stream");
    for companions in [&websockets, &download, &streams] {
        companions.await_rounds(3);
    }
    backends.kill(0);
    for companions in [&websockets, &download] {
        wait_until("their end", || !companions.is_alive());
    }
    streams.await_rounds(1);
    backends.kill(1);
    wait_until("their end", || !streams.is_alive());
}

/// What a fault may cost is not cheaper than it is.
#[test]
fn what_no_row_allows_does_not_reconcile() {
    let status = |status| Got::Status(status);
    for (badness, got, is_allowed, is_reconciled) in [
        (Badness::Good, status(502), false, true),
        (Badness::Fails, status(502), true, true),
        (Badness::Fails, status(502), false, false),
        (Badness::Fails, status(503), true, false),
        (Badness::Fails, Got::Nothing, true, false),
        // A backend had received it, or nobody knows whether it did.
        (Badness::Cuts, Got::Nothing, true, false),
        (Badness::Doubles, Got::Nothing, true, false),
        (Badness::Invents, Got::Nothing, true, false),
    ] {
        let before = Clock::real().now();
        let outcome = through(badness, options());
        let until = if is_allowed { Clock::real().now() } else { before };
        let table = [Allowed { got, from: before, until }];
        let reconciled = std::panic::catch_unwind(|| outcome.reconciles(&table)).is_ok();
        assert_eq!(reconciled, is_reconciled, "{badness:?} {got:?}: {outcome}");
    }
}

#[test]
fn arrivals_are_noted_from_when_somebody_asks() {
    let backends = Backends::start(2);
    assert!(backends.arrivals(1).is_empty());
    let load = Load::start(&backends, &[Target::new(backends.address(0), Way::Kept)], options());
    load.await_answers(100);
    // Nobody has asked for those before.
    assert!(backends.arrivals(0).is_empty());
    load.await_answers(100);
    load.stop().is_complete();
    let came = backends.arrivals(0);
    assert!(came.len() >= 99 && came.iter().all(|(id, _)| *id >= 100), "{came:?}");
    assert!(backends.arrivals(0).is_empty() && backends.arrivals(1).is_empty());
}
