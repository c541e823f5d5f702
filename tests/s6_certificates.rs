//! S6: certificates of clients as identity, made by openssl and shown by curl and openssl; forwarded by a proxy (RFC 9440), too.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tollgate_testkit::{Gateway, RawClient, Recorder, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

#[path = "s6_certificates/house.rs"]
mod house;

use house::{House, curl, outcome, plain, run, slug};

const ROUTES: &str = "/open: { to: \"{{backend}}\" }, /who: { serve: check, auth: partners, backend_token: { send: nothing, \
     headers: { X-Subject: principal, X-Consumer: consumer } } }, \
     /orders: { to: \"{{backend}}\", auth: partners }, \
     /told: { to: \"{{backend}}\", auth: partners, backend_token: { send: nothing, headers: { Client-Cert: claims.client_cert, \
     X-Hash: claims.sha256, X-Serial: claims.serial, X-Issuer: claims.issuer, X-Dns: claims.dns } } }";

/// A gateway that asks clients for certificates, with this source of identity.
fn asking(house: &House, source: &str, more: &str) -> (Gateway, Recorder) {
    house.gateway(&house.listener(), &sections(source, more))
}

/// One without TLS, behind proxies at these addresses.
fn behind(house: &House, proxies: &str, source: &str) -> (Gateway, Recorder) {
    house.gateway("http", &sections(source, &format!("trust: {{ proxies: [{proxies}] }}")))
}

fn sections(source: &str, more: &str) -> String {
    format!("{more}\nauth: {{ partners: {{ {source} }} }}\nroutes: {{ {ROUTES} }}")
}

#[test]
fn a_certificate_says_who_calls_by_the_name_that_is_chosen() {
    let house = House::new();
    house.client(
        "alice",
        "/O=Shop, Inc./OU=a\\+b/CN=alice",
        "DNS:Alice.Partner.example,email:alice@partner.example,URI:urn:alice",
    );
    for (name, subject) in [
        ("subject", "CN=alice,OU=a\\+b,O=Shop\\, Inc."),
        ("cn", "alice"),
        ("dns", "alice.partner.example"),
        ("email", "alice@partner.example"),
        ("uri", "urn:alice"),
    ] {
        let (gateway, _backend) = asking(&house, &format!("certificate: {name}, consumer: cn"), "");
        for _ in 0..2 {
            let told = curl(&house, &gateway, "/who", Some("alice"), &[]);
            assert_eq!((told.outcome(), told.field("x-auth-request-user")), ("ok", Some(subject)), "{}", told.head);
            assert_eq!(told.field("x-auth-request-client"), Some("alice"));
        }
        let missing = curl(&house, &gateway, "/orders", None, &[]);
        assert_eq!((missing.status, missing.outcome()), (401, "auth/missing"));
        assert_eq!(missing.field("www-authenticate"), Some("Certificate realm=\"partners\""));
    }
}

#[test]
fn what_the_certificate_says_is_known_to_the_service_if_that_is_wanted() {
    let house = House::new();
    house.client("alice", "/CN=alice", "DNS:alice.example");
    let (gateway, backend) = asking(&house, "certificate: cn", "");
    // Header spoofing: what a client says of itself is not passed on, neither with a certificate nor without.
    let spoofed = [
        "-H",
        "Client-Cert: :AAAA:",
        "-H",
        "client-cert-chain: :AAAA:",
        "-H",
        "X-Hash: 00",
        "-H",
        "Client_Cert: :AAAA:",
    ];
    assert_eq!(curl(&house, &gateway, "/told", Some("alice"), &spoofed).outcome(), "ok");
    assert_eq!(curl(&house, &gateway, "/open", None, &spoofed).outcome(), "ok");
    let seen: String = backend.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect();
    assert!(seen.contains(&format!("Client-Cert: {}\r\n", house.forwarded("alice.pem"))), "{seen}");
    let fingerprint = run(Command::new("openssl").args([
        "x509",
        "-noout",
        "-fingerprint",
        "-sha256",
        "-serial",
        "-in",
        &house.text("alice.pem"),
    ]));
    let (hash, serial) = fingerprint.trim().split_once('\n').unwrap();
    let hash = hash.split_once('=').unwrap().1.replace(':', "").to_lowercase();
    assert!(seen.contains(&format!("X-Hash: {hash}\r\n")), "{seen}");
    assert!(seen.contains(&format!("X-Serial: {}\r\n", serial.split_once('=').unwrap().1)), "{seen}\n{fingerprint}");
    assert!(seen.contains("X-Issuer: CN=ca\r\n"), "{seen}");
    assert!(!seen.to_lowercase().contains(":aaaa:") && !seen.contains("X-Hash: 00"), "{seen}");
}

#[test]
fn only_names_that_are_let_in_are() {
    let house = House::new();
    house.client("web", "/CN=web", "DNS:web.shop.example,DNS:web.internal");
    house.client("deep", "/CN=deep", "DNS:a.b.shop.example");
    house.client("none", "/CN=none", "");
    let (gateway, _backend) = asking(&house, "certificate: dns, names: [\"*.shop.example\"]", "");
    let told = curl(&house, &gateway, "/who", Some("web"), &[]);
    assert_eq!(told.field("x-auth-request-user"), Some("web.shop.example"), "the one that is let in");
    let refused = curl(&house, &gateway, "/orders", Some("deep"), &[]);
    assert_eq!((refused.status, refused.outcome()), (401, "certificate/unknown"));
    let challenge = refused.field("www-authenticate").unwrap();
    assert!(challenge.starts_with("Certificate realm=\"partners\", error="), "{challenge}");
    assert_eq!(curl(&house, &gateway, "/orders", Some("none"), &[]).outcome(), "certificate/name");
    let (all, _backend) = asking(&house, "certificate: dns", "");
    assert_eq!(curl(&house, &all, "/orders", Some("web"), &[]).outcome(), "certificate/name", "which of the two?");
    assert_eq!(curl(&house, &all, "/orders", Some("deep"), &[]).outcome(), "ok");
}

#[test]
fn a_spiffe_id_is_the_only_uri_of_a_leaf() {
    let house = House::new();
    house.client("web", "/CN=x", "URI:spiffe://example.org/ns/shop/sa/web");
    house.client("foreign", "/CN=x", "URI:spiffe://evil.example/ns/shop/sa/web");
    house.client("two", "/CN=x", "URI:spiffe://example.org/a,URI:spiffe://example.org/b");
    house.client("dots", "/CN=x", "URI:spiffe://example.org/a/../b");
    house.client("bare", "/CN=x", "URI:spiffe://example.org");
    house.client("other", "/CN=x", "URI:https://example.org/a");
    let usage = [
        "subjectAltName=URI:spiffe://example.org/ca",
        "keyUsage=critical,digitalSignature,keyCertSign",
        "extendedKeyUsage=clientAuth",
    ];
    house.signed("vouches", "ca", "/CN=x", &usage);
    let (gateway, _backend) = asking(&house, "certificate: spiffe, domains: [example.org]", "");
    let told = curl(&house, &gateway, "/who", Some("web"), &[]);
    assert_eq!(told.field("x-auth-request-user"), Some("spiffe://example.org/ns/shop/sa/web"));
    assert_eq!(curl(&house, &gateway, "/orders", Some("foreign"), &[]).outcome(), "certificate/unknown");
    for name in ["two", "dots", "bare", "other", "vouches"] {
        assert_eq!(curl(&house, &gateway, "/orders", Some(name), &[]).outcome(), "certificate/name", "{name}");
    }
}

#[test]
fn a_source_may_trust_less_than_its_listener_and_follows_its_file() {
    let house = House::new();
    house.client("alice", "/CN=alice", "DNS:alice.example");
    fs::copy(house.file("other.pem"), house.file("trusted.pem")).unwrap();
    let (gateway, _backend) = asking(&house, "certificate: cn, ca: PKI/trusted.pem", "");
    assert_eq!(curl(&house, &gateway, "/orders", Some("alice"), &[]).outcome(), "certificate/untrusted");
    fs::copy(house.file("ca.pem"), house.file("trusted.pem")).unwrap();
    wait_until("the file is read again", || curl(&house, &gateway, "/orders", Some("alice"), &[]).outcome() == "ok");
    fs::copy(house.file("other.pem"), house.file("trusted.pem")).unwrap();
    wait_until("it is not believed for ever", || {
        curl(&house, &gateway, "/orders", Some("alice"), &[]).outcome() == "certificate/untrusted"
    });
    fs::write(house.file("trusted.pem"), "nonsense").unwrap();
    wait_until("status tells", || gateway.status()["identity"][0]["state"] == "stale");
}

#[test]
fn what_a_proxy_forwards_is_taken_from_a_trusted_one_only() {
    let house = House::new();
    house.client("alice", "/CN=alice", "DNS:alice.example");
    house.signed("mallory", "other", "/CN=mallory", &["extendedKeyUsage=clientAuth"]);
    let alice = format!("Client-Cert: {}\r\n", house.forwarded("alice.pem"));
    let mallory = format!("Client-Cert: {}\r\n", house.forwarded("mallory.pem"));
    let (gateway, backend) = behind(&house, "127.0.0.1", "certificate: cn, ca: PKI/ca.pem, forwarded: verified");
    for _ in 0..2 {
        let told = plain(&gateway, "/who", &alice);
        assert_eq!((told.status, told.one("x-auth-request-user").as_deref()), (200, Some("alice")));
    }
    assert_eq!(outcome(&plain(&gateway, "/orders", &mallory)), "certificate/untrusted");
    assert_eq!(outcome(&plain(&gateway, "/orders", "")), "auth/missing");
    for fields in [
        "Client-Cert: AAAA\r\n",
        "Client-Cert: ::\r\n",
        "Client-Cert: :AAAA:\r\n",
        "Client-Cert: :MIIB\r\n",
        &format!("{alice}{mallory}"),
        &format!("{alice}Client-Cert: \r\n"),
    ] {
        assert_eq!(outcome(&plain(&gateway, "/orders", fields)), "certificate/malformed", "{fields}");
    }
    // Header spoofing: from anybody else it is worth nothing, and neither is a name that only looks alike.
    let mut stranger = RawClient::connect_from([127, 0, 0, 9], gateway.address());
    let spoofed =
        stranger.call(&format!("GET /orders HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: 127.0.0.1\r\n{alice}\r\n"));
    assert_eq!(outcome(&spoofed), "auth/missing");
    assert_eq!(outcome(&plain(&gateway, "/orders", &alice.replace("Client-Cert", "Client_Cert"))), "auth/missing");
    assert_eq!(outcome(&plain(&gateway, "/orders", &alice.replace("Client-Cert", "X-Client-Cert"))), "auth/missing");
    assert_eq!(outcome(&plain(&gateway, "/orders", &alice)), "ok");
    let seen: String = backend.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect();
    assert!(seen.contains("GET /orders") && !seen.to_lowercase().contains("client-cert"), "{seen}");
    // Nobody vouches but the proxy.
    let (believing, _backend) = behind(&house, "127.0.0.1", "certificate: cn, forwarded: believed");
    assert_eq!(plain(&believing, "/who", &mallory).one("x-auth-request-user").as_deref(), Some("mallory"));
    // Nothing is looked at unless the source says so.
    let (ignoring, _backend) = asking(&house, "certificate: cn", "trust: { proxies: [127.0.0.1] }");
    let fields = alice.trim_end();
    assert_eq!(curl(&house, &ignoring, "/orders", None, &["-H", fields]).outcome(), "auth/missing");
    let proxys = curl(&house, &ignoring, "/orders", Some("alice"), &["-H", fields]);
    assert_eq!(
        (proxys.status, proxys.outcome()),
        (401, "certificate/proxy"),
        "a proxy's own says nothing of its client"
    );
}

#[test]
fn those_in_between_are_forwarded_too() {
    let house = House::new();
    house.signed("between", "ca", "/CN=between", &[]);
    // An authority below another one: openssl takes no two `basicConstraints`.
    let (ca, key) = (house.text("ca.pem"), house.text("ca.key"));
    let extensions = ["-addext", "keyUsage=critical,keyCertSign"];
    house.make("between", &[&["-CA", &ca, "-CAkey", &key, "-subj", "/CN=between"][..], &extensions].concat());
    house.signed("bob", "between", "/CN=bob", &["extendedKeyUsage=clientAuth"]);
    let (gateway, _backend) = behind(&house, "127.0.0.1", "certificate: cn, ca: PKI/ca.pem, forwarded: verified");
    let bob = format!("Client-Cert: {}\r\n", house.forwarded("bob.pem"));
    assert_eq!(outcome(&plain(&gateway, "/orders", &bob)), "certificate/untrusted");
    let chain = format!("{bob}Client-Cert-Chain: {}\r\n", house.forwarded("between.pem"));
    assert_eq!(outcome(&plain(&gateway, "/orders", &chain)), "ok");
    let long = format!("{bob}Client-Cert-Chain: {}\r\n", vec![":AAAA:"; 20].join(", "));
    // What is remembered needs no chain; so somebody else comes with one.
    house.signed("eve", "between", "/CN=eve", &["extendedKeyUsage=clientAuth"]);
    let eve = long.replace(&house.forwarded("bob.pem"), &house.forwarded("eve.pem"));
    assert_eq!(outcome(&plain(&gateway, "/orders", &eve)), "certificate/malformed");
}

/// A client's certificate that ends in a few seconds.
fn ending(house: &House, name: &str) {
    let folder = house.0.path();
    fs::write(folder.join("index.txt"), "").unwrap();
    let config = format!(
        "[ca]\ndefault_ca=own\n[own]\ndatabase={0}/index.txt\nnew_certs_dir={0}\nrand_serial=yes\ndefault_md=sha256\n\
         policy=any\nx509_extensions=client\n[any]\ncommonName=supplied\n[client]\nextendedKeyUsage=clientAuth\n",
        folder.display()
    );
    fs::write(folder.join("ca.cnf"), config).unwrap();
    let (key, request) = (house.text(&format!("{name}.key")), house.text(&format!("{name}.csr")));
    let mut command = Command::new("openssl");
    command.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=brief"]);
    run(command.args(["-keyout", &key, "-out", &request]));
    let time = |when: &str| run(Command::new("date").args(["-u", "-d", when, "+%y%m%d%H%M%SZ"])).trim().to_owned();
    let mut command = Command::new("openssl");
    command.args([
        "ca",
        "-batch",
        "-config",
        &house.text("ca.cnf"),
        "-in",
        &request,
        "-out",
        &house.text(&format!("{name}.pem")),
    ]);
    command.args(["-cert", &house.text("ca.pem"), "-keyfile", &house.text("ca.key"), "-notext"]);
    run(command.args(["-startdate", &time("-1 hour"), "-enddate", &time("+5 seconds")]));
}

#[test]
fn a_certificate_that_ends_lets_nobody_in_on_a_connection_that_was_open() {
    let house = House::new();
    ending(&house, "brief");
    let (gateway, _backend) = asking(&house, "certificate: cn", "");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &gateway.address().to_string()]);
    command.args(["-cert", &house.text("brief.pem"), "-key", &house.text("brief.key")]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut to, mut from) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
    let mut ask = || {
        to.write_all(b"GET /orders HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            assert!(from.read_line(&mut head).unwrap() > 0, "it ended: {head}");
            if let Some(value) = head[start..].to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), String::from_utf8(body).unwrap())
    };
    assert_eq!(ask().0, "200");
    let mut last = String::new();
    wait_until("the certificate ends", || {
        let (status, body) = ask();
        last = slug(&body);
        status == "401"
    });
    assert_eq!(last, "certificate/expired");
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn configs_that_could_let_nobody_in_are_told() {
    let house = House::new();
    let check = |listen: &str, source: &str, more: &str| {
        let file = house.file("tollgate.yaml");
        let text = format!(
            "listen: {{ \"127.0.0.1:8443\": {listen} }}\n{more}\nauth: {{ partners: {{ {source} }} }}\nroutes: {{ /: {{ reply: 200, auth: partners }} }}\n"
        );
        fs::write(&file, text.replace("PKI", &house.0.path().display().to_string())).unwrap();
        said(&file)
    };
    let tls = "{ tls: { cert: PKI/server.pem, key: PKI/server.key, client: PKI/ca.pem } }";
    let fine = check(tls, "certificate: cn", "");
    assert!(fine.contains(": fine") && !fine.contains("warning"), "{fine}");
    for (listen, source, told) in [
        ("http", "certificate: cn", "no listener asks clients for certificates"),
        (tls, "certificate: cn, forwarded: believed", "no proxy is trusted"),
        (tls, "certificate: cn, forwarded: verified", "nobody is named who vouches"),
        (tls, "certificate: cn, domains: [a.example]", "`domains` are those of SPIFFE IDs"),
        (tls, "certificate: spiffe, domains: [\"spiffe://a.example\"]", "no trust domains"),
        (tls, "certificate: cn, names: []", "nobody is let in"),
        (tls, "certificate: cn, ca: PKI/server.key", "there is no certificate in it"),
        (tls, "certificate: common", "is not known here"),
    ] {
        let said = check(listen, source, "");
        assert!(said.contains(told), "{source}: {said}");
    }
}

fn said(file: &Path) -> String {
    let output = Command::new(TOLLGATE).args(["check", "-c"]).arg(file).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn no_certificate_is_told_to_anybody() {
    let house = House::new();
    house.client("alice", "/CN=alice", "DNS:canary.partner.example");
    house.signed("mallory", "other", "/CN=mallory", &["extendedKeyUsage=clientAuth"]);
    let (gateway, _backend) = behind(&house, "127.0.0.1", "certificate: cn, ca: PKI/ca.pem, forwarded: verified");
    let mut texts = Vec::new();
    let certificates =
        [house.forwarded("alice.pem"), house.forwarded("mallory.pem"), ":Y2FuYXJ5LW9mLW5vLWNlcnRpZmljYXRl:".to_owned()];
    for certificate in &certificates {
        let answer = plain(&gateway, "/orders", &format!("Client-Cert: {certificate}\r\n"));
        texts.push(format!("{:?} {}", answer.fields, answer.text()));
    }
    wait_until("all is logged", || gateway.access_log().len() > certificates.len());
    texts.extend([gateway.log(), gateway.status().to_string(), gateway.health("/metrics").text()]);
    let canaries = certificates.iter().map(|certificate| &certificate[certificate.len() / 2..certificate.len() - 4]);
    for canary in canaries.chain(["canary", "BEGIN PRIVATE KEY"]) {
        let told = texts.iter().find(|text| text.contains(canary));
        assert!(told.is_none(), "{canary} is told: {told:?}");
    }
}
