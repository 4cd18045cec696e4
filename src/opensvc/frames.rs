//! PURE: bytes of the raw socket in, frames out, however the bytes are cut.
//! What a frame holds is never looked at.

use std::fmt;

/// Received bytes, cut at each NUL. Every byte is looked at once, however they arrive.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where the first frame that was not handed out starts.
    start: usize,
    /// Up to where there is no NUL after `start`.
    scanned: usize,
}

impl Frames {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was handed out is dropped when it is the larger part, so that each byte moves at
        // most once.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame without its NUL; empty ones are passed over.
    pub fn next_frame(&mut self) -> Option<&[u8]> {
        loop {
            let unseen = self.bytes.get(self.scanned..)?;
            let Some(nul) = unseen.iter().position(|byte| *byte == 0) else {
                self.scanned = self.bytes.len();
                return None;
            };
            let end = self.scanned + nul;
            let start = std::mem::replace(&mut self.start, end + 1);
            self.scanned = self.start;
            if start < end {
                return self.bytes.get(start..end);
            }
        }
    }

    /// How many bytes were pushed and not handed out yet.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }
}

/// Never shows the bytes: they may hold a secret.
impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(frames: &mut Frames) -> Vec<String> {
        let text = |frame: &[u8]| String::from_utf8(frame.to_vec()).unwrap();
        std::iter::from_fn(|| frames.next_frame().map(text)).collect()
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let bytes = b"one\0two\0\0\0three\0";
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut frames = Frames::default();
                let mut seen = Vec::new();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    frames.push(part);
                    seen.extend(drain(&mut frames));
                }
                assert_eq!(seen, ["one", "two", "three"], "{first} {second}");
                assert_eq!(frames.waiting(), 0);
            }
        }
    }

    #[test]
    fn many_frames_in_one_read_come_one_by_one() {
        let mut frames = Frames::default();
        frames.push("x\0".repeat(10_000).as_bytes());
        frames.push(b"torn");
        assert_eq!(drain(&mut frames).len(), 10_000);
        assert_eq!(frames.waiting(), 4);
    }

    #[test]
    fn a_long_frame_in_small_pieces_is_scanned_once() {
        let mut frames = Frames::default();
        for _ in 0..100_000 {
            frames.push(b"0123456789");
            assert!(frames.next_frame().is_none());
            assert_eq!(frames.scanned, frames.bytes.len());
        }
        frames.push(b"\0");
        assert_eq!(frames.next_frame().map(<[u8]>::len), Some(1_000_000));
    }

    #[test]
    fn what_was_handed_out_is_not_kept() {
        let mut frames = Frames::default();
        for _ in 0..10_000 {
            frames.push(b"0123456789\0");
            drain(&mut frames);
        }
        assert!(frames.bytes.len() < 100, "{frames:?}");
    }
}
