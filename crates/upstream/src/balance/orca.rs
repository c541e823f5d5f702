//! What instances report of their load with their answers: ORCA (Open Request Cost Aggregation), the message
//! `xds.data.orca.v3.OrcaLoadReport` in the field `endpoint-load-metrics` as `TEXT`, `JSON` or `BIN`, or in `endpoint-load-metrics-bin`.
//!
//! A report that is wrong anywhere is no report. Names that are not known are passed over: the message may grow.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64_NOPAD};
use tollgate_registry::Load;

/// The field with a report, in a format that its first word says.
pub const FIELD: &str = "endpoint-load-metrics";
/// The field with a report in binary.
pub const FIELD_BINARY: &str = "endpoint-load-metrics-bin";
/// What is above it counts as this: no rate, and no share of anything, is as high.
const MOST_NUMBER: f64 = 1e9;
/// Longest report, in bytes.
const LONGEST: usize = 8 * 1024;
/// Most numbers in one.
const MOST: usize = 64;
/// The beginning of names of an application's own numbers.
const NAMED: &str = "named_metrics.";

/// Which of the numbers says how busy an instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// `application_utilization`, and `cpu_utilization` where that is not reported.
    #[default]
    Busiest,
    /// `cpu_utilization`.
    Cpu,
    /// `mem_utilization`.
    Memory,
    /// `application_utilization`.
    Application,
    /// `named_metrics.NAME`.
    Named(Arc<str>),
}

/// How reports are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporting {
    /// Which number counts.
    pub of: Of,
    /// For how long an instance reports before that counts.
    pub after: Duration,
    /// For how long a report counts if no other follows.
    pub expires: Duration,
}

/// What counts of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// How busy the instance is: 1 is as busy as it should get.
    pub utilization: f64,
    /// Requests in a second that it gets from everybody, if it says so.
    pub rate: Option<f64>,
    /// Of these, the ones that fail.
    pub errors: f64,
}

/// Takes what counts out of the numbers of a report.
struct Reader<'o> {
    of: &'o Of,
    count: usize,
    application: Option<f64>,
    chosen: Option<f64>,
    rate: Option<f64>,
    errors: Option<f64>,
}

/// It is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Of {
    /// What counts of a report that came with an answer, in the field [`FIELD`]. `None`: it does not say how busy the instance is.
    ///
    /// # Errors
    /// It is malformed.
    pub fn field(&self, value: &[u8]) -> Result<Option<Report>, Malformed> {
        let text = str::from_utf8(value).map_err(|_| Malformed)?;
        let (format, report) = text.trim().split_once(' ').ok_or(Malformed)?;
        match format {
            "TEXT" => self.text(report),
            "JSON" => self.json(report),
            "BIN" => self.binary(report.as_bytes()),
            _ => Err(Malformed),
        }
    }

    /// The same of the field [`FIELD_BINARY`].
    ///
    /// # Errors
    /// It is malformed.
    pub fn binary(&self, value: &[u8]) -> Result<Option<Report>, Malformed> {
        let value = value.trim_ascii();
        if value.len() > LONGEST {
            return Err(Malformed);
        }
        // gRPC takes both, with padding and without.
        let padded = value.ends_with(b"=");
        let bytes = if padded { BASE64.decode(value) } else { BASE64_NOPAD.decode(value) }.map_err(|_| Malformed)?;
        let mut reader = Reader::new(self);
        wire::message(&bytes, &mut reader)?;
        Ok(reader.report())
    }

    /// What counts of a report that came another way.
    pub fn load(&self, load: &Load) -> Option<Report> {
        let mut reader = Reader::new(self);
        let is_fit = load.fields().all(|(name, value)| reader.number(name, value).is_ok());
        reader.report().filter(|_| is_fit)
    }

    /// `cpu_utilization=0.3,named_metrics.queue=12`; `:` is as good as `=`.
    fn text(&self, report: &str) -> Result<Option<Report>, Malformed> {
        if report.len() > LONGEST {
            return Err(Malformed);
        }
        let mut reader = Reader::new(self);
        for pair in report.split(',') {
            let (name, value) = pair.split_once(['=', ':']).ok_or(Malformed)?;
            let value = value.trim();
            let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            let value = value.parse::<f64>().ok().filter(|_| is_number).ok_or(Malformed)?;
            reader.number(name.trim(), value)?;
        }
        Ok(reader.report())
    }

    /// As protobuf writes JSON; names as in the message, or in its camel case.
    fn json(&self, report: &str) -> Result<Option<Report>, Malformed> {
        use serde_json::Value;
        if report.len() > LONGEST {
            return Err(Malformed);
        }
        let Ok(Value::Object(report)) = serde_json::from_str(report) else { return Err(Malformed) };
        let mut reader = Reader::new(self);
        for (name, value) in &report {
            match (name.as_str(), value) {
                ("named_metrics" | "namedMetrics", Value::Object(named)) => {
                    for (name, value) in named {
                        reader.named(name, value.as_f64().ok_or(Malformed)?)?;
                    }
                }
                ("named_metrics" | "namedMetrics", _) => return Err(Malformed),
                (name, Value::Number(number)) => {
                    reader.number(snake(name), number.as_f64().ok_or(Malformed)?)?;
                }
                (name, _) if is_ours(snake(name)) => return Err(Malformed),
                _ => {}
            }
        }
        Ok(reader.report())
    }
}

/// The names that protobuf would write in JSON, as they are in the message.
fn snake(name: &str) -> &str {
    match name {
        "cpuUtilization" => "cpu_utilization",
        "memUtilization" => "mem_utilization",
        "applicationUtilization" => "application_utilization",
        "rpsFractional" => "rps_fractional",
        other => other,
    }
}

fn is_ours(name: &str) -> bool {
    matches!(name, "cpu_utilization" | "mem_utilization" | "application_utilization" | "rps_fractional" | "eps")
}

impl<'o> Reader<'o> {
    fn new(of: &'o Of) -> Self {
        Self { of, count: 0, application: None, chosen: None, rate: None, errors: None }
    }

    /// A number by its name in the message.
    fn number(&mut self, name: &str, value: f64) -> Result<(), Malformed> {
        if let Some(name) = name.strip_prefix(NAMED) {
            return self.named(name, value);
        }
        self.counted(value)?;
        let is_chosen = match self.of {
            Of::Busiest | Of::Cpu => name == "cpu_utilization",
            Of::Memory => name == "mem_utilization",
            Of::Application => name == "application_utilization",
            Of::Named(_) => false,
        };
        // Said twice, nobody knows what it means.
        let once = |to: &mut Option<f64>| if to.replace(value).is_some() { Err(Malformed) } else { Ok(()) };
        if is_ours(name) && value < 0.0 || name.is_empty() {
            return Err(Malformed);
        }
        match name {
            _ if is_chosen => once(&mut self.chosen),
            "application_utilization" => once(&mut self.application),
            "rps_fractional" => once(&mut self.rate),
            "eps" => once(&mut self.errors),
            _ => Ok(()),
        }
    }

    /// One of the application's own.
    fn named(&mut self, name: &str, value: f64) -> Result<(), Malformed> {
        self.counted(value)?;
        match self.of {
            _ if name.is_empty() => Err(Malformed),
            Of::Named(own) if **own == *name => {
                let is_fit = value >= 0.0 && self.chosen.replace(value).is_none();
                if is_fit { Ok(()) } else { Err(Malformed) }
            }
            _ => Ok(()),
        }
    }

    fn counted(&mut self, value: f64) -> Result<(), Malformed> {
        self.count += 1;
        if value.is_finite() && self.count <= MOST { Ok(()) } else { Err(Malformed) }
    }

    fn report(self) -> Option<Report> {
        // In binary, what is not set is zero.
        let set = |value: Option<f64>| value.filter(|value| *value > 0.0).map(|value| value.min(MOST_NUMBER));
        let application = set(self.application).filter(|_| *self.of == Of::Busiest);
        let utilization = application.or(set(self.chosen))?;
        Some(Report { utilization, rate: set(self.rate), errors: self.errors.unwrap_or(0.0).min(MOST_NUMBER) })
    }
}

/// The message as protobuf sends it.
mod wire {
    use super::{Malformed, Reader};

    /// Reads a whole `OrcaLoadReport`.
    pub(super) fn message(bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match (tag(&mut rest)?, &mut rest) {
                ((1, 1), rest) => reader.number("cpu_utilization", double(rest)?)?,
                ((2, 1), rest) => reader.number("mem_utilization", double(rest)?)?,
                ((6, 1), rest) => reader.number("rps_fractional", double(rest)?)?,
                ((7, 1), rest) => reader.number("eps", double(rest)?)?,
                ((9, 1), rest) => reader.number("application_utilization", double(rest)?)?,
                ((8, 2), rest) => {
                    let (name, value) = entry(length(rest)?)?;
                    reader.named(name, value)?;
                }
                ((1 | 2 | 6 | 7 | 8 | 9, _), _) => return Err(Malformed),
                ((_, kind), rest) => skip(kind, rest)?,
            }
        }
        Ok(())
    }

    /// An entry of a map of texts to numbers.
    fn entry(bytes: &[u8]) -> Result<(&str, f64), Malformed> {
        let (mut rest, mut name, mut value) = (bytes, "", 0.0);
        while !rest.is_empty() {
            match (tag(&mut rest)?, &mut rest) {
                ((1, 2), rest) => name = str::from_utf8(length(rest)?).map_err(|_| Malformed)?,
                ((2, 1), rest) => value = double(rest)?,
                ((1 | 2, _), _) => return Err(Malformed),
                ((_, kind), rest) => skip(kind, rest)?,
            }
        }
        Ok((name, value))
    }

    /// Number and kind of the next field.
    fn tag(rest: &mut &[u8]) -> Result<(u64, u8), Malformed> {
        let tag = varint(rest)?;
        if tag >> 3 == 0 { Err(Malformed) } else { Ok((tag >> 3, (tag & 7) as u8)) }
    }

    fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for n in 0..10 {
            let (byte, behind) = rest.split_first().ok_or(Malformed)?;
            *rest = behind;
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn double(rest: &mut &[u8]) -> Result<f64, Malformed> {
        let (bytes, behind) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        *rest = behind;
        Ok(f64::from_le_bytes(*bytes))
    }

    fn length<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Malformed> {
        let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
        let (bytes, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
        *rest = behind;
        Ok(bytes)
    }

    fn skip(kind: u8, rest: &mut &[u8]) -> Result<(), Malformed> {
        match kind {
            0 => varint(rest).map(drop),
            1 => double(rest).map(drop),
            2 => length(rest).map(drop),
            5 => {
                *rest = rest.get(4..).ok_or(Malformed)?;
                Ok(())
            }
            // Groups are of an older protobuf.
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utilization(of: &Of, value: &str) -> Result<Option<f64>, Malformed> {
        of.field(value.as_bytes()).map(|report| report.map(|report| report.utilization))
    }

    fn field(number: u8, value: f64) -> Vec<u8> {
        [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
    }

    #[test]
    fn text_says_what_json_and_binary_say() {
        let named = [&[0x0a, 5][..], b"queue", &field(2, 12.5)].concat();
        let binary =
            [field(1, 0.25), field(6, 100.0), field(7, 5.0), vec![8 << 3 | 2, named.len() as u8], named].concat();
        let binary = BASE64.encode(&binary);
        let all = [
            "TEXT cpu_utilization=0.25, rps_fractional=100,eps=5 ,named_metrics.queue=12.5".to_owned(),
            "TEXT cpu_utilization:0.25,rps_fractional:1e2,eps:5,named_metrics.queue:12.5".to_owned(),
            r#"JSON {"cpu_utilization": 0.25, "rps_fractional": 100, "eps": 5, "named_metrics": {"queue": 12.5}}"#.to_owned(),
            r#"JSON {"cpuUtilization":0.25,"rpsFractional":100,"eps":5,"namedMetrics":{"queue":12.5},"utilization":{"x":1}}"#.to_owned(),
            format!("BIN {binary}"),
        ];
        let expected = Report { utilization: 0.25, rate: Some(100.0), errors: 5.0 };
        for value in &all {
            assert_eq!(Of::Cpu.field(value.as_bytes()), Ok(Some(expected)), "{value}");
            let queue = Report { utilization: 12.5, ..expected };
            assert_eq!(Of::Named("queue".into()).field(value.as_bytes()), Ok(Some(queue)), "{value}");
            assert_eq!(Of::Memory.field(value.as_bytes()), Ok(None), "{value}");
        }
        assert_eq!(Of::Cpu.binary(binary.as_bytes()), Ok(Some(expected)));
        assert_eq!(Of::Cpu.binary(binary.trim_end_matches('=').as_bytes()), Ok(Some(expected)));
    }

    #[test]
    fn an_application_knows_better_than_its_processor() {
        let both = "TEXT cpu_utilization=0.9,application_utilization=0.3";
        assert_eq!(utilization(&Of::Busiest, both), Ok(Some(0.3)));
        assert_eq!(utilization(&Of::Busiest, "TEXT cpu_utilization=0.9"), Ok(Some(0.9)));
        assert_eq!(utilization(&Of::Busiest, "TEXT cpu_utilization=0.9,application_utilization=0"), Ok(Some(0.9)));
        assert_eq!(utilization(&Of::Cpu, both), Ok(Some(0.9)));
        assert_eq!(utilization(&Of::Application, both), Ok(Some(0.3)));
    }

    #[test]
    fn a_report_that_is_wrong_anywhere_is_none() {
        for wrong in [
            "",
            "TEXT",
            "TEXT ",
            "cpu_utilization=0.3",
            "text cpu_utilization=0.3",
            "TEXT cpu_utilization",
            "TEXT =1",
            "TEXT cpu_utilization=",
            "TEXT cpu_utilization=-0.1",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=inf",
            "TEXT cpu_utilization=1e999",
            "TEXT cpu_utilization=0.3,cpu_utilization=0.3",
            "TEXT cpu_utilization=0.3,",
            "TEXT cpu_utilization=0.3,named_metrics.=1",
            "TEXT cpu_utilization=0x1",
            "JSON {",
            "JSON []",
            "JSON 1",
            r#"JSON {"cpu_utilization": "0.3"}"#,
            r#"JSON {"cpu_utilization": -1}"#,
            r#"JSON {"named_metrics": 1}"#,
            r#"JSON {"cpu_utilization": 0.3, "named_metrics": {"a": "b"}}"#,
            "BIN !",
            "BIN CQ==",
            "BIN AAAA",
            "XML <a/>",
        ] {
            assert_eq!(Of::Cpu.field(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!("named_metrics.m{n}=1")).collect();
        assert_eq!(Of::Cpu.field(format!("TEXT {}", many.join(",")).as_bytes()), Err(Malformed));
        let long = format!("TEXT cpu_utilization=0.3,named_metrics.{}=1", "x".repeat(LONGEST));
        assert_eq!(Of::Cpu.field(long.as_bytes()), Err(Malformed));
        assert_eq!(
            utilization(&Of::Cpu, "TEXT cpu_utilization=0.3,later_field=1"),
            Ok(Some(0.3)),
            "the message may grow"
        );
    }

    #[test]
    fn a_heartbeat_says_the_same() {
        let mut load = Load::default();
        load.set("mem_utilization", 0.4);
        load.set("named_metrics.queue", 3.0);
        assert_eq!(Of::Memory.load(&load).unwrap().utilization, 0.4);
        assert_eq!(Of::Named("queue".into()).load(&load).unwrap().utilization, 3.0);
        assert_eq!(Of::Cpu.load(&load), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_is_more_than_wrong(bytes in prop::collection::vec(any::<u8>(), 0..200), of in 0..3) {
            let of = [Of::Busiest, Of::Memory, Of::Named("a".into())][of as usize].clone();
            for report in [
                of.field(&bytes),
                of.field(&[b"TEXT ", &bytes[..]].concat()),
                of.field(&[b"JSON ", &bytes[..]].concat()),
                of.binary(&bytes),
                of.binary(BASE64.encode(&bytes).as_bytes()),
            ].into_iter().flatten().flatten() {
                prop_assert!(report.utilization > 0.0 && report.utilization.is_finite());
                prop_assert!(report.errors >= 0.0 && report.rate.is_none_or(|rate| rate > 0.0));
            }
        }

        #[test]
        fn numbers_come_through_binary(cpu in 0.001..2.0, rate in 0.001..1e6, unknown in prop::collection::vec(any::<u8>(), 0..20)) {
            let extra = [&[15 << 3 | 2, unknown.len() as u8][..], &unknown].concat();
            let bytes = [field(1, cpu), extra, field(6, rate)].concat();
            let report = Of::Busiest.binary(BASE64_NOPAD.encode(&bytes).as_bytes()).unwrap().unwrap();
            prop_assert_eq!(report, Report { utilization: cpu, rate: Some(rate), errors: 0.0 });
        }
    }
}
