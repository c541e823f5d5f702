use std::time::UNIX_EPOCH;

use tollgate_core::buffer::Buffer;
use tollgate_core::facts::{Conn, Route};
use tollgate_core::head::{Field, Part};

use super::*;
use crate::marks::Marks;
use crate::signature::{Nonce, Settings, Signer, SigningKey, Told};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn clock() -> Clock {
    Clock::fake(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

fn components() -> Vec<Component> {
    ["@method", "@path"].map(|name| Component::read(name).unwrap()).to_vec()
}

fn source(once: Once) -> Arc<SignedSource> {
    let key = Arc::new(VerifyingKey::shared(SECRET).unwrap());
    let known = |id: &str| KnownKey { id: id.into(), key: Arc::clone(&key), name: id.into(), scopes: Vec::new() };
    let expected =
        Expected { components: components(), tag: None, age: Duration::from_secs(60), skew: Duration::from_secs(5) };
    SignedSource::new("partners", expected, once, vec![known("a"), known("b")], clock())
}

/// A request that this key signed.
fn request(key: &str, nonce: Nonce) -> Exchange {
    let mut head = b"GET/a".to_vec();
    let settings = Settings {
        key: Some(key.into()),
        components: components(),
        optional: Vec::new(),
        tag: None,
        life: None,
        nonce,
        algorithm: Told::No,
    };
    let signer = Signer::new("sig", Arc::new(SigningKey::shared(SECRET).unwrap()), settings).unwrap();
    let message = Message { method: "GET", scheme: "http", host: "h", path: "/a", query: None, fields: Vec::new() };
    let address = ([127, 0, 0, 1], 1).into();
    let mut x = Exchange::new(Arc::new(Conn::new(address, address, 0)), Arc::new(Route::default()), clock().now());
    let part = |head: &mut Vec<u8>, text: &str| {
        let start = u16::try_from(head.len()).unwrap();
        head.extend_from_slice(text.as_bytes());
        Part { start, end: u16::try_from(head.len()).unwrap() }
    };
    for (name, value) in signer.sign(&message, clock().unix()).unwrap() {
        let (name_part, value_part) = (part(&mut head, name), part(&mut head, &value));
        let known = tollgate_core::field::Known::of(name.as_bytes());
        x.head.fields.push(Field { name: name_part, value: value_part, known, dropped: false });
    }
    x.head.fields.buffer = Buffer::holding(&head);
    (x.head.method_part, x.head.raw_path) = (Part { start: 0, end: 3 }, Part { start: 3, end: 5 });
    x
}

async fn outcome(source: &SignedSource, x: &Exchange) -> Result<(), &'static str> {
    let checked = match source.authenticate(x, Effort::Full) {
        Found::Checked(checked) => checked,
        Found::Checking(checking) => checking.await,
        Found::Nothing | Found::Foreign(_) => return Err("nothing"),
    };
    checked.map(drop).map_err(|problem| problem.fault.slug)
}

#[tokio::test]
async fn a_signature_with_a_nonce_is_good_once() {
    let source = source(Once::WithNonce);
    let store: Arc<dyn CacheStore> = Arc::new(Marks::new(2));
    let (first, second) = (request("a", Nonce::Random), request("b", Nonce::Random));
    assert_eq!(outcome(&source, &first).await, Err("signature/unavailable"), "without a store nobody can tell");
    source.mark_in(&store);
    assert_eq!(outcome(&source, &first).await, Ok(()));
    assert_eq!(outcome(&source, &first).await, Err("signature/replayed"));
    assert_eq!(outcome(&source, &second).await, Ok(()));
    assert_eq!(outcome(&source, &request("a", Nonce::Random)).await, Err("signature/unavailable"), "it is full");
    let without = request("a", Nonce::None);
    assert_eq!((outcome(&source, &without).await, outcome(&source, &without).await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_nonce_is_there_where_it_must_be() {
    let source = source(Once::Always);
    let store: Arc<dyn CacheStore> = Arc::new(Marks::new(9));
    source.mark_in(&store);
    assert_eq!(outcome(&source, &request("a", Nonce::None)).await, Err("signature/coverage"));
    assert_eq!(outcome(&source, &request("a", Nonce::Random)).await, Ok(()));
    assert_eq!(outcome(&source, &request("stranger", Nonce::Random)).await, Err("signature/unknown-key"));
    // What only seems to have one, in a parameter of another name, is no way around it.
    assert_eq!(outcome(&source, &request("nonce=", Nonce::None)).await, Err("signature/unknown-key"));
}
