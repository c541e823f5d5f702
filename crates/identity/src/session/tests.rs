use tollgate_core::facts::{Conn, Route};

use super::*;
use crate::marks::Marks;

fn sessions(clock: &Clock, largest: usize) -> Sessions {
    let settings = Settings {
        lasts: Duration::from_secs(3600),
        idle: Duration::from_secs(600),
        in_store: false,
        cookie: "s".to_owned(),
        largest,
        remember: 10,
    };
    let sealer = Arc::new(Sealer::new([&b"0123456789abcdef0123456789abcdef"[..]]).unwrap());
    Sessions::new("web".into(), settings, sealer, Arc::new(Marks::new(9)), clock.clone())
}

/// A request with the cookies that these lines have a browser keep.
fn exchange(lines: &[Bytes]) -> Exchange {
    let address = ([127, 0, 0, 1], 1).into();
    let conn = Arc::new(Conn::new(address, address, 0));
    let mut x = Exchange::new(conn, Arc::new(Route::default()), Clock::real().now());
    let pairs = lines.iter().map(|line| str::from_utf8(line).unwrap().split_once(';').unwrap().0);
    x.head.fields.add("Cookie", pairs.collect::<Vec<_>>().join("; "));
    x
}

#[test]
fn a_sign_in_takes_ten_minutes_at_most() {
    let clock = Clock::fake(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let sessions = sessions(&clock, 1 << 20);
    let lines = sessions.set_out(false, &[], "state-1", b"kept", SameSite::Lax).unwrap();
    let came_back = || sessions.came_back(&exchange(&lines), "state-1", SameSite::Lax).map(|(text, _)| text);
    clock.advance(SIGN_IN - Duration::from_secs(1));
    assert_eq!(came_back().as_deref(), Some(&b"kept"[..]));
    clock.advance(Duration::from_secs(1));
    assert_eq!(came_back(), None, "whatever the browser kept it for");
}

#[tokio::test]
async fn with_a_session_a_request_has_to_pass() {
    let clock = Clock::fake(UNIX_EPOCH + Duration::from_secs(1_000_000));
    let session = Session::new(Map::new(), Duration::from_secs(60), clock.unix()).unwrap();
    let begin = async |largest: usize| {
        let began = sessions(&clock, largest).begin(&RequestHead::default(), false, &session).await;
        began.map_or_else(|problem| problem.fault.slug, |_| "")
    };
    assert_eq!(begin(1000).await, "");
    assert_eq!(begin(100).await, "login/too-large");
}

#[tokio::test]
async fn what_was_marked_is_known() {
    let sessions = sessions(&Clock::fake(UNIX_EPOCH + Duration::from_secs(1_000_000)), 1000);
    let minute = Duration::from_secs(60);
    assert!(!sessions.is_marked("logout token", "a").await.unwrap());
    assert!(sessions.is_first("logout token", "a", minute).await.unwrap());
    assert!(sessions.is_marked("logout token", "a").await.unwrap());
    assert!(!sessions.is_first("logout token", "a", minute).await.unwrap());
}
