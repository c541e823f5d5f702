//! A client that sends any frames, and reads the answers as strictly as RFC 9113 is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use super::frame::{Code, Frame, HEADER, Kind, PREFACE, flag};
use super::hpack::{self, Decoder, Line};
use crate::deadline::Deadline;
use crate::raw_client::{RawClient, ReadError};
use crate::strict::{self, Field};

/// What came over one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Statuses of the interim answers.
    pub interim: Vec<u16>,
    /// That of the final answer; 0 before it is there.
    pub status: u16,
    /// Fields, those with a colon left out.
    pub fields: Vec<Field>,
    /// The body so far.
    pub body: Vec<u8>,
    /// Fields behind the body.
    pub trailers: Vec<Field>,
    /// Whether it ended in order.
    pub ended: bool,
    /// The code of its reset.
    pub reset: Option<Code>,
}

impl Answer {
    /// The value under this name, if there is exactly one.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<String> {
        match &mut strict::all(&self.fields, name)[..] {
            [one] => Some(std::mem::take(one)),
            _ => None,
        }
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether nothing more can come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// What came over the connection.
#[derive(Debug, Default)]
pub struct Came {
    /// Each SETTINGS frame's numbers and values.
    pub settings: Vec<Vec<(u16, u32)>>,
    /// How many of ours were acknowledged.
    pub acks: usize,
    /// Answers to PING.
    pub pongs: Vec<Vec<u8>>,
    /// GOAWAY: the last stream and the code.
    pub goaways: Vec<(u32, Code)>,
    /// Room that was given: by stream, 0 for the connection.
    pub windows: BTreeMap<u32, u64>,
    /// By stream.
    pub answers: BTreeMap<u32, Answer>,
    /// How the connection ended.
    pub ended: Option<ReadError>,
}

impl Came {
    /// What came over this stream so far.
    #[must_use]
    pub fn answer(&self, stream: u32) -> Answer {
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// Whether nothing more can come over this stream.
    #[must_use]
    pub fn is_over(&self, stream: u32) -> bool {
        self.answers.get(&stream).is_some_and(Answer::is_over)
    }
}

/// One connection.
#[derive(Debug)]
pub struct FrameClient {
    raw: RawClient,
    decoder: Decoder,
    /// A block of fields that goes on: its first frame, with all of the block so far.
    block: Option<Frame>,
    /// Whether SETTINGS are acknowledged as they come.
    acknowledge: bool,
    /// What came so far.
    pub came: Came,
}

impl FrameClient {
    /// Connects and sends nothing.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let raw = RawClient::connect(address);
        Self { raw, decoder: Decoder::default(), block: None, acknowledge: false, came: Came::default() }
    }

    /// Connects, sends preface and settings, and waits for those of the peer and its acknowledgement.
    ///
    /// # Panics
    /// When they do not come.
    #[must_use]
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::connect(address);
        client.acknowledge = true;
        client.send_bytes(&[PREFACE, &Frame::settings(settings).bytes()].concat());
        client.until("settings and their acknowledgement", |came| came.acks == 1 && came.settings.len() == 1);
        client
    }

    /// Sends bytes; false if the peer would not take them all.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.raw.send(bytes)
    }

    /// Sends a frame; false if the peer would not take all of it.
    pub fn send(&mut self, frame: &Frame) -> bool {
        self.raw.send(frame.bytes())
    }

    /// Sends a GET on this stream.
    pub fn get(&mut self, stream: u32, path: &str) {
        self.send(&Frame::headers(stream, true, hpack::request("GET", path)));
    }

    /// Closes hard: the peer sees a reset.
    pub fn reset(self) {
        self.raw.reset();
    }

    /// Reads until what came satisfies `condition`.
    ///
    /// # Panics
    /// When it does not in time, or the peer breaks the protocol.
    pub fn until(&mut self, what: &str, condition: impl Fn(&Came) -> bool) -> &Came {
        let deadline = Deadline::patient();
        let came = self.until_by(deadline, &condition).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(came, "waited in vain for {what}; came: {:?}", self.came);
        &self.came
    }

    /// Reads until the answer on this stream is there.
    ///
    /// # Panics
    /// When it does not come, or the peer breaks the protocol.
    pub fn answer(&mut self, stream: u32) -> Answer {
        self.until("the answer", |came| came.is_over(stream)).answer(stream)
    }

    /// Reads until what came satisfies `condition`; false if it does not by then.
    ///
    /// # Errors
    /// Says what breaks the protocol.
    pub fn until_by(&mut self, deadline: Deadline, condition: &dyn Fn(&Came) -> bool) -> Result<bool, String> {
        while !condition(&self.came) {
            if self.came.ended.is_some() {
                return Ok(false);
            }
            match self.frame(deadline) {
                Ok(frame) => self.take(frame)?,
                Err(ReadError::TimedOut(_)) => return Ok(false),
                Err(ended) => self.came.ended = Some(ended),
            }
        }
        Ok(true)
    }

    fn frame(&mut self, deadline: Deadline) -> Result<Frame, ReadError> {
        let header = self.raw.take(HEADER, deadline)?;
        let (length, mut frame) = Frame::of_header(header.try_into().unwrap_or_default());
        frame.payload = self.raw.take(length, deadline)?;
        Ok(frame)
    }

    fn take(&mut self, frame: Frame) -> Result<(), String> {
        self.judge(&frame).map_err(|what| format!("the gateway sent {what}: {frame:?}"))?;
        let number = || Ok::<_, String>(u32::from_be_bytes(frame.payload[..4].try_into().map_err(|_| "four bytes")?));
        match frame.kind {
            Kind::DATA => {
                let answer = self.came.answers.entry(frame.stream).or_default();
                answer.body.extend(&frame.payload);
                answer.ended = frame.has(flag::END_STREAM);
            }
            Kind::HEADERS | Kind::CONTINUATION => return self.take_block(frame),
            Kind::RST_STREAM => {
                self.came.answers.entry(frame.stream).or_default().reset = Some(Code(number()?));
            }
            Kind::SETTINGS if frame.has(flag::ACK) => self.came.acks += 1,
            Kind::SETTINGS => {
                let pair = |six: &[u8]| {
                    (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes([six[2], six[3], six[4], six[5]]))
                };
                self.came.settings.push(frame.payload.chunks(6).map(pair).collect());
                if self.acknowledge {
                    self.send(&Frame::settings_ack());
                }
            }
            Kind::PING if frame.has(flag::ACK) => self.came.pongs.push(frame.payload),
            Kind::PING => {
                self.send(&Frame { flags: flag::ACK, ..frame });
            }
            Kind::GOAWAY => {
                let code = u32::from_be_bytes(frame.payload[4..8].try_into().map_err(|_| "eight bytes")?);
                self.came.goaways.push((number()?, Code(code)));
            }
            Kind::WINDOW_UPDATE => *self.came.windows.entry(frame.stream).or_default() += u64::from(number()?),
            _ => {}
        }
        Ok(())
    }

    /// What no frame of a server may be like.
    fn judge(&self, frame: &Frame) -> Result<(), &'static str> {
        let length = frame.payload.len();
        let of_connection = matches!(frame.kind, Kind::SETTINGS | Kind::PING | Kind::GOAWAY);
        let fits = match frame.kind {
            Kind::RST_STREAM | Kind::WINDOW_UPDATE => length == 4,
            Kind::SETTINGS => length.is_multiple_of(6) && (!frame.has(flag::ACK) || length == 0),
            Kind::PING => length == 8,
            Kind::GOAWAY => length >= 8,
            _ => true,
        };
        let answer = self.came.answers.get(&frame.stream);
        let goes_on = self.block.as_ref().map(|block| block.stream);
        if length > 16_384 {
            return Err("a frame larger than we allow");
        }
        if !fits {
            return Err("a frame of a size that its type cannot have");
        }
        if self.came.settings.is_empty() && (frame.kind != Kind::SETTINGS || frame.has(flag::ACK)) {
            return Err("something before its SETTINGS");
        }
        if frame.kind != Kind::WINDOW_UPDATE && of_connection != (frame.stream == 0) {
            return Err("a frame on a stream where its type does not belong");
        }
        if frame.stream.is_multiple_of(2) && frame.stream != 0 || frame.kind == Kind::PUSH_PROMISE {
            return Err("a stream of its own");
        }
        if goes_on.is_some() != (frame.kind == Kind::CONTINUATION) || goes_on.is_some_and(|of| of != frame.stream) {
            return Err("a block of fields that is interrupted, or goes on from nowhere");
        }
        if answer.is_some_and(|answer| answer.reset.is_some()) && frame.kind != Kind::WINDOW_UPDATE {
            return Err("something on a stream that it reset");
        }
        let is_message = matches!(frame.kind, Kind::DATA | Kind::HEADERS);
        if is_message && answer.is_some_and(|answer| answer.ended) {
            return Err("something behind END_STREAM");
        }
        if frame.kind == Kind::DATA && answer.is_none_or(|answer| answer.status == 0) {
            return Err("a body before its head");
        }
        if is_message && frame.flags & !(flag::END_STREAM | flag::END_HEADERS) != 0 {
            return Err("padding or a priority, which we did not expect of it");
        }
        Ok(())
    }

    fn take_block(&mut self, frame: Frame) -> Result<(), String> {
        let ends = frame.has(flag::END_HEADERS);
        let whole = match self.block.take() {
            Some(mut first) => {
                first.payload.extend(frame.payload);
                first
            }
            None => frame,
        };
        if !ends {
            self.block = Some(whole);
            return Ok(());
        }
        let lines = self.decoder.decode(&whole.payload)?;
        let answer = self.came.answers.entry(whole.stream).or_default();
        answer.add(lines, whole.has(flag::END_STREAM)).map_err(|what| format!("{what}: {answer:?}"))
    }
}

impl Answer {
    /// Adds a block of fields; the error says what it may not be (§8.2, §8.3.2).
    fn add(&mut self, lines: Vec<Line>, end: bool) -> Result<(), String> {
        let mut fields = Vec::new();
        let mut status = None;
        for (name, value) in lines {
            let name = String::from_utf8(name).map_err(|_| "a name that is no text")?;
            if name == ":status" && status.is_none() && fields.is_empty() {
                status = Some(String::from_utf8_lossy(&value).parse::<u16>().map_err(|_| "a status")?);
                continue;
            }
            let of_hops = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
            if name.is_empty()
                || name.starts_with(':')
                || name != name.to_lowercase()
                || of_hops.contains(&name.as_str())
            {
                return Err(format!("a field that may not be in an answer: {name}"));
            }
            fields.push(Field { name, value });
        }
        match (status, self.status) {
            (Some(interim @ 100..200), 0) if !end => self.interim.push(interim),
            (Some(status), 0) => (self.status, self.fields, self.ended) = (status, fields, end),
            (None, 1..) if end => (self.trailers, self.ended) = (fields, true),
            _ => return Err("a block of fields where none belongs".to_owned()),
        }
        Ok(())
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stream, answer) in &self.answers {
            let (status, length, ended) = (answer.status, answer.body.len(), answer.ended);
            write!(f, "stream {stream}: status {status}, {length} bytes, ended {ended}, reset {:?}; ", answer.reset)?;
        }
        let ended = self.ended.is_some();
        write!(f, "acks {}, pongs {:?}, goaways {:?}, closed {ended}", self.acks, self.pongs, self.goaways)
    }
}
