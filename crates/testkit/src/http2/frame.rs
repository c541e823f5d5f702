//! Frames as bytes, and the names of what is in them (RFC 9113 §4.1, §6, §7).

use std::fmt;

/// What a client sends before anything else (§3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a frame's header.
pub const HEADER: usize = 9;

/// The type of a frame, known or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub u8);

const KINDS: [&str; 10] = [
    "data",
    "headers",
    "priority",
    "rst_stream",
    "settings",
    "push_promise",
    "ping",
    "goaway",
    "window_update",
    "continuation",
];

/// The types of RFC 9113 §6.
impl Kind {
    /// §6.1.
    pub const DATA: Self = Self(0);
    /// §6.2.
    pub const HEADERS: Self = Self(1);
    /// §6.3.
    pub const PRIORITY: Self = Self(2);
    /// §6.4.
    pub const RST_STREAM: Self = Self(3);
    /// §6.5.
    pub const SETTINGS: Self = Self(4);
    /// §6.6.
    pub const PUSH_PROMISE: Self = Self(5);
    /// §6.7.
    pub const PING: Self = Self(6);
    /// §6.8.
    pub const GOAWAY: Self = Self(7);
    /// §6.9.
    pub const WINDOW_UPDATE: Self = Self(8);
    /// §6.10.
    pub const CONTINUATION: Self = Self(9);

    /// By its name in lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let number = KINDS.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Self)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KINDS.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {:#x}", self.0),
        }
    }
}

/// The flags that frames have.
pub mod flag {
    /// Of DATA and HEADERS.
    pub const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING.
    pub const ACK: u8 = 0x1;
    /// Of HEADERS, PUSH_PROMISE and CONTINUATION.
    pub const END_HEADERS: u8 = 0x4;
    /// Of DATA, HEADERS and PUSH_PROMISE.
    pub const PADDED: u8 = 0x8;
    /// Of HEADERS.
    pub const PRIORITY: u8 = 0x20;

    /// By its name in lower case.
    #[must_use]
    pub fn named(name: &str) -> Option<u8> {
        Some(match name {
            "end_stream" => END_STREAM,
            "ack" => ACK,
            "end_headers" => END_HEADERS,
            "padded" => PADDED,
            "priority" => PRIORITY,
            _ => return None,
        })
    }
}

/// An error code (§7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub u32);

const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl Code {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let number = CODES.iter().position(|known| *known == name)?;
        u32::try_from(number).ok().map(Self)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(|number| CODES.get(number)) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// Its flags, see [`flag`].
    pub flags: u8,
    /// Its stream; the reserved bit may be set.
    pub stream: u32,
    /// Everything behind the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame of these parts.
    #[must_use]
    pub fn new(kind: Kind, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// SETTINGS with these numbers and values.
    #[must_use]
    pub fn settings(values: &[(u16, u32)]) -> Self {
        let one = |(number, value): &(u16, u32)| [&number.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
        Self::new(Kind::SETTINGS, 0, 0, values.iter().flat_map(one).collect::<Vec<_>>())
    }

    /// The answer to SETTINGS.
    #[must_use]
    pub fn settings_ack() -> Self {
        Self::new(Kind::SETTINGS, flag::ACK, 0, [])
    }

    /// A whole block of fields; see [`super::hpack::literal`].
    #[must_use]
    pub fn headers(stream: u32, end: bool, block: Vec<u8>) -> Self {
        let end = if end { flag::END_STREAM } else { 0 };
        Self::new(Kind::HEADERS, flag::END_HEADERS | end, stream, block)
    }

    /// A part of a body.
    #[must_use]
    pub fn data(stream: u32, end: bool, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, bytes)
    }

    /// The end of a stream by an error.
    #[must_use]
    pub fn reset(stream: u32, code: Code) -> Self {
        Self::new(Kind::RST_STREAM, 0, stream, code.0.to_be_bytes())
    }

    /// Room for so many bytes more.
    #[must_use]
    pub fn window(stream: u32, more: u32) -> Self {
        Self::new(Kind::WINDOW_UPDATE, 0, stream, more.to_be_bytes())
    }

    /// Asks for an answer with the same eight bytes.
    #[must_use]
    pub fn ping(bytes: [u8; 8]) -> Self {
        Self::new(Kind::PING, 0, 0, bytes)
    }

    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_told(self.payload.len())
    }

    /// As it is sent, but with this length in its header.
    ///
    /// # Panics
    /// When that is more than 24 bits hold.
    #[must_use]
    pub fn bytes_told(&self, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).expect("a length").to_be_bytes();
        assert_eq!(length[0], 0, "a frame's length has 24 bits");
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind.0, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The length of the payload, and the frame without it, as a frame's header tells.
    #[must_use]
    pub fn of_header(header: [u8; HEADER]) -> (usize, Self) {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (length, Self::new(Kind(kind), flags, u32::from_be_bytes(stream), []))
    }

    /// Whether this flag is set.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.payload[..self.payload.len().min(100)];
        write!(f, "{:?} flags {:#x} stream {} \"{}\"", self.kind, self.flags, self.stream, shown.escape_ascii())
    }
}
