use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tollgate_core::caller::{Answer, CallError};

use super::*;
use crate::client::Proof;

/// Gives a token for a minute, another one each time.
#[derive(Debug, Default)]
struct Provider(Arc<AtomicU64>);

impl Caller for Provider {
    fn call(&self, _: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        let count = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        let body = json!({ "access_token": format!("t{count}"), "token_type": "Bearer", "expires_in": 60 });
        Box::pin(std::future::ready(Ok(Answer {
            status: 200,
            body: body.to_string().into_bytes(),
            ..Answer::default()
        })))
    }
}

fn settings(cache: u64) -> Settings {
    Settings {
        issuer: "https://idp.example".to_owned(),
        url: Some("https://idp.example/token".to_owned()),
        client: Client { id: "gateway".to_owned(), proof: Proof::None },
        cache: Duration::from_secs(cache),
        timeout: Duration::from_secs(1),
        remember: 100,
        at_once: 2,
    }
}

async fn traded(trader: &Trader, token: &str, audience: &str) -> String {
    let trade = Trade { token, audience: &[audience.to_owned()], scope: &[] };
    String::from_utf8(trader.exchange(&trade).await.unwrap().token.to_vec()).unwrap()
}

#[tokio::test]
async fn a_token_that_was_traded_is_used_again_also_by_a_trader_made_anew() {
    let (asked, clock) = (Arc::new(AtomicU64::new(0)), Clock::fake(UNIX_EPOCH + Duration::from_secs(1_767_225_600)));
    let store: Arc<dyn CacheStore> = Arc::new(crate::marks::Marks::new(9));
    let make = |settings| {
        let trader = Trader::new(settings, clock.clone());
        trader.keep_in(&store);
        let port: Arc<dyn Caller> = Arc::new(Provider(Arc::clone(&asked)));
        trader.start(&port, &Handle::current());
        trader
    };
    let before = make(settings(600));
    assert_eq!(traded(&before, "a", "stock").await, "t1");
    assert_eq!(traded(&before, "a", "stock").await, "t1");
    assert_eq!(traded(&before, "a", "orders").await, "t2", "for another service");
    let after = make(settings(600));
    assert_eq!((traded(&after, "a", "stock").await, traded(&after, "a", "orders").await), ("t1".into(), "t2".into()));
    assert_eq!(traded(&after, "b", "stock").await, "t3", "of another caller");
    let other = Client { id: "other".to_owned(), proof: Proof::None };
    assert_eq!(traded(&make(Settings { client: other, ..settings(600) }), "a", "stock").await, "t4");

    clock.advance(Duration::from_secs(30));
    assert_eq!(traded(&make(settings(600)), "a", "stock").await, "t1", "until it ends");
    assert_eq!(traded(&make(settings(30)), "a", "stock").await, "t5", "or the config says");
    clock.advance(Duration::from_secs(30));
    assert_eq!(traded(&before, "a", "orders").await, "t6", "it has ended");
    assert_eq!(traded(&make(settings(600)), "b", "stock").await, "t7");
}
