//! A real browser (Debian's Chromium), told what to do line by line; see `tests/provider/browser.mjs`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::deadline::PATIENCE;
use crate::provider::{modules, root};

/// A browser that runs; it ends when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    talk: Mutex<Talk>,
}

#[derive(Debug)]
struct Talk {
    /// `None`: nothing more will be said.
    orders: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
}

/// A tab of somebody's.
#[derive(Clone, Debug)]
pub struct Tab<'a> {
    browser: &'a Browser,
    name: String,
}

/// What a tab shows.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// The status of the answer; 0 where a tab was looked at later.
    pub status: u16,
    /// Where it is, after all redirects.
    pub url: String,
    /// The text of the page.
    pub text: String,
}

/// What a script of a page got.
#[derive(Clone, Debug, Deserialize)]
pub struct Fetched {
    /// 0 if it was sent elsewhere, which scripts do not see.
    pub status: u16,
    /// `basic` or `cors`; `opaqueredirect` if it was sent elsewhere.
    #[serde(rename = "type")]
    pub kind: String,
    /// By name, in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub text: String,
}

/// A cookie, as the browser keeps it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// For whom: the host, with a dot before it if others below it get the cookie, too.
    pub domain: String,
    /// The paths that get it begin so.
    pub path: String,
    /// Seconds since 1970; -1: it ends with the browser.
    pub expires: f64,
    /// No script sees it.
    pub http_only: bool,
    /// Nobody gets it without TLS.
    pub secure: bool,
    /// `Strict`, `Lax` or `None`.
    pub same_site: String,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start: `./test` installs what it needs.
    #[must_use]
    pub fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(root().join("tests/provider/browser.mjs")).arg(modules()).arg(PATIENCE.as_millis().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node runs; `./test` installs it (Debian: nodejs)");
        let orders = child.stdin.take();
        let told = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, talk: Mutex::new(Talk { orders, told }) }
    }

    /// A tab: what stands before the slash of its name is a person, whose tabs have their cookies in common (`alice/1`). It is opened
    /// when something is done with it.
    #[must_use]
    pub fn tab(&self, name: &str) -> Tab<'_> {
        Tab { browser: self, name: name.to_owned() }
    }

    fn told(&self, order: &Value) -> Result<Value, String> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = talk.orders.as_mut().expect("it is there until the browser is dropped");
        writeln!(orders, "{order}").expect("it listens; is Chromium there? `./test` installs it (Debian: chromium)");
        let mut line = String::new();
        talk.told.read_line(&mut line).expect("it answers");
        let mut told: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("the browser has ended; is Chromium there? `./test` installs it (Debian: chromium)")
        });
        match told["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(told["value"].take()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let talk = self.talk.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It ends with its input, and takes Chromium with it.
        drop(talk.orders.take());
        let _ = self.child.wait();
    }
}

impl Tab<'_> {
    /// Gives an order; see `tests/provider/browser.mjs` for what there is.
    fn order<T: serde::de::DeserializeOwned>(&self, order: &str, more: Value) -> T {
        let value = self.tried(order, more).unwrap_or_else(|error| panic!("{}: {order}: {error}", self.name));
        serde_json::from_value(value).expect("what was asked for")
    }

    fn tried(&self, order: &str, mut more: Value) -> Result<Value, String> {
        more["tab"] = self.name.as_str().into();
        more["order"] = order.into();
        self.browser.told(&more)
    }

    /// Goes there as if the address were typed in, and wherever that leads to.
    #[must_use]
    pub fn goto(&self, url: &str) -> Seen {
        self.order("goto", json!({ "url": url }))
    }

    /// The same, where there may be nothing.
    ///
    /// # Errors
    /// What the browser says.
    pub fn try_goto(&self, url: &str) -> Result<Seen, String> {
        let value = self.tried("goto", json!({ "url": url }))?;
        Ok(serde_json::from_value(value).expect("what is seen"))
    }

    /// Asks for the page again.
    #[must_use]
    pub fn reload(&self) -> Seen {
        self.order("reload", json!({}))
    }

    /// Writes a text into a field, which a CSS selector tells.
    pub fn fill(&self, field: &str, text: &str) {
        self.order::<()>("fill", json!({ "where": field, "text": text }));
    }

    /// Clicks on this.
    pub fn click(&self, there: &str) {
        self.order::<()>("click", json!({ "where": there }));
    }

    /// Waits until this is there to be seen.
    pub fn appears(&self, there: &str) {
        self.order::<()>("appears", json!({ "where": there }));
    }

    /// Waits until the tab is at an address that begins so, and the page is whole.
    pub fn arrives(&self, at: &str) -> Seen {
        self.order("arrives", json!({ "at": at }))
    }

    /// Waits until the tab is elsewhere than there, and that page is whole.
    pub fn leaves(&self, from: &str) -> Seen {
        self.order("leaves", json!({ "from": from }))
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        self.order("url", json!({}))
    }

    /// The text of the page.
    #[must_use]
    pub fn text(&self) -> String {
        self.order("text", json!({}))
    }

    /// The value of a script, or of the promise that it makes.
    #[must_use]
    pub fn evaluate(&self, script: &str) -> Value {
        self.order("evaluate", json!({ "script": script }))
    }

    /// What a script of the page gets from there, with these options of `fetch`.
    #[must_use]
    pub fn fetch(&self, url: &str, options: &Value) -> Fetched {
        self.order("fetch", json!({ "url": url, "options": options }))
    }

    /// The person's cookies, of everybody.
    #[must_use]
    pub fn cookies(&self) -> Vec<Cookie> {
        self.order("cookies", json!({}))
    }

    /// Has the person keep a cookie for the host of this address.
    pub fn keep(&self, url: &str, name: &str, value: &str) {
        self.order::<()>("keep", json!({ "cookies": [{ "url": url, "name": name, "value": value }] }));
    }

    /// The person forgets the cookies of a host.
    pub fn forget(&self, host: &str) {
        self.order::<()>("forget", json!({ "host": host }));
    }

    /// What this tab asks for at an address that begins so gets no further than the browser, until [`Tab::release`]; the address stays
    /// to be read.
    pub fn hold(&self, at: &str) {
        self.order::<()>("hold", json!({ "at": at }));
    }

    /// Lets go what was held.
    pub fn release(&self) {
        self.order::<()>("release", json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Recorder, Script};

    #[test]
    fn a_browser_does_what_it_is_told() {
        let site = Recorder::answering(|taken| {
            let page = "<!DOCTYPE html><form action=/there><input name=a><button>Go</button></form>";
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: seen=1; HttpOnly; SameSite=Lax; Path=/";
            let told = taken.target.starts_with("/there").then(|| String::from_utf8_lossy(&taken.head).into_owned());
            let body = told.as_deref().unwrap_or(page);
            Script::reply(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        });
        let base = format!("http://{}", site.address());
        let browser = Browser::start();
        let tab = browser.tab("alice/1");
        assert_eq!(tab.goto(&base).status, 200);
        tab.fill("[name=a]", "b c");
        tab.click("button");
        let seen = tab.arrives(&format!("{base}/there"));
        assert!(seen.url.ends_with("/there?a=b+c") && seen.text.contains("seen=1"), "{seen:?}");
        let [cookie] = &tab.cookies()[..] else { panic!("{:?}", tab.cookies()) };
        assert!(cookie.http_only && !cookie.secure && cookie.same_site == "Lax" && cookie.value == "1", "{cookie:?}");
        assert!(browser.tab("alice/2").cookies() == tab.cookies() && browser.tab("bob/1").cookies().is_empty());
        let got = tab.fetch("/there", &json!({ "headers": { "X-By": "script" } }));
        assert!(got.status == 200 && got.text.contains("X-By: script"), "{got:?}");
        tab.hold(&format!("{base}/there"));
        assert_eq!(tab.goto(&format!("{base}/there?x")).text, "held");
        tab.release();
        assert_ne!(tab.reload().text, "held");
        tab.keep(&base, "own", "2");
        assert_eq!(tab.evaluate("document.cookie"), "own=2");
        tab.forget("127.0.0.1");
        assert_eq!((tab.cookies(), tab.try_goto("http://nowhere.example/").is_err()), (Vec::new(), true));
    }
}
