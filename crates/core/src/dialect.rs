//! How a problem looks to the caller. Chosen per route when the plan is compiled.

pub mod grpc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::body::Body;
use crate::head::ReplyHead;
use crate::problem::Problem;
use crate::reply::Reply;

/// Renders problems for one kind of client.
pub trait Dialect: std::fmt::Debug + Send + Sync {
    /// The answer for `problem` in the exchange with this correlation id.
    fn render(&self, problem: &Problem, correlation_id: &str) -> Reply;
}

/// `application/problem+json` (RFC 9457).
#[derive(Debug)]
pub struct ProblemJson;

/// What stands before a slug in the `type` member: a URN, since RFC 9457 §3.1.1 advises against relative references and
/// a link would tie every answer to a host name.
pub const TYPE_PREFIX: &str = "urn:tollgate:problem:";

impl Dialect for ProblemJson {
    fn render(&self, problem: &Problem, correlation_id: &str) -> Reply {
        let fault = problem.fault;
        let mut object = Map::new();
        object.insert("type".into(), format!("{TYPE_PREFIX}{}", fault.slug).into());
        object.insert("title".into(), fault.title.into());
        object.insert("status".into(), fault.status.into());
        if !problem.detail.is_empty() {
            object.insert("detail".into(), problem.detail.as_ref().into());
        }
        object.insert("policy".into(), fault.policy().into());
        object.insert("correlation_id".into(), correlation_id.into());
        for (name, value) in &problem.members {
            object.insert((*name).into(), value.clone());
        }
        let mut text = Value::Object(object).to_string();
        text.push('\n');
        let mut head = ReplyHead::new(fault.status);
        head.fields.add("Content-Type", "application/problem+json");
        head.fields.add("Cache-Control", "no-store");
        for (name, value) in &problem.headers {
            head.fields.add(*name, value.clone());
        }
        Reply { head, body: Body::Full(Bytes::from(text)), ..Reply::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Fault;

    static SAMPLE: Fault = Fault::client("limit/spent", 429, "Quota is spent", "Wait.");

    #[test]
    fn a_problem_says_what_who_and_which_request() {
        let reply = ProblemJson.render(&SAMPLE.problem().detail("try again").header("Retry-After", "3"), "c-1");
        let Body::Full(bytes) = &reply.body else { panic!("a body") };
        let object: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(object["type"], "urn:tollgate:problem:limit/spent");
        assert_eq!((&object["status"], &object["policy"]), (&429.into(), &"limit".into()));
        assert_eq!(object["correlation_id"], "c-1");
        assert_eq!(reply.head.fields.get("retry-after"), Some(&b"3"[..]));
    }
}
