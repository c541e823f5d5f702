//! What is sent on is exactly one message, whatever came.

use proptest::prelude::*;
use tollgate_core::head::Method;

use crate::forward::Pace;
use crate::generate;
use crate::one_message::{answer_is_sent_on_as_one_message, request_is_sent_on_as_one_message};

fn pace() -> impl Strategy<Value = Pace> {
    (1..400usize, generate::cuts(), generate::cuts()).prop_map(|(room, reads, writes)| Pace {
        room,
        reads,
        writes,
        most: u64::MAX,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn an_accepted_request_is_sent_on_as_exactly_one_message(bytes in generate::request(), pace in pace()) {
        request_is_sent_on_as_one_message(&bytes, &pace);
    }

    #[test]
    fn an_accepted_answer_is_sent_on_as_exactly_one_message(bytes in generate::answer(), is_head in any::<bool>(), pace in pace()) {
        let method = if is_head { Method::Head } else { Method::Get };
        answer_is_sent_on_as_one_message(&bytes, method, &pace);
    }
}

#[test]
fn the_generator_makes_enough_requests_that_are_accepted() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let (mut runner, strategy) = (TestRunner::deterministic(), generate::request());
    let accepted = (0..500)
        .filter(|_| {
            request_is_sent_on_as_one_message(&strategy.new_tree(&mut runner).unwrap().current(), &Pace::whole())
        })
        .count();
    assert!((100..450).contains(&accepted), "{accepted} of 500");
}
