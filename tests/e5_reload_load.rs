//! E5: a hundred reloads that really differ, under load: no request is lost or doubled, and what lives long lives on.

use tollgate_testkit::load::Changing;
use tollgate_testkit::{Companions, Gateway, Load};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

#[test]
fn without_a_change_nothing_is_lost() {
    let config = Changing::new();
    let gateway = Gateway::start(TOLLGATE, &config.config(), &[]);
    let load = Load::start(&config.backends, &config.targets(&gateway), config.options());
    load.await_answers(1000);
    let outcome = load.stop();
    outcome.is_complete();
    assert_eq!((outcome.answered, outcome.retried), (outcome.begun, 0), "{outcome}");
}

#[test]
fn a_hundred_reloads_lose_nothing_and_end_nothing() {
    let mut config = Changing::new();
    let gateway = Gateway::start(TOLLGATE, &config.config(), &[]);
    let companions = Companions::usual(gateway.address());
    let load = Load::start(&config.backends, &config.targets(&gateway), config.options());
    for number in 1..=100 {
        let changed = config.step();
        gateway.reload(&config.config(), &[]);
        load.await_answers(20);
        for one in &companions {
            assert!(one.is_alive(), "at reload {number}, of {changed}: {:?}", one.ended());
        }
    }
    companions.iter().for_each(|one| one.await_rounds(3));
    let outcome = load.stop();
    outcome.is_complete();
    assert_eq!(gateway.revision(), 101);
    assert_eq!(outcome.answered, outcome.begun, "{outcome}");
}
