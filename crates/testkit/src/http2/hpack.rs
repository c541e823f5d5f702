//! Blocks of fields as bytes and back (RFC 7541).

use std::collections::VecDeque;

use super::huffman;

/// A name and a value.
pub type Line = (Vec<u8>, Vec<u8>);

/// Fields as literals that are not indexed and not coded, so that any byte can stand in them (§6.2.2).
#[must_use]
pub fn literal<'f>(fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// The same of texts.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    literal(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// A request to the host `gateway.test`, without further fields.
#[must_use]
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "gateway.test")])
}

fn integer(into: &mut Vec<u8>, prefix: u32, mut value: usize) {
    let most = (1 << prefix) - 1;
    if let Ok(small) = u8::try_from(value)
        && value < most
    {
        into.push(small);
        return;
    }
    into.push(u8::try_from(most).unwrap_or(u8::MAX));
    value -= most;
    while value >= 128 {
        into.push(u8::try_from(value % 128).unwrap_or_default() | 128);
        value /= 128;
    }
    into.push(u8::try_from(value).unwrap_or_default());
}

/// Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Reads the blocks of one connection, in order.
#[derive(Debug)]
pub struct Decoder {
    dynamic: VecDeque<Line>,
    /// What the dynamic table may hold now, counted as §4.1 does.
    most: usize,
    /// What we allow at all: SETTINGS_HEADER_TABLE_SIZE.
    allowed: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { dynamic: VecDeque::new(), most: 4096, allowed: 4096 }
    }
}

impl Decoder {
    /// Reads a whole block.
    ///
    /// # Errors
    /// Says what breaks the grammar.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<Line>, String> {
        let mut rest = Rest(block);
        let mut lines = Vec::new();
        while let Some(first) = rest.0.first().copied() {
            let line = match first {
                0x80.. => self.entry(rest.integer(7)?)?,
                0x40.. => {
                    let line = self.literal(&mut rest, 6)?;
                    self.add(line.clone());
                    line
                }
                0x20.. => {
                    self.most = rest.integer(5)?;
                    if !lines.is_empty() || self.most > self.allowed {
                        return Err(format!("a table of {} after {} fields", self.most, lines.len()));
                    }
                    self.evict();
                    continue;
                }
                _ => self.literal(&mut rest, 4)?,
            };
            lines.push(line);
        }
        Ok(lines)
    }

    fn literal(&self, rest: &mut Rest<'_>, prefix: u32) -> Result<Line, String> {
        let name = match rest.integer(prefix)? {
            0 => rest.text()?,
            number => self.entry(number)?.0,
        };
        Ok((name, rest.text()?))
    }

    fn entry(&self, number: usize) -> Result<Line, String> {
        let fixed = number.checked_sub(1).ok_or("entry 0")?;
        match STATIC.get(fixed) {
            Some((name, value)) => Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
            None => self.dynamic.get(fixed - STATIC.len()).cloned().ok_or_else(|| format!("no entry {number}")),
        }
    }

    fn add(&mut self, line: Line) {
        self.dynamic.push_front(line);
        self.evict();
    }

    fn evict(&mut self) {
        while self.dynamic.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > self.most {
            self.dynamic.pop_back();
        }
    }
}

struct Rest<'b>(&'b [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.0.split_first().ok_or("the block ends too early")?;
        self.0 = rest;
        Ok(*first)
    }

    fn integer(&mut self, prefix: u32) -> Result<usize, String> {
        let most = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err("a number without end".to_owned())
    }

    fn text(&mut self) -> Result<Vec<u8>, String> {
        let coded = self.0.first().is_some_and(|byte| byte & 128 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or("a text longer than its block")?;
        self.0 = rest;
        if coded { huffman::decode(text) } else { Ok(text.to_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(20_000);
        let fields = [(":path", "/\0\r\n"), ("x-long", long.as_str()), ("", "")];
        let read = Decoder::default().decode(&block(&fields)).unwrap();
        let expected: Vec<Line> = fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        assert_eq!(read, expected);
    }

    /// RFC 7541 Appendix C.6: three answers, coded, with a table of 256 bytes from which entries fall out.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let mut decoder = Decoder { most: 256, ..Decoder::default() };
        let first = [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ];
        let bytes = |hex: &str| {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect::<Vec<_>>()
        };
        let statuses = first.map(|hex| {
            let lines = decoder.decode(&bytes(hex)).unwrap();
            assert!(lines.contains(&(b"location".to_vec(), b"https://www.example.com".to_vec())));
            String::from_utf8(lines[0].1.clone()).unwrap()
        });
        assert_eq!(statuses, ["302", "307", "200"]);
        assert_eq!(decoder.dynamic.len(), 3);
    }
}
