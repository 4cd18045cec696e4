//! PURE: bytes of an event stream (server-sent events) in, the data of each event out, however
//! the bytes are cut. What the data holds is never looked at.

use std::fmt;

/// Received bytes, cut into events. Every byte is looked at once, however they arrive.
#[derive(Default)]
pub struct Sse {
    bytes: Vec<u8>,
    /// Where the first line that was not taken starts.
    start: usize,
    /// Up to where there is no end of a line after `start`.
    scanned: usize,
    /// Whether the last line ended with a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// Whether the start of the stream is behind, where a byte order mark may stand.
    begun: bool,
    /// The data of the event under way.
    data: Vec<u8>,
    has_data: bool,
}

impl Sse {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was taken is dropped when it is the larger part, so that each byte moves at most
        // once.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The data of the next whole event; events without data are passed over.
    pub fn next_data(&mut self) -> Option<Vec<u8>> {
        loop {
            let (start, end) = self.next_line()?;
            let line = self.bytes.get(start..end).unwrap_or_default();
            if line.is_empty() {
                if std::mem::take(&mut self.has_data) {
                    return Some(std::mem::take(&mut self.data));
                }
                continue;
            }
            if let Some(value) = data_of(line) {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
        }
    }

    /// How many bytes were pushed and belong to no event that was handed out.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.start + self.data.len()
    }

    fn next_line(&mut self) -> Option<(usize, usize)> {
        loop {
            let unseen = self.bytes.get(self.scanned..)?;
            let Some(offset) = unseen.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.scanned = self.bytes.len();
                return None;
            };
            let end = self.scanned + offset;
            let cr = unseen.get(offset) == Some(&b'\r');
            let mut start = std::mem::replace(&mut self.start, end + 1);
            self.scanned = self.start;
            let half_of_crlf = !cr && start == end && self.after_cr;
            self.after_cr = cr;
            if half_of_crlf {
                continue;
            }
            let line = self.bytes.get(start..end).unwrap_or_default();
            if !std::mem::replace(&mut self.begun, true) && line.starts_with(MARK) {
                start += MARK.len();
            }
            return Some((start, end));
        }
    }
}

/// The value of a line of data, without the one space that may stand before it.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Never shows the bytes: they may hold a secret.
impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sse({} bytes)", self.waiting())
    }
}

/// The byte order mark, in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(sse: &mut Sse) -> Vec<String> {
        let text = |data| String::from_utf8(data).unwrap();
        std::iter::from_fn(|| sse.next_data().map(text)).collect()
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let stream = "\u{feff}id: 1\ndata: one\n\n: comment\r\nid: 2\r\ndata:two\r\n\r\n\
                      event: x\n\ndata\rdata:  a\rdatax: no\rdata: b\r\rdata: torn\n";
        let bytes = stream.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut sse = Sse::default();
                let mut seen = Vec::new();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    sse.push(part);
                    seen.extend(drain(&mut sse));
                }
                assert_eq!(seen, ["one", "two", "\n a\nb"], "{first} {second}");
                assert_eq!(sse.waiting(), "torn".len());
            }
        }
    }

    #[test]
    fn many_events_in_one_read_come_one_by_one() {
        let mut sse = Sse::default();
        sse.push("id: 1\ndata: x\n\n".repeat(10_000).as_bytes());
        assert_eq!(drain(&mut sse).len(), 10_000);
        assert_eq!(sse.waiting(), 0);
    }

    #[test]
    fn a_long_line_in_small_pieces_is_scanned_once() {
        let mut sse = Sse::default();
        sse.push(b"data: ");
        for _ in 0..100_000 {
            sse.push(b"0123456789");
            assert!(sse.next_data().is_none());
            assert_eq!(sse.scanned, sse.bytes.len());
        }
        sse.push(b"\n\n");
        assert_eq!(sse.next_data().map(|data| data.len()), Some(1_000_000));
    }

    #[test]
    fn what_was_handed_out_is_not_kept_and_what_was_not_is_counted() {
        let mut sse = Sse::default();
        for _ in 0..10_000 {
            sse.push(b"data: 0123456789\n\n");
            drain(&mut sse);
        }
        assert!(sse.bytes.len() < 100, "{sse:?}");
        for _ in 0..1_000 {
            sse.push(b"data: 0123456789\n");
            drain(&mut sse);
        }
        assert!(sse.waiting() >= 10_000, "{sse:?}");
    }
}
