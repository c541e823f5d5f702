//! TLS with itself, over loopback: which certificate is shown, who is believed, what is told when something is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_core::facts::Tls;
use tollgate_net::tls::{
    Client, ClientCertificates, ClientSettings, Failure, FileError, NoHandshake, Outcome, Pair, Part, Pin, Policy,
    Refreshed, Roots, Server, ServerSettings, Verify,
};
use tollgate_net::{Socket, Stream};
use tollgate_testkit::Authority;
use tollgate_testkit::pki::Validity;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A folder with an authority and what it signed.
struct House {
    folder: TempDir,
    authority: Authority,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Test CA");
        authority.write(folder.path(), "ca.pem");
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pair(&self, name: &str, names: &[&str]) -> Pair {
        let (cert, key) = self.authority.server(names).write(self.folder.path(), name);
        Pair { cert, key }
    }

    fn client_pair(&self, name: &str) -> Pair {
        let (cert, key) = self.authority.client(name).write(self.folder.path(), name);
        Pair { cert, key }
    }

    fn client(&self) -> ClientSettings {
        ClientSettings {
            roots: Roots::File(self.path("ca.pem")),
            verify: Verify::Chain,
            pins: Vec::new(),
            name: None,
            certificate: None,
            alpn: vec![b"http/1.1".to_vec()],
        }
    }
}

fn server(certificates: Vec<Pair>) -> ServerSettings {
    let alpn = vec![b"http/1.1".to_vec()];
    ServerSettings { certificates, policy: Policy::Intermediate, clients: ClientCertificates::Ignored, alpn }
}

async fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.unwrap().into(), theirs.unwrap().0.into())
}

/// What the two sides make of each other; both streams stay open.
type Met = (Result<Stream, NoHandshake>, Result<(Stream, Tls), Failure>);

/// Lets the two meet, by this name.
async fn meet(client: &Client, server: &Server, host: Option<&str>) -> Met {
    let (ours, theirs) = sockets().await;
    let connecting = async {
        match client.connect(ours, host, Some(LOCAL)).await {
            Ok(mut stream) => {
                // In TLS 1.3 only reading tells whether the other side is content.
                stream.write_all(b"?").await.unwrap();
                let mut byte = [0];
                let read = stream.read_exact(&mut byte).await;
                read.map(|_| stream).map_err(|error| panic!("{error}"))
            }
            Err(error) => Err(error),
        }
    };
    let accepting = async {
        let (mut stream, facts) = server.accept(theirs).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok((stream, facts))
    };
    tokio::join!(connecting, accepting)
}

/// The client's side alone, where the other gives up.
async fn refused(client: &Client, server: &Server, host: Option<&str>) -> (String, Outcome) {
    let (ours, theirs) = sockets().await;
    let (client, server) = tokio::join!(client.connect(ours, host, Some(LOCAL)), server.accept(theirs));
    let outcome = match server {
        Err(Failure::Ended(outcome, _)) => outcome,
        other => panic!("{other:?}"),
    };
    (client.map_or_else(|error| error.to_string(), |_| "connected".to_owned()), outcome)
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate() {
    let house = House::new();
    let shop = house.authority.server(&["shop.example", "www.shop.example"]);
    let wild = house.authority.server(&["*.wild.example"]);
    let pairs = [("shop", &shop), ("wild", &wild)].map(|(name, identity)| {
        let (cert, key) = identity.write(house.folder.path(), name);
        Pair { cert, key }
    });
    let server = Server::build(server(pairs.to_vec())).unwrap();
    for (asked, shown) in [
        (Some("shop.example"), &shop),
        (Some("www.shop.example"), &shop),
        (Some("a.wild.example"), &wild),
        (Some("a.b.wild.example"), &shop),
        (Some("wild.example"), &shop),
        (Some("other.example"), &shop),
        (None, &shop),
    ] {
        let settings = ClientSettings {
            verify: Verify::Nothing,
            roots: Roots::System,
            pins: vec![pin_of(&shown.pin)],
            ..house.client()
        };
        let client = Client::build(settings).unwrap();
        let (client, met) = meet(&client, &server, asked).await;
        assert!(client.is_ok(), "{asked:?}: {client:?}");
        let facts = met.unwrap().1;
        assert_eq!((facts.version, facts.server_name.as_deref()), ("TLSv1.3", asked));
        assert_eq!((facts.alpn.as_deref(), facts.client), (Some(b"http/1.1".as_slice()), None));
        assert!(facts.cipher.starts_with("TLS_"), "{}", facts.cipher);
    }
    assert!(server.knows("SHOP.example") && server.knows("b.wild.example"));
    assert!(!server.knows("wild.example") && !server.knows("a.b.wild.example") && !server.knows("other.example"));
}

fn pin_of(text: &str) -> Pin {
    let hash = text.strip_prefix("sha256/").and_then(|base64| BASE64.decode(base64.as_bytes()).ok());
    Pin(hash.unwrap().try_into().unwrap())
}

#[tokio::test]
async fn a_service_is_believed_by_root_and_name_and_pin() {
    let house = House::new();
    let identity = house.authority.server(&["orders.internal", "127.0.0.1"]);
    let (cert, key) = identity.write(house.folder.path(), "orders");
    let server = Server::build(server(vec![Pair { cert, key }])).unwrap();
    Authority::new("Another CA").write(house.folder.path(), "other.pem");
    let other = Pin([7; 32]);
    let told = async |settings: ClientSettings, host| {
        let client = Client::build(settings).unwrap();
        let (ours, theirs) = sockets().await;
        let (told, _) = tokio::join!(client.connect(ours, host, Some(LOCAL)), server.accept(theirs));
        told.map_or_else(|error| error.to_string(), |_| "connected".to_owned())
    };
    assert_eq!(told(house.client(), Some("orders.internal")).await, "connected");
    assert_eq!(told(house.client(), None).await, "connected", "by its address");
    let by_name = ClientSettings { name: Some("orders.internal".into()), ..house.client() };
    assert_eq!(told(by_name, Some("10.0.0.1")).await, "connected");
    let wrong_name = told(house.client(), Some("stock.internal")).await;
    assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
    let wrong_root = ClientSettings { roots: Roots::File(house.path("other.pem")), ..house.client() };
    let wrong_root = told(wrong_root, Some("orders.internal")).await;
    assert!(wrong_root.contains("UnknownIssuer"), "{wrong_root}");
    let pinned = ClientSettings { pins: vec![other, pin_of(&identity.pin)], ..house.client() };
    assert_eq!(told(pinned, Some("orders.internal")).await, "connected");
    let wrong_pin = ClientSettings { pins: vec![other], ..house.client() };
    assert_eq!(
        told(wrong_pin.clone(), Some("orders.internal")).await,
        "its certificate: its key is not one of those in `pin`"
    );
    let blind = ClientSettings { verify: Verify::Nothing, roots: Roots::System, ..house.client() };
    assert_eq!(told(blind.clone(), Some("stock.internal")).await, "connected");
    let blind_but_pinned = ClientSettings { pins: vec![other], ..blind };
    assert!(told(blind_but_pinned, Some("stock.internal")).await.contains("`pin`"));
}

#[tokio::test]
async fn clients_show_who_they_are() {
    let house = House::new();
    let pair = house.pair("shop", &["shop.example"]);
    let stranger = Authority::new("Stranger").client("mallory");
    let (cert, key) = stranger.write(house.folder.path(), "mallory");
    let mallory = Pair { cert, key };
    let clients = |certificate| Client::build(ClientSettings { certificate, ..house.client() }).unwrap();
    let alice = clients(Some(house.client_pair("alice")));
    let ca = house.path("ca.pem");
    let required = ServerSettings { clients: ClientCertificates::Required(ca.clone()), ..server(vec![pair.clone()]) };
    let required = Server::build(required).unwrap();
    let optional = ServerSettings { clients: ClientCertificates::Optional(ca), ..server(vec![pair]) };
    let optional = Server::build(optional).unwrap();
    for server in [&required, &optional] {
        // A second time too: what is resumed is the same client.
        for is_resumed in [false, true] {
            let facts = meet(&alice, server, Some("shop.example")).await.1.unwrap().1;
            let client = facts.client.unwrap();
            assert_eq!(&*client.subject, "CN=alice, O=Tests");
            assert_eq!(client.names, ["urn:test:alice"].map(|uri| format!("uri:{uri}").into()).into());
            assert_eq!((client.sha256.len(), facts.is_resumed), (64, is_resumed));
        }
    }
    let none = clients(None);
    assert_eq!(refused(&none, &required, Some("shop.example")).await.1, Outcome::NoCertificate);
    assert_eq!(meet(&none, &optional, Some("shop.example")).await.1.unwrap().1.client, None);
    let mallory = clients(Some(mallory));
    assert_eq!(refused(&mallory, &required, Some("shop.example")).await.1, Outcome::BadCertificate);
    assert_eq!(refused(&mallory, &optional, Some("shop.example")).await.1, Outcome::BadCertificate);
}

#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let house = House::new();
    let server = Server::build(server(vec![house.pair("shop", &["shop.example"])])).unwrap();
    let raw = async |bytes: &[u8]| {
        let (ours, theirs) = sockets().await;
        let Socket::Tcp(mut ours) = ours else { panic!() };
        ours.write_all(bytes).await.unwrap();
        ours.shutdown().await.unwrap();
        match server.accept(theirs).await {
            Err(Failure::PlainHttp(_)) => Outcome::PlainHttp,
            Err(Failure::Ended(outcome, _)) => outcome,
            Ok(_) => Outcome::Ok,
        }
    };
    assert_eq!(raw(b"").await, Outcome::Closed);
    assert_eq!(raw(b"GET / HTTP/1.1\r\n\r\n").await, Outcome::PlainHttp);
    assert_eq!(raw(b"\x16\x03\x01").await, Outcome::Closed);
    assert_eq!(raw(b"\0\x01\x02\x03\x04\x05\x06\x07").await, Outcome::Malformed);
    Authority::new("Another CA").write(house.folder.path(), "other.pem");
    let strict = ClientSettings { roots: Roots::File(house.path("other.pem")), ..house.client() };
    let strict = Client::build(strict).unwrap();
    assert_eq!(refused(&strict, &server, Some("shop.example")).await.1, Outcome::RefusedByClient);
    let spdy = Client::build(ClientSettings { alpn: vec![b"spdy/3".to_vec()], ..house.client() }).unwrap();
    assert_eq!(refused(&spdy, &server, Some("shop.example")).await.1, Outcome::NoProtocol);
}

/// What is wrong with a pair: the part, the message, the hint.
fn wrong(cert: &Path, key: &Path) -> (Part, String, Option<&'static str>) {
    let pair = Pair { cert: cert.to_owned(), key: key.to_owned() };
    let mut errors = Server::build(server(vec![pair])).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let FileError { part, message, hint, .. } = errors.remove(0);
    (part, message.into_owned(), hint)
}

#[test]
fn every_mistake_in_a_file_is_named() {
    let house = House::new();
    let Pair { cert, key } = house.pair("a", &["a.example"]);
    let other = house.pair("b", &["b.example"]);
    let write = |name: &str, text: &str| {
        fs::write(house.path(name), text).unwrap();
        house.path(name)
    };
    let told = |cert: &Path, key: &Path| {
        let (part, message, hint) = wrong(cert, key);
        (part, message, hint.unwrap_or_default())
    };
    let (part, message, _) = told(&house.path("none.pem"), &key);
    assert_eq!((part, message.as_str()), (Part::Certificate, "there is no such file"));
    let (part, message, hint) = told(&key, &cert);
    assert_eq!((part, message.as_str()), (Part::Certificate, "no certificate in it"));
    assert!(hint.contains("swapped"));
    let (part, message, hint) = told(&cert, &cert);
    assert_eq!((part, message.as_str()), (Part::Key, "no private key in it"));
    assert!(hint.contains("swapped"));
    let (part, message, _) = told(&cert, &other.key);
    assert!(part == Part::Key && message.starts_with("this key does not belong to the certificate in"), "{message}");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let (part, message, hint) = told(&cert, &write("encrypted.key", encrypted));
    assert_eq!((part, message.as_str()), (Part::Key, "the key is encrypted"));
    assert!(hint.contains("openssl pkey"));
    assert!(told(&write("empty.pem", ""), &key).1.contains("no certificate"));
    let cut: String = fs::read_to_string(&cert).unwrap().chars().take(200).collect();
    assert!(told(&write("cut.pem", &cut), &key).1.contains("PEM"));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(told(&write("nonsense.pem", nonsense), &key).1.contains("is none"));
    let der = house.path("a.der");
    fs::write(&der, [0x30, 0x82, 1, 2]).unwrap();
    assert!(told(&der, &key).2.contains("DER"));
    assert!(told(house.folder.path(), &key).1.contains("no regular file"));
    // All files are looked at, not only the first that is wrong.
    let pairs = vec![Pair { cert: der, key: key.clone() }, Pair { cert, key: other.key }];
    assert_eq!(Server::build(server(pairs)).unwrap_err().len(), 2);
}

#[test]
fn a_certificate_out_of_its_time_is_used_and_doubted() {
    let house = House::new();
    let now = tollgate_core::clock::Clock::real().unix();
    for (validity, doubt) in [
        (Validity::Now, None),
        (Validity::Past, Some("the certificate has expired")),
        (Validity::Future, Some("the certificate is not valid yet")),
    ] {
        let (cert, key) = house.authority.server_for(&["a.example"], validity).write(house.folder.path(), "a");
        let server = Server::build(server(vec![Pair { cert, key }])).unwrap();
        assert_eq!(server.shown()[0].doubt(now), doubt);
        assert_eq!(server.shown()[0].names, ["a.example"]);
    }
}

#[tokio::test]
async fn a_certificate_replaced_on_disk_is_shown_and_a_broken_one_is_not() {
    let house = House::new();
    let first = house.authority.server(&["shop.example"]);
    let (cert, key) = first.write(house.folder.path(), "shop");
    let server = Server::build(server(vec![Pair { cert: cert.clone(), key }])).unwrap();
    let shows = async |pin: &str| {
        let client = Client::build(ClientSettings { pins: vec![pin_of(pin)], ..house.client() }).unwrap();
        meet_quietly(&client, &server).await
    };
    assert!(shows(&first.pin).await);
    assert_eq!(server.refresh(), Refreshed::Unchanged);
    let second = house.authority.server(&["shop.example"]);
    second.write(house.folder.path(), "shop");
    assert_eq!(server.refresh(), Refreshed::Renewed);
    assert!(shows(&second.pin).await && !shows(&first.pin).await);
    fs::write(&cert, "nonsense").unwrap();
    assert_eq!(server.refresh(), Refreshed::Unchanged, "half-way, perhaps");
    let Refreshed::Broken(errors) = server.refresh() else { panic!("it is broken") };
    assert_eq!((errors[0].path.as_path(), errors[0].message.as_ref()), (cert.as_path(), "no certificate in it"));
    assert!(shows(&second.pin).await, "what was there still holds");
}

async fn meet_quietly(client: &Client, server: &Arc<Server>) -> bool {
    let (ours, theirs) = sockets().await;
    let (client, _) = tokio::join!(client.connect(ours, Some("shop.example"), Some(LOCAL)), server.accept(theirs));
    client.is_ok()
}

#[tokio::test]
async fn new_roots_for_clients_end_old_sessions() {
    let house = House::new();
    let ca = house.path("ca.pem");
    let settings = server(vec![house.pair("shop", &["shop.example"])]);
    let settings = ServerSettings { clients: ClientCertificates::Required(ca.clone()), ..settings };
    let server = Server::build(settings).unwrap();
    let certificate = Some(house.client_pair("alice"));
    let alice = Client::build(ClientSettings { certificate, ..house.client() }).unwrap();
    assert!(!meet(&alice, &server, Some("shop.example")).await.1.unwrap().1.is_resumed);
    assert!(meet(&alice, &server, Some("shop.example")).await.1.unwrap().1.is_resumed);
    house.pair("shop", &["shop.example"]);
    assert_eq!(server.refresh(), Refreshed::Renewed);
    assert!(meet(&alice, &server, Some("shop.example")).await.1.unwrap().1.is_resumed, "other certificate, same roots");
    Authority::new("Another CA").write(house.folder.path(), "ca.pem");
    assert_eq!(server.refresh(), Refreshed::Renewed);
    assert_eq!(refused(&alice, &server, Some("shop.example")).await.1, Outcome::BadCertificate);
}
