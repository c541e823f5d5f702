//! A real OpenID provider (npm `oidc-provider`), which `./test` installs; see `tests/provider/provider.mjs`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use data_encoding::BASE64;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::deadline::wait_until;
use crate::port::free_port;
use crate::process::process;
use crate::raw_client::RawClient;

/// Of the client `shop`, whose secret is `shop-secret`.
const FORM: &str =
    "Authorization: Basic c2hvcDpzaG9wLXNlY3JldA==\r\nContent-Type: application/x-www-form-urlencoded\r\n";

/// A provider that runs.
#[derive(Debug)]
pub struct Provider {
    child: Child,
    address: SocketAddr,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The npm packages of tests.
///
/// # Panics
/// When they are not there: `./test` installs them.
#[must_use]
pub fn modules() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let modules = target.join("tools/provider/node_modules");
    assert!(modules.is_dir(), "{} is not there: `./test` installs it", modules.display());
    modules
}

/// Verifies a token as a service would, by a library that has nothing to do with the gateway (npm `jose`), with the keys at a URL. Its
/// `header` and `claims`.
///
/// # Errors
/// What the library says is wrong with it.
///
/// # Panics
/// When it does not run: `./test` installs it.
pub fn verify(token: &str, jwks: &str, issuer: &str, audience: &str) -> Result<Value, String> {
    let mut command = Command::new("node");
    command.arg(root().join("tests/provider/verify.mjs")).arg(modules()).args([jwks, issuer, audience]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("node runs; `./test` installs it (Debian: nodejs)");
    child.stdin.take().expect("a pipe").write_all(token.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl Provider {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start: `./test` installs what it needs.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at([127, 0, 0, 1])
    }

    /// Starts one at another address of this machine: for browsers, a site of its own.
    ///
    /// # Panics
    /// When it does not start: `./test` installs what it needs.
    #[must_use]
    pub fn start_at(ip: [u8; 4]) -> Self {
        // Somebody else may have taken the port meanwhile.
        for _ in 0..5 {
            let address = SocketAddr::from((ip, free_port()));
            let mut provider = Self { child: Self::run(address), address };
            if provider.serves() {
                return provider;
            }
        }
        panic!("the provider ends at once, at whatever port");
    }

    fn run(address: SocketAddr) -> Child {
        let modules = modules();
        let mut command = Command::new("node");
        command.arg(root().join("tests/provider/provider.mjs")).arg(modules);
        command.args([address.port().to_string(), address.ip().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("node runs; `./test` installs it (Debian: nodejs)")
    }

    /// Waits until it serves, or has ended; whether it serves.
    fn serves(&mut self) -> bool {
        let address = self.address;
        let has_ended = |child: &mut Child| child.try_wait().expect("it is a child").is_some();
        wait_until("the provider serves", || has_ended(&mut self.child) || RawClient::is_accepted(address));
        !has_ended(&mut self.child)
    }

    /// What its tokens name as their issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it, as it stands.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn stop(&mut self) {
        self.child.kill().expect("it is ended");
        self.child.wait().expect("its end");
    }

    /// Starts it again, with new keys.
    ///
    /// # Panics
    /// When it does not start.
    pub fn again(&mut self) {
        self.child = Self::run(self.address);
        assert!(self.serves(), "it ends at once");
    }

    /// It goes on, or stands still and answers nothing.
    ///
    /// # Panics
    /// When it has ended.
    pub fn stands_still(&self, still: bool) {
        let signal = if still { Signal::STOP } else { Signal::CONT };
        rustix::process::kill_process(process(self.child.id()), signal).expect("it runs");
    }

    /// A token of the client `shop` for this audience, with these scopes, signed so.
    ///
    /// # Panics
    /// When it gives none.
    #[must_use]
    pub fn token(&self, audience: &str, scopes: &str, algorithm: &str) -> String {
        self.bound_token(audience, scopes, algorithm, FORM)
    }

    /// The same, with these further fields in the question: a proof of a key (`DPoP`) to which the token gets bound.
    ///
    /// # Panics
    /// When it gives none.
    #[must_use]
    pub fn token_for_key(&self, audience: &str, scopes: &str, algorithm: &str, proof: &str) -> String {
        self.bound_token(audience, scopes, algorithm, &format!("{FORM}DPoP: {proof}\r\n"))
    }

    /// A token of the client `bound`, bound to this certificate (DER).
    ///
    /// # Panics
    /// When it gives none.
    #[must_use]
    pub fn token_for_certificate(&self, audience: &str, scopes: &str, algorithm: &str, der: &[u8]) -> String {
        let client = BASE64.encode(b"bound:bound-secret");
        let fields = format!(
            "Authorization: Basic {client}\r\nContent-Type: application/x-www-form-urlencoded\r\nX-Client-Cert: {}\r\n",
            BASE64.encode(der)
        );
        self.bound_token(audience, scopes, algorithm, &fields)
    }

    fn bound_token(&self, audience: &str, scopes: &str, algorithm: &str, fields: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&scope={}&resource=urn:{audience}:{algorithm}",
            scopes.replace(' ', "+")
        );
        let answer: Value = serde_json::from_str(&self.post("/token", fields, &form)).expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Where it gives out tokens.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.issuer())
    }

    /// A token that no provider would give out: `by` the key for its `alg`, unless somebody else is named (`stranger`, `public`,
    /// `none`). A header or claims may be a text, which is taken as it is.
    #[must_use]
    pub fn signed(&self, header: &Value, claims: &Value, by: &str) -> String {
        self.post(
            "/test/sign",
            "Content-Type: application/json\r\n",
            &json!({ "header": header, "claims": claims, "by": by }).to_string(),
        )
    }

    /// Takes a token back (RFC 7009).
    pub fn revoke(&self, token: &str) {
        self.post("/token/revocation", FORM, &format!("token={token}"));
    }

    /// Publishes a new key and signs with it; the old ones are published on, or not.
    pub fn rotate(&self, drops_old: bool) {
        self.post(if drops_old { "/test/rotate?drop" } else { "/test/rotate" }, "", "");
    }

    /// Knows the client `signer` from now on, by the public half of its key (a JWK).
    pub fn knows_signer(&self, public: &Value) {
        self.post("/test/client", "Content-Type: application/json\r\n", &public.to_string());
    }

    /// Knows the client `web` from now on, whose secret is `web-secret`, and to which people sign in: by these members of its
    /// registration, beside the usual ones, and the `seconds` that its access tokens last. Whoever gives a name and any password at the
    /// login page is that person; of `large` there is much to tell.
    pub fn knows_web(&self, registration: &Value) {
        self.post("/test/web", "Content-Type: application/json\r\n", &registration.to_string());
    }

    /// How often a path was asked for; and of the token endpoint, how often it gave tokens out for a kind of grant (`grant refresh_token`)
    /// or refused to (`refused refresh_token`); and how often a client was `told` of a logout, or was not (`untold`).
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn asked(&self, path: &str) -> u64 {
        let mut client = RawClient::connect(self.address);
        let counts: Value = serde_json::from_str(&client.get("/test/count").text()).expect("JSON");
        counts[path].as_u64().unwrap_or_default()
    }

    fn post(&self, target: &str, fields: &str, body: &str) -> String {
        let mut client = RawClient::connect(self.address);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ));
        client.response("POST").expect("an answer").text()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
