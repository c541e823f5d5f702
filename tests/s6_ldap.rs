//! S6: names and passwords that a directory is asked about: Debian's slapd, over LDAPS and with StartTLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tollgate_testkit::{Authority, Gateway, Recorder, Response, Script, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const ACCOUNT: &str = "the gateway's own secret";

/// A directory with people and groups.
struct Directory {
    folder: tempfile::TempDir,
    plain: u16,
    tls: u16,
    slapd: Option<Child>,
}

const PEOPLE: &str = "dn: dc=example,dc=com
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=gateway,dc=example,dc=com
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: gateway
userPassword: the gateway's own secret

dn: uid=alice,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Example
description: bob
mail: alice@example.com
mail: alice@example.org
departmentNumber: 7
userPassword: alice's secret

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Example
userPassword: bob's secret

dn: uid=o'brien\\, (jr)*,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: o'brien, (jr)*
cn: O'Brien
sn: Example
userPassword: brien's secret

dn: cn=admins,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: admins
member: uid=alice,ou=people,dc=example,dc=com
member: uid=o'brien\\, (jr)*,ou=people,dc=example,dc=com

dn: cn=staff,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: staff
member: uid=alice,ou=people,dc=example,dc=com
member: uid=bob,ou=people,dc=example,dc=com
";

impl Directory {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (plain, tls) = (free_port(), free_port());
        let authority = Authority::new("directory");
        let issued = authority.server(&["localhost"]);
        let at = |name: &str| folder.path().join(name);
        fs::write(at("ca.pem"), authority.pem()).unwrap();
        fs::write(at("other.pem"), Authority::new("another").pem()).unwrap();
        fs::write(at("cert.pem"), issued.cert).unwrap();
        fs::write(at("key.pem"), issued.key).unwrap();
        fs::write(at("people.ldif"), PEOPLE).unwrap();
        fs::create_dir(at("data")).unwrap();
        let shown = folder.path().display();
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             pidfile {shown}/slapd.pid\nTLSCertificateFile {shown}/cert.pem\nTLSCertificateKeyFile {shown}/key.pem\n\
             TLSCACertificateFile {shown}/ca.pem\n\
             database mdb\nsuffix \"dc=example,dc=com\"\nrootdn \"cn=root,dc=example,dc=com\"\nrootpw root\ndirectory {shown}/data\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=gateway,dc=example,dc=com\" read by self read by users search by anonymous auth\n"
        );
        fs::write(at("slapd.conf"), config).unwrap();
        let added = Command::new("/usr/sbin/slapadd")
            .arg("-f")
            .arg(at("slapd.conf"))
            .arg("-l")
            .arg(at("people.ldif"))
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let mut own = Self { folder, plain, tls, slapd: None };
        own.run();
        own
    }

    fn run(&mut self) {
        let urls = format!("ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/", self.plain, self.tls);
        let mut command = Command::new("/usr/sbin/slapd");
        command.arg("-f").arg(self.at("slapd.conf")).args(["-h", &urls, "-d", "0"]);
        self.slapd = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        for port in [self.plain, self.tls] {
            wait_until("slapd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    fn stop(&mut self) {
        if let Some(mut slapd) = self.slapd.take() {
            slapd.kill().unwrap();
            slapd.wait().unwrap();
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn change_password(&self, of: &str, to: &str) {
        let mut command = Command::new("ldappasswd");
        command.args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.plain), "-D", "cn=root,dc=example,dc=com"]);
        let changed =
            command.args(["-w", "root", "-s", to, &format!("uid={of},ou=people,dc=example,dc=com")]).output().unwrap();
        assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.stop();
    }
}

/// As whom users are bound, and groups as the gateway's own account sees them.
fn by_template(ca: &Path) -> String {
    format!(
        "user: \"uid={{user}},ou=people,dc=example,dc=com\", bind: \"cn=gateway,dc=example,dc=com\", password: \"${{env:LDAP_PASSWORD}}\", \
         groups: {{ below: \"ou=groups,dc=example,dc=com\", filter: \"(member={{dn}})\" }}, attributes: [mail, departmentNumber], ca: {}",
        ca.display()
    )
}

/// Users are found first.
fn by_search(ca: &Path) -> String {
    format!(
        "bind: \"cn=gateway,dc=example,dc=com\", password: \"${{env:LDAP_PASSWORD}}\", \
         users: {{ below: \"ou=people,dc=example,dc=com\", filter: \"(|(uid={{user}})(mail={{user}}))\" }}, subject: uid, \
         groups: {{ below: \"ou=groups,dc=example,dc=com\", filter: \"(member={{dn}})\" }}, ca: {}",
        ca.display()
    )
}

struct Bench {
    directory: Directory,
    gateway: Gateway,
    _backend: Recorder,
}

impl Bench {
    fn new(url: impl Fn(&Directory) -> String, how: impl Fn(&Directory) -> String) -> Self {
        let directory = Directory::start();
        let backend = Recorder::answering(|taken| Script::ok(taken, &String::from_utf8_lossy(&taken.head)));
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlimits: {{ failures: 1000000 }}\n\
             auth: {{ staff: {{ ldap: \"{}\", {} }} }}\n\
             routes:\n  /: {{ to: \"{{{{backend}}}}\", auth: staff, backend_token: {{ send: nothing, headers: {{ X-User: principal, X-Mail: claims.mail, X-Groups: claims.groups }} }} }}\n  \
             /admin: {{ to: \"{{{{backend}}}}\", auth: staff, allow: '\"admins\" in claims.groups' }}\n",
            url(&directory),
            how(&directory),
        );
        let values = [("backend", backend.address().to_string())];
        let gateway = Gateway::start_with(TOLLGATE, &config, &values, &[("LDAP_PASSWORD", ACCOUNT)]);
        Self { directory, gateway, _backend: backend }
    }

    fn ldaps(how: impl Fn(&Path) -> String) -> Self {
        Self::new(|d| format!("ldaps://localhost:{}", d.tls), |d| how(&d.at("ca.pem")))
    }

    fn call(&self, target: &str, name: &str, password: &str) -> Response {
        let text = data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes());
        let request = format!("GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Basic {text}\r\n\r\n");
        self.gateway.client().call(&request)
    }

    /// `ok`, or the problem's slug.
    fn slug(&self, target: &str, name: &str, password: &str) -> String {
        let answer = self.call(target, name, password);
        if answer.status == 200 {
            return "ok".to_owned();
        }
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
    }
}

/// Who is let in, and who is not, by either way.
fn lets_the_right_ones_in(bench: &Bench) {
    assert_eq!(bench.slug("/", "alice", "alice's secret"), "ok");
    assert_eq!(bench.slug("/", "bob", "bob's secret"), "ok");
    assert_eq!(bench.slug("/admin", "alice", "alice's secret"), "ok");
    assert_eq!(bench.slug("/admin", "bob", "bob's secret"), "allow/denied");
    for (name, password) in [
        ("alice", "bob's secret"),
        ("alice", "wrong"),
        // RFC 4513 §5.1.2: a directory would let that in, as nobody.
        ("alice", ""),
        ("nobody", "alice's secret"),
        ("", "alice's secret"),
        // What would be another name, or another filter, if it were not written as what it is.
        ("*", "alice's secret"),
        ("ali*", "alice's secret"),
        ("alice)(uid=*", "alice's secret"),
        ("*)(|(uid=alice", "alice's secret"),
        ("alice,ou=people,dc=example,dc=com", "alice's secret"),
        ("alice,ou=people", "alice's secret"),
        ("alice+cn=Alice", "alice's secret"),
        ("alice\\2cou\\3dpeople", "alice's secret"),
        ("alice ", "alice's secret"),
        (" alice", "alice's secret"),
        ("cn=gateway,dc=example,dc=com", ACCOUNT),
        ("gateway", ACCOUNT),
    ] {
        assert_eq!(bench.slug("/", name, password), "ldap/refused", "{name:?}");
    }
    // Whatever letters a name has, it is that name.
    assert_eq!(bench.slug("/admin", "o'brien, (jr)*", "brien's secret"), "ok");
    let missing = bench.gateway.client().get("/");
    assert_eq!(missing.status, 401);
    assert_eq!(missing.one("www-authenticate").as_deref(), Some("Basic realm=\"staff\", charset=\"UTF-8\""));
}

#[test]
fn users_are_bound_by_their_names() {
    let bench = Bench::ldaps(by_template);
    lets_the_right_ones_in(&bench);
    let seen = bench.call("/", "alice", "alice's secret").text().to_lowercase();
    assert!(seen.contains("x-user: alice\r\n") && !seen.contains("authorization"), "{seen}");
    assert!(seen.contains("alice@example.com") && seen.contains("admins") && seen.contains("staff"), "{seen}");
}

#[test]
fn users_are_found_and_then_bound() {
    let bench = Bench::ldaps(by_search);
    lets_the_right_ones_in(&bench);
    // By another of their names, and known by the one that `subject` says.
    let seen = bench.call("/", "alice@example.org", "alice's secret").text().to_lowercase();
    assert!(seen.contains("x-user: alice\r\n"), "{seen}");
}

/// Active Directory, for one, has two names for everybody, and nobody sees to it that they lead to the same person.
#[test]
fn whoever_has_one_name_of_somebody_else_is_not_them() {
    let how = |d: &Directory| {
        format!(
            "user: \"uid={{user}},ou=people,dc=example,dc=com\", bind: \"cn=gateway,dc=example,dc=com\", password: \"${{env:LDAP_PASSWORD}}\", \
             users: {{ below: \"ou=people,dc=example,dc=com\", filter: \"(description={{user}})\" }}, ca: {}",
            d.at("ca.pem").display()
        )
    };
    let bench = Bench::new(|d| format!("ldaps://localhost:{}", d.tls), how);
    assert_eq!(bench.slug("/", "bob", "bob's secret"), "ldap/refused", "the entry that is found is Alice's");
    assert_eq!(bench.slug("/", "bob", "alice's secret"), "ldap/refused");
    assert_eq!(bench.slug("/", "alice", "alice's secret"), "ldap/refused", "none is found");
}

#[test]
fn tls_begins_once_the_server_agreed() {
    let url = |d: &Directory| format!("ldap://localhost:{}", d.plain);
    let bench = Bench::new(url, |d| format!("starttls: true, {}", by_search(&d.at("ca.pem"))));
    lets_the_right_ones_in(&bench);
}

#[test]
fn a_directory_that_cannot_be_believed_is_asked_nothing() {
    let bench = Bench::new(|d| format!("ldaps://localhost:{}", d.tls), |d| by_template(&d.at("other.pem")));
    let answer = bench.call("/", "alice", "alice's secret");
    assert_eq!((answer.status, answer.one("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(bench.slug("/", "alice", "wrong"), "ldap/unavailable", "nobody can tell: never 401");
}

#[test]
fn who_was_let_in_stays_so_while_the_directory_is_down() {
    let mut bench = Bench::ldaps(by_search);
    assert_eq!(bench.slug("/", "alice", "alice's secret"), "ok");
    bench.directory.stop();
    assert_eq!(bench.slug("/", "alice", "alice's secret"), "ok");
    assert_eq!(bench.slug("/", "bob", "bob's secret"), "ldap/unavailable");
    assert_eq!(bench.slug("/", "alice", "wrong"), "ldap/unavailable");
    bench.directory.run();
    wait_until("the directory is asked again", || bench.slug("/", "bob", "bob's secret") == "ok");
}

#[test]
fn a_changed_password_is_seen_in_the_stated_time() {
    let short = |ca: &Path| format!("{}, cache: 1s, negative: 1s", by_search(ca));
    let bench = Bench::ldaps(short);
    assert_eq!(bench.slug("/", "bob", "bob's secret"), "ok");
    assert_eq!(bench.slug("/", "bob", "bob's other one"), "ldap/refused");
    bench.directory.change_password("bob", "bob's other one");
    wait_until("the old one is refused", || bench.slug("/", "bob", "bob's secret") == "ldap/refused");
    wait_until("the new one is taken", || bench.slug("/", "bob", "bob's other one") == "ok");
}

#[test]
fn no_password_is_told_anywhere() {
    let bench = Bench::ldaps(by_search);
    for (name, password) in
        [("alice", "alice's secret"), ("alice", "canary-wrong"), ("canary", "canary-other"), ("alice", "")]
    {
        let answer = bench.call("/", name, password).text();
        assert!(!answer.contains("canary-") && !answer.contains(ACCOUNT), "{answer}");
    }
    let told =
        [bench.gateway.log(), bench.gateway.status().to_string(), bench.gateway.health("/metrics").text()].concat();
    for secret in ["alice's secret", "canary-wrong", "canary-other", ACCOUNT] {
        assert!(!told.contains(secret), "{secret} is told");
        assert!(
            !told.contains(&data_encoding::BASE64.encode(format!("alice:{secret}").as_bytes())),
            "{secret} is told"
        );
    }
}
