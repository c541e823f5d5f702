//! The breaker against a model so simple that it can be read at a glance.

use super::*;
use tollgate_core::clock::Clock;
use tollgate_observe::metrics::Metrics;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        failures: Some(ErrorShare { share: 5000, of: 4, within: SECOND * 10 }),
        consecutive: 3,
        open: SECOND * 5,
        longest: SECOND * 12,
        trials: 2,
        statuses: vec![500..=599],
        slow: Some(SECOND),
    }
}

fn breaker(settings: Settings) -> (Arc<Breaker>, Instant) {
    let began = Clock::real().now();
    (Breaker::new(settings, Metrics::new(1).service("s"), began), began)
}

fn fail(breaker: &Arc<Breaker>, times: u32, now: Instant) {
    (0..times).for_each(|_| breaker.enter(now).unwrap().told(Verdict::Failed, now));
}

#[test]
fn failures_in_a_row_open_it_and_a_success_in_between_does_not() {
    let (breaker, now) = breaker(Settings { failures: None, ..settings() });
    fail(&breaker, 2, now);
    breaker.enter(now).unwrap().told(Verdict::Well, now);
    fail(&breaker, 2, now);
    assert!(!breaker.is_open(now));
    fail(&breaker, 1, now);
    assert_eq!(breaker.enter(now + SECOND).unwrap_err(), Open { retry: SECOND * 4 });
}

#[test]
fn a_share_of_failures_opens_it_once_there_were_enough_attempts() {
    let (breaker, now) = breaker(Settings { consecutive: 0, ..settings() });
    for verdict in [Verdict::Failed, Verdict::Well, Verdict::Well] {
        breaker.enter(now).unwrap().told(verdict, now);
    }
    assert!(!breaker.is_open(now));
    fail(&breaker, 1, now);
    assert!(breaker.is_open(now), "two of four");
}

#[test]
fn trials_close_it_or_open_it_for_twice_as_long() {
    let (breaker, now) = breaker(settings());
    fail(&breaker, 3, now);
    let then = now + SECOND * 5;
    let (one, two) = (breaker.enter(then).unwrap(), breaker.enter(then).unwrap());
    assert_eq!(breaker.enter(then).unwrap_err(), Open { retry: SOON }, "two trials at most");
    one.told(Verdict::Well, then);
    two.told(Verdict::Failed, then);
    assert_eq!(breaker.left(then), SECOND * 10);
    let then = then + SECOND * 10;
    fail(&breaker, 1, then);
    assert_eq!(breaker.left(then), SECOND * 12, "no longer than the longest");
    let then = then + SECOND * 12;
    (0..2).for_each(|_| breaker.enter(then).unwrap().told(Verdict::Well, then));
    fail(&breaker, 2, then);
    assert!(!breaker.is_open(then), "it began to count anew");
    fail(&breaker, 1, then);
    assert_eq!(breaker.left(then), SECOND * 12, "it had not been well for long");
    let then = then + SECOND * 12;
    (0..2).for_each(|_| breaker.enter(then).unwrap().told(Verdict::Well, then));
    let later = then + SECOND * 13;
    fail(&breaker, 3, later);
    assert_eq!(breaker.left(later), SECOND * 5, "it had been well for long enough");
}

#[test]
fn a_trial_that_nobody_waited_for_makes_room_for_another() {
    let (breaker, now) = breaker(settings());
    fail(&breaker, 3, now);
    let then = now + SECOND * 5;
    let both = (breaker.enter(then).unwrap(), breaker.enter(then).unwrap());
    assert!(breaker.enter(then).is_err());
    drop(both);
    assert!(breaker.enter(then).is_ok());
}

#[test]
fn what_was_begun_before_it_opened_changes_nothing_afterwards() {
    let (breaker, now) = breaker(settings());
    let early: Vec<Pass> = (0..6).map(|_| breaker.enter(now).unwrap()).collect();
    fail(&breaker, 3, now);
    let then = now + SECOND * 5;
    let trial = breaker.enter(then).unwrap();
    early.into_iter().for_each(|pass| pass.told(Verdict::Failed, then));
    assert!(!breaker.is_open(then), "trials alone count now");
    trial.told(Verdict::Well, then);
    breaker.enter(then).unwrap().told(Verdict::Well, then);
    assert!(breaker.enter(then).is_ok());
    assert_eq!(breaker.lock().running, 0);
}

#[test]
fn slow_answers_and_statuses_are_failures() {
    let (breaker, _) = breaker(settings());
    assert_eq!(breaker.verdict(200, Some(SECOND)), Verdict::Well);
    assert_eq!(breaker.verdict(200, Some(SECOND * 2)), Verdict::Failed);
    assert_eq!(breaker.verdict(503, None), Verdict::Failed);
    assert_eq!(breaker.verdict(404, None), Verdict::Well);
}

/// What a breaker should do, with lists instead of atomics.
#[derive(Default)]
struct Model {
    attempts: Vec<(u64, bool)>,
    /// Until when it is open.
    open: Option<u64>,
    /// Trials under way, and those that went well.
    half: Option<(u32, u32)>,
    epoch: u32,
    last: Option<u64>,
    closed: u64,
}

impl Model {
    fn enter(&mut self, now: u64) -> Option<(bool, u32)> {
        if self.open.is_some_and(|until| now < until) {
            return None;
        }
        if self.open.take().is_some() {
            (self.half, self.epoch) = (Some((0, 0)), self.epoch + 1);
        }
        match &mut self.half {
            Some((running, well)) if *running + *well >= 2 => None,
            Some((running, _)) => {
                *running += 1;
                Some((true, self.epoch))
            }
            None => Some((false, self.epoch)),
        }
    }

    fn told(&mut self, (_, epoch): (bool, u32), failed: Option<bool>, now: u64) {
        if epoch != self.epoch {
            return;
        }
        let Some((running, well)) = &mut self.half else {
            let Some(failed) = failed else { return };
            self.attempts.push((now, failed));
            let recent = || self.attempts.iter().filter(|(at, _)| now / 1000 - at / 1000 < 10);
            let (all, bad) = (recent().count(), recent().filter(|(_, failed)| *failed).count());
            let row = self.attempts.iter().rev().take_while(|(_, failed)| *failed).count();
            if failed && (row >= 3 || all >= 4 && bad * 2 >= all) {
                let again = self.last.filter(|last| now - self.closed < *last);
                self.open_for(again.map_or(5000, |last| last * 2), now);
            }
            return;
        };
        *running -= 1;
        *well += u32::from(failed == Some(false));
        if failed == Some(true) {
            self.open_for(self.last.map_or(5000, |last| last * 2), now);
        } else if *well == 2 {
            (self.half, self.closed, self.epoch) = (None, now, self.epoch + 1);
            self.attempts.clear();
        }
    }

    fn open_for(&mut self, time: u64, now: u64) {
        let time = time.min(12_000);
        (self.open, self.last, self.half, self.epoch) = (Some(now + time), Some(time), None, self.epoch + 1);
        self.attempts.clear();
    }
}

#[test]
fn it_does_what_the_model_does_whatever_comes() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let ((breaker, began), mut model) = (breaker(settings()), Model::default());
        let (mut now, mut held, mut opened) = (0_u64, Vec::new(), 0);
        for step in 0..400 {
            now += random.u64(0..1500);
            let at = began + Duration::from_millis(now);
            if held.len() < 6 && random.u8(0..3) > 0 {
                let (real, wanted) = (breaker.enter(at), model.enter(now));
                assert_eq!(real.is_ok(), wanted.is_some(), "seed {seed}, step {step}");
                held.extend(real.ok().zip(wanted));
            } else if !held.is_empty() {
                let (pass, known): (Pass, _) = held.swap_remove(random.usize(0..held.len()));
                let failed = [Some(true), Some(false), Some(false), None][random.usize(0..4)];
                match failed {
                    None => drop(pass),
                    Some(true) => pass.told(Verdict::Failed, at),
                    Some(false) => pass.told(Verdict::Well, at),
                }
                model.told(known, failed, now);
            }
            assert_eq!(
                breaker.left(at),
                Duration::from_millis(model.open.map_or(0, |until| until.saturating_sub(now)))
            );
            opened += u32::from(model.open.is_some());
        }
        assert!(opened > 0, "seed {seed}: it never opened");
    }
}

#[test]
fn a_trial_that_waits_leaves_its_place_to_another_and_none_is_counted_twice() {
    let (breaker, now) = breaker(Settings { trials: 1, ..settings() });
    fail(&breaker, 3, now);
    let then = now + SECOND * 5;
    let waits = breaker.enter(then).unwrap();
    let rest = breaker.rest(waits.round());
    let other = breaker.enter(then).unwrap();
    assert_eq!(rest.over(then).unwrap_err(), Open { retry: SOON }, "the other is tried in its place");
    drop(waits);
    assert!(breaker.enter(then).is_err(), "which is under way still");
    drop(other);
    let waits = breaker.enter(then).unwrap();
    // Its client leaves while it waits, whichever of the two goes first.
    drop(breaker.rest(waits.round()));
    assert!(breaker.enter(then).is_err());
    drop(waits);
    let waits = breaker.enter(then).unwrap();
    let rest = breaker.rest(waits.round());
    drop(waits);
    drop(rest);
    let waits = breaker.enter(then).unwrap();
    breaker.rest(waits.round()).over(then).unwrap();
    assert!(breaker.enter(then).is_err(), "it is a trial again");
    waits.told(Verdict::Well, then);
    assert!(breaker.is_closed());
}

#[test]
fn who_waited_hears_that_it_opened_meanwhile() {
    let (breaker, now) = breaker(settings());
    let waits = breaker.enter(now).unwrap();
    assert!(waits.is_current() && waits.round().is_none());
    let rest = breaker.rest(waits.round());
    fail(&breaker, 3, now);
    assert_eq!(rest.over(now + SECOND).unwrap_err(), Open { retry: SECOND * 4 });
    assert!(!waits.is_current());
}
