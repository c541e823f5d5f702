//! An explanation as text and as JSON.

use std::fmt::{self, Display, Formatter};

use serde_json::{Map, Value, json};

use super::action::{Act, Does, ServiceLine};
use super::{Chosen, Client, Explained, Ignored, Named, Outcome, Refusal};

/// One line: what it is about, and what is said. An empty word goes on with the line before.
fn line(f: &mut Formatter<'_>, word: &str, said: impl Display) -> fmt::Result {
    writeln!(f, "{word:<10} {said}")
}

impl Display for Explained {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "request", format_args!("{} {}", self.method, self.target))?;
        if self.is_normalised() {
            line(f, "path", format_args!("{} (normalised)", self.path))?;
        }
        match (self.host.matched.as_str(), self.host.came.as_str()) {
            ("", _) => line(f, "host", "none was sent")?,
            (matched, came) if matched == came => line(f, "host", matched)?,
            (matched, came) => line(f, "host", format_args!("{matched} (from {came})"))?,
        }
        if self.scheme != "http" {
            line(f, "scheme", self.scheme)?;
        }
        self.client.fmt(f)?;
        if let Some(method) = &self.preflight_for {
            line(f, "preflight", format_args!("matched by the method it asks for: {method}"))?;
        }
        match &self.outcome {
            Outcome::Refused(refusal) => refusal.fmt(f)?,
            Outcome::Route(chosen) => chosen.fmt(f)?,
        }
        for (i, near) in self.near.iter().enumerate() {
            line(f, if i == 0 { "not" } else { "" }, format_args!("{}: {}", near.route, near.why))?;
        }
        Ok(())
    }
}

impl Display for Client {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { believed, peer, ignored } = self;
        if believed != peer {
            line(f, "client", format_args!("{believed} (so says {peer}, a proxy of `trust`)"))?;
        }
        let mut word = "ignored";
        for why in [Ignored::Stranger, Ignored::NotTheProxys, Ignored::Disguised] {
            let names = ignored.iter().filter(|(_, because)| *because == why).map(|(name, _)| name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            match why {
                _ if names.is_empty() => continue,
                Ignored::Stranger => line(f, word, format_args!("{names}: {peer} is no proxy of `trust`"))?,
                Ignored::NotTheProxys => {
                    line(f, word, format_args!("{names}: not what `trust.headers` says that {peer} writes"))?;
                }
                Ignored::Disguised => line(f, word, format_args!("{names}: some services read `_` as `-`"))?,
            }
            word = "";
        }
        Ok(())
    }
}

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.name),
            place => write!(f, "{} ({place})", self.name),
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.route {
            Some(route) => line(f, "route", route)?,
            None => line(f, "route", "none")?,
        }
        line(f, "answer", format_args!("{} {}: {}", self.status, self.slug, self.detail))?;
        self.fields.iter().try_for_each(|(name, value)| line(f, "", format_args!("{name}: {value}")))
    }
}

impl Display for Chosen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "route", &self.route)?;
        if let Some((next, why)) = &self.beats {
            line(f, "", format_args!("wins over {next}: {why}"))?;
        }
        for (i, (text, holds)) in self.conditions.iter().enumerate() {
            let holds = if *holds { "holds" } else { "does not hold" };
            line(f, if i == 0 { "when" } else { "" }, format_args!("{text}: {holds}"))?;
        }
        if self.policies.is_empty() {
            line(f, "policies", "none")?;
        }
        for (i, policy) in self.policies.iter().enumerate() {
            let word = if i == 0 { "policies" } else { "" };
            line(f, word, format_args!("{}. {} ({}): {}", i + 1, policy.name, policy.stage, policy.does))?;
        }
        self.does.fmt(f)
    }
}

impl Display for Does {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.action {
            Act::Forward(forward) => {
                for (i, service) in forward.services.iter().enumerate() {
                    line(f, if i == 0 { "sends to" } else { "" }, service)?;
                }
                line(f, "as path", &forward.path)?;
                forward.mirror.iter().try_for_each(|mirror| line(f, "copies to", mirror))?;
                let total = self.total.as_ref().map_or_else(String::new, |total| format!(", {total} in all"));
                let times =
                    format_args!("{} to the head of the answer, {} between bytes{total}", self.timeout, self.idle);
                line(f, "timeout", times)?;
            }
            Act::Redirect { status, to } => line(f, "redirects", format_args!("{status} to {to}"))?,
            Act::Reply { status, fields, bytes } => {
                line(f, "answers", format_args!("{status} with a body of {bytes} bytes"))?;
                fields.iter().try_for_each(|(name, value)| line(f, "", format_args!("{name}: {value}")))?;
            }
            Act::Serve(who) => line(f, "answers", who)?,
        }
        match &self.body {
            Some(most) => line(f, "body", format_args!("at most {most}")),
            None => line(f, "body", "any size"),
        }
    }
}

impl Display for ServiceLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(share) = &self.share {
            write!(f, ", {share} of the requests")?;
        }
        write!(f, ": {}", self.targets.join(", "))?;
        if let Some(balance) = &self.balance {
            write!(f, "; {balance}")?;
        }
        write!(f, "; Host: {}; retries: {}", self.host, self.retries)?;
        let more = [
            ("each try", self.try_timeout.as_deref()),
            ("smooth", self.smooth.as_deref()),
            ("concurrency", self.concurrency.as_deref()),
            ("checked", self.health.as_deref()),
            ("ejects", self.outlier.as_deref()),
            ("breaker opens", self.breaker.as_deref()),
            ("hedges", self.hedge.as_deref()),
            // What is usual goes without saying.
            ("when all fail", self.when_all_fail.filter(|when| *when != "serve")),
            ("fallback", self.fallback.as_deref()),
        ];
        let mut written = more.into_iter().filter_map(|(word, said)| Some((word, said?)));
        written.try_for_each(|(word, said)| write!(f, "; {word}: {said}"))
    }
}

impl Explained {
    fn is_normalised(&self) -> bool {
        self.target != "*" && self.target.split('?').next() != Some(self.path.as_str())
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("method", self.method.as_str().into());
        put("target", self.target.as_str().into());
        put("path", self.path.as_str().into());
        put("normalised", self.is_normalised().into());
        put("host", self.host.matched.as_str().into());
        put("scheme", self.scheme.into());
        put("client", self.client.believed.to_string().into());
        put("peer", self.client.peer.to_string().into());
        put("ignored", self.client.ignored.iter().map(|(name, _)| name.as_str()).collect());
        put("preflight_for", self.preflight_for.as_deref().into());
        match &self.outcome {
            Outcome::Refused(refusal) => {
                put("route", refusal.route.as_ref().map(Named::to_json).into());
                put("answer", refusal.to_json());
            }
            Outcome::Route(chosen) => {
                put("route", chosen.route.to_json());
                chosen.put_json(&mut put);
            }
        }
        let near = self.near.iter().map(|near| json!({ "route": near.route.to_json(), "because": near.why }));
        put("not", near.collect());
        Value::Object(all)
    }
}

impl Named {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "place": (!self.place.is_empty()).then_some(&self.place) })
    }
}

impl Refusal {
    fn to_json(&self) -> Value {
        let headers: Map<String, Value> =
            self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        json!({ "status": self.status, "problem": self.slug, "detail": self.detail, "headers": headers })
    }
}

impl Chosen {
    fn put_json(&self, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
        let beats = self.beats.as_ref();
        put("wins_over", beats.map(|(next, why)| json!({ "route": next.to_json(), "because": why })).into());
        let condition = |(text, holds): &(String, bool)| json!({ "when": text, "holds": holds });
        put("conditions", self.conditions.iter().map(condition).collect());
        let policies = self.policies.iter();
        put("policies", policies.map(|p| json!({ "name": p.name, "stage": p.stage, "does": p.does })).collect());
        put("action", self.does.to_json());
        put("body", self.does.body.as_deref().into());
    }
}

impl Does {
    fn to_json(&self) -> Value {
        match &self.action {
            Act::Forward(forward) => json!({
                "services": forward.services.iter().map(ServiceLine::to_json).collect::<Vec<_>>(),
                "path": forward.path,
                "mirror": forward.mirror,
                "timeout": self.timeout,
                "idle": self.idle,
                "total": self.total,
            }),
            Act::Redirect { status, to } => json!({ "redirect": to, "status": status }),
            Act::Reply { status, fields, bytes } => {
                let headers: Map<String, Value> =
                    fields.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
                json!({ "status": status, "headers": headers, "body_bytes": bytes })
            }
            Act::Serve(who) => json!({ "served_by": "gateway", "answers": who }),
        }
    }
}

impl ServiceLine {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "share": self.share,
            "targets": self.targets,
            "balance": self.balance,
            "host": self.host,
            "retries": self.retries,
            "try_timeout": self.try_timeout,
            "smooth": self.smooth,
            "concurrency": self.concurrency,
            "health": self.health,
            "outlier": self.outlier,
            "breaker": self.breaker,
            "hedge": self.hedge,
            "when_all_fail": self.when_all_fail,
            "fallback": self.fallback,
        })
    }
}
