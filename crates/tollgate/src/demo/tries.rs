//! What is worth trying in the demo: printed as curl lines, sent by `demo --try`.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tollgate_core::head::Method;

use crate::cli::{Failure, Output, failure};
use crate::http;

/// How often, and how long apart, it is asked again who calls.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// One request.
#[derive(Debug)]
pub(crate) struct Try {
    /// What it shows.
    pub(crate) about: &'static str,
    /// As a line for a shell. Its URLs are what is sent, so that what is sent is what is printed.
    pub(crate) command: &'static str,
    expected: u16,
    /// Fields of the answer worth showing.
    shown: &'static [&'static str],
    /// Lines of the body to show: those with these words, in this order.
    with: &'static [&'static str],
}

/// All of them.
pub(crate) static ALL: [Try; 8] = [
    Try {
        about: "two instances, in turn",
        command: "curl http://127.0.0.1:8080/orders/1 http://127.0.0.1:8080/orders/2",
        expected: 200,
        shown: &[],
        with: &[],
    },
    Try {
        about: "a parameter, a rewritten path, a response header",
        command: "curl -i http://127.0.0.1:8080/stock/teapot",
        expected: 200,
        shown: &["x-served-by", "x-correlation-id"],
        with: &[],
    },
    Try {
        about: "a redirect",
        command: "curl -i http://127.0.0.1:8080/shop/17",
        expected: 308,
        shown: &["location"],
        with: &[],
    },
    Try {
        about: "no route: 404 as problem+json; the correlation id is in the access log too",
        command: "curl -i http://127.0.0.1:8080/nowhere",
        expected: 404,
        shown: &["content-type"],
        with: &[],
    },
    Try {
        about: "a service that is not there: 502 as problem+json",
        command: "curl -i http://127.0.0.1:8080/broken",
        expected: 502,
        shown: &["content-type"],
        with: &[],
    },
    Try {
        about: "a route that takes a token: 401 says where from",
        command: "curl -i http://127.0.0.1:8080/private/orders/1",
        expected: 401,
        shown: &["www-authenticate"],
        with: &[],
    },
    Try {
        about: "the same with one; the service is told who calls",
        command: "curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/private/orders/1",
        expected: 200,
        shown: &[],
        with: &[],
    },
    Try {
        about: "metrics",
        command: "curl -s http://127.0.0.1:9900/metrics | grep 'requests_total.*2xx'",
        expected: 200,
        shown: &[],
        with: &["requests_total", "2xx"],
    },
];

/// Sends all of them, with this token where one is called for, and shows the answers; a status other than the expected one is a failure.
pub(crate) fn run(output: &Output, token: &str) -> Result<(), Failure> {
    for attempt in &ALL {
        output.print(&format!("# {}\n$ {}\n", attempt.about, attempt.command))?;
        let field = if attempt.command.contains("$TOKEN") {
            format!("Authorization: Bearer {token}\r\n")
        } else {
            String::new()
        };
        for (host, target) in attempt.urls() {
            let answer = asked(host, &target, &field)
                .map_err(|told| failure(format!("no answer to `{}`: {told}", attempt.command)))?;
            output.print(&shown(attempt, &answer))?;
            if answer.status != attempt.expected {
                return Err(failure(format!("expected {}, got {}", attempt.expected, answer.status)));
            }
        }
        output.print("\n")?;
    }
    Ok(())
}

impl Try {
    /// The URLs of the command, in their order: the address and the target of each.
    fn urls(&self) -> impl Iterator<Item = (&'static str, String)> {
        let urls = self.command.split(' ').filter_map(|word| word.strip_prefix("http://"));
        urls.map(|url| url.split_once('/').map_or((url, "/".to_owned()), |(host, path)| (host, format!("/{path}"))))
    }
}

/// Asks; and again while the gateway cannot tell who calls: its identity provider started together with it, and it reads the
/// provider's keys a second later.
#[expect(clippy::disallowed_methods, reason = "a thread of the demo's own, beside the gateway")]
fn asked(host: &str, target: &str, field: &str) -> Result<http::Answer, String> {
    for _ in 0..TRIES {
        let answer = ask(host, target, field)?;
        if field.is_empty() || answer.status != 503 {
            return Ok(answer);
        }
        thread::sleep(PAUSE);
    }
    ask(host, target, field)
}

fn ask(host: &str, target: &str, field: &str) -> Result<http::Answer, String> {
    let address: SocketAddr = host.parse().map_err(|_| format!("`{host}` is no address"))?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{field}Connection: close\r\n\r\n");
    http::request(&address.into(), Method::Get, &head, &[]).map_err(|e| e.to_string())
}

fn shown(attempt: &Try, answer: &http::Answer) -> String {
    let mut text = format!("{} {}\n", answer.status, tollgate_http1::write::reason(answer.status));
    for (name, value) in &answer.fields {
        if attempt.shown.iter().any(|shown| name.eq_ignore_ascii_case(shown)) {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    let body = String::from_utf8_lossy(&answer.body);
    for line in body.lines().filter(|line| has_in_order(line, attempt.with)) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn has_in_order(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| match rest.split_once(word) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_of_a_printed_line_is_sent_once_and_in_its_order() {
        let sent: Vec<Vec<String>> = ALL
            .iter()
            .map(|attempt| attempt.urls().map(|(host, target)| format!("http://{host}{target}")).collect())
            .collect();
        for (attempt, sent) in ALL.iter().zip(&sent) {
            let printed: Vec<&str> = attempt.command.split(' ').filter(|word| word.contains("://")).collect();
            assert_eq!(*sent, printed);
            assert!(!sent.is_empty(), "{}", attempt.command);
            for (host, _) in attempt.urls() {
                assert!(host.parse::<SocketAddr>().is_ok(), "{host}");
            }
        }
        assert_eq!(sent[0], ["http://127.0.0.1:8080/orders/1", "http://127.0.0.1:8080/orders/2"]);
    }

    #[test]
    fn lines_are_chosen_as_the_printed_filter_would() {
        let words = &["requests_total", "2xx"];
        assert!(has_in_order("tollgate_requests_total{route=\"a\",status=\"2xx\"} 3", words));
        assert!(!has_in_order("tollgate_attempts_total{status=\"2xx\"} 3", words));
        assert!(!has_in_order("2xx requests_total", words));
        assert!(has_in_order("anything", &[]));
    }
}
