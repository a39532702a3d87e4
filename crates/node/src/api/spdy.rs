//! SPDY/3.1 frames (SPDY Protocol Draft 3.1, section 2), as far as port-forward needs them: many
//! streams of bytes over one connection, both sides ending each on their own.
//!
//! ```text
//! |0| stream id (31)                | flags (8) | length (24) | data          data frame
//! |1| version 3 (15) | type (16)    | flags (8) | length (24) | payload       control frame
//! ```
//! Flow control (WINDOW_UPDATE) is not used: upstream's clients neither send nor await it.
//!
//! Never here: IO, and what streams are for.

use super::spdy_headers::{BadHeaders, Headers, Packer, Unpacker};
use bytes::{Buf, Bytes, BytesMut};

const VERSION: u16 = 3;
const HEAD: usize = 8;
/// The largest control frame that is taken. Data is handed on as it comes, however large its frame.
const CONTROL_MOST: usize = 64 * 1024;
/// Data is sent in frames of at most this size.
pub const DATA_MOST: usize = 32 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

const FIN: u8 = 1;

/// Why a stream is ended at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Protocol = 1,
    Refused = 3,
}

/// Whether a frame is the last of its side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Open,
    Ends,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Open { stream: u32, headers: Headers, side: Side },
    Accept { stream: u32 },
    Data { stream: u32, bytes: Bytes, side: Side },
    Reset { stream: u32, code: u32 },
    Ping(u32),
    GoAway,
}

/// What cannot be a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("a control frame of {0} bytes is too large")]
    TooLarge(usize),
    #[error("a frame of version {0} is not SPDY/3.1")]
    Version(u16),
    #[error("a control frame is shorter than its kind")]
    Short,
    #[error("{0}")]
    Headers(#[from] BadHeaders),
}

/// Frames out of bytes.
pub struct Decoder {
    waiting: BytesMut,
    /// The data frame that is under way: its stream, how it ends, and what is still to come.
    data: Option<(u32, Side, usize)>,
    headers: Unpacker,
}

/// Bytes out of frames.
pub struct Encoder {
    headers: Packer,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder { waiting: BytesMut::new(), data: None, headers: Unpacker::new() }
    }

    /// Takes bytes in; what they complete comes out of [`Decoder::next`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next frame that we know, or as much of a data frame as is there; others are skipped.
    pub fn next(&mut self) -> Result<Option<Frame>, BadFrame> {
        loop {
            if let Some((stream, side, left)) = self.data {
                let here = left.min(self.waiting.len());
                if here == 0 && left > 0 {
                    return Ok(None);
                }
                self.data = (here < left).then_some((stream, side, left - here));
                let bytes = self.waiting.split_to(here).freeze();
                let side = if here < left { Side::Open } else { side };
                return Ok(Some(Frame::Data { stream, bytes, side }));
            }
            let Some(head) = self.waiting.first_chunk::<HEAD>() else { return Ok(None) };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            let flags = head[4];
            let side = if flags & FIN != 0 { Side::Ends } else { Side::Open };
            if first >> 31 == 0 {
                self.waiting.advance(HEAD);
                self.data = Some((first, side, length));
                continue;
            }
            if length > CONTROL_MOST {
                return Err(BadFrame::TooLarge(length));
            }
            if self.waiting.len() < HEAD + length {
                return Ok(None);
            }
            self.waiting.advance(HEAD);
            let payload = self.waiting.split_to(length).freeze();
            let version = (first >> 16) as u16 & 0x7fff;
            if version != VERSION {
                return Err(BadFrame::Version(version));
            }
            if let Some(frame) = self.control(first as u16, payload, side)? {
                return Ok(Some(frame));
            }
        }
    }

    fn control(
        &mut self,
        kind: u16,
        mut payload: Bytes,
        side: Side,
    ) -> Result<Option<Frame>, BadFrame> {
        let mut number = || match payload.len() {
            0..4 => Err(BadFrame::Short),
            _ => Ok(payload.get_u32()),
        };
        Ok(Some(match kind {
            SYN_STREAM => {
                let stream = number()? & 0x7fff_ffff;
                // The stream that it is associated with, its priority and its slot: not used here.
                number()?;
                if payload.len() < 2 {
                    return Err(BadFrame::Short);
                }
                let headers = self.headers.unpack(&payload[2..])?;
                Frame::Open { stream, headers, side }
            }
            // Every block must pass the decompressor, or the ones after it are lost.
            SYN_REPLY | HEADERS => {
                let stream = number()? & 0x7fff_ffff;
                self.headers.unpack(&payload)?;
                match kind {
                    SYN_REPLY => Frame::Accept { stream },
                    _ => Frame::Data { stream, bytes: Bytes::new(), side },
                }
            }
            RST_STREAM => Frame::Reset { stream: number()? & 0x7fff_ffff, code: number()? },
            PING => Frame::Ping(number()?),
            GOAWAY => Frame::GoAway,
            _ => return Ok(None),
        }))
    }
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder { headers: Packer::new() }
    }

    pub fn write(&mut self, frame: &Frame) -> Bytes {
        let flag = |side: &Side| if *side == Side::Ends { FIN } else { 0 };
        match frame {
            Frame::Data { stream, bytes, side } => framed(*stream, flag(side), bytes),
            Frame::Open { stream, headers, side } => {
                let mut payload = [&stream.to_be_bytes()[..], &[0; 6]].concat();
                payload.extend(self.headers.pack(headers));
                framed(control(SYN_STREAM), flag(side), &payload)
            }
            Frame::Accept { stream } => {
                let mut payload = stream.to_be_bytes().to_vec();
                payload.extend(self.headers.pack(&Headers::new()));
                framed(control(SYN_REPLY), 0, &payload)
            }
            Frame::Reset { stream, code } => {
                let payload = [stream.to_be_bytes(), code.to_be_bytes()].concat();
                framed(control(RST_STREAM), 0, &payload)
            }
            Frame::Ping(id) => framed(control(PING), 0, &id.to_be_bytes()),
            Frame::GoAway => framed(control(GOAWAY), 0, &[0; 8]),
        }
    }
}

fn control(kind: u16) -> u32 {
    1 << 31 | u32::from(VERSION) << 16 | u32::from(kind)
}

fn framed(first: u32, flags: u8, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).expect("what is sent is cut into small pieces");
    let mut out = BytesMut::with_capacity(HEAD + payload.len());
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&(length | u32::from(flags) << 24).to_be_bytes());
    out.extend_from_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn frames_are_written_as_the_protocol_has_them() {
        let mut encoder = Encoder::new();
        let mut out = String::new();
        for frame in [
            Frame::Data { stream: 3, bytes: Bytes::from_static(b"hi"), side: Side::Open },
            Frame::Data { stream: 3, bytes: Bytes::new(), side: Side::Ends },
            Frame::Reset { stream: 5, code: Reset::Refused as u32 },
            Frame::Ping(1),
            Frame::GoAway,
        ] {
            out += &format!("{}\n", hex(&encoder.write(&frame)));
        }
        expect![[r#"
            00 00 00 03 00 00 00 02 68 69
            00 00 00 03 01 00 00 00
            80 03 00 03 00 00 00 08 00 00 00 05 00 00 00 03
            80 03 00 06 00 00 00 04 00 00 00 01
            80 03 00 07 00 00 00 08 00 00 00 00 00 00 00 00
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn frames_come_back_whatever_the_pieces() {
        let header = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let frames = [
            Frame::Open {
                stream: 1,
                headers: vec![header("streamtype", "error"), header("port", "80")],
                side: Side::Ends,
            },
            Frame::Accept { stream: 1 },
            Frame::Data { stream: 1, bytes: Bytes::from_static(b"x"), side: Side::Ends },
            Frame::Open { stream: 3, headers: vec![header("a", "b")], side: Side::Open },
            Frame::Ping(7),
            Frame::Reset { stream: 3, code: 5 },
            Frame::GoAway,
        ];
        let mut encoder = Encoder::new();
        let bytes: Vec<u8> = frames.iter().flat_map(|f| encoder.write(f).to_vec()).collect();
        for size in [1, 5, 1000] {
            let mut decoder = Decoder::new();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next().expect("they are frames") {
                    found.push(frame);
                }
            }
            assert_eq!(found, frames);
        }
    }

    #[test]
    fn data_is_handed_on_as_it_comes() {
        let mut decoder = Decoder::new();
        let data = |bytes: &'static [u8], side| {
            Ok(Some(Frame::Data { stream: 1, bytes: Bytes::from_static(bytes), side }))
        };
        // The last frame of a side, of 16 MiB less one byte.
        decoder.feed(&[0, 0, 0, 1, FIN, 255, 255, 255, b'a', b'b']);
        assert_eq!(decoder.next(), data(b"ab", Side::Open));
        assert_eq!(decoder.next(), Ok(None));
        let piece = [0; 64 * 1024];
        for _ in 0..255 {
            decoder.feed(&piece);
            assert!(matches!(decoder.next(), Ok(Some(Frame::Data { side: Side::Open, .. }))));
            assert!(decoder.waiting.is_empty());
        }
        decoder.feed(&piece[..64 * 1024 - 3]);
        assert!(matches!(decoder.next(), Ok(Some(Frame::Data { side: Side::Ends, .. }))));
        decoder.feed(&[0, 0, 0, 1, FIN, 0, 0, 0]);
        assert_eq!(decoder.next(), data(b"", Side::Ends));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refused = |bytes: &[u8]| {
            let mut decoder = Decoder::new();
            decoder.feed(bytes);
            decoder.next()
        };
        assert_eq!(refused(&[0x80, 2, 0, 6, 0, 0, 0, 0]), Err(BadFrame::Version(2)));
        assert_eq!(refused(&[0x80, 3, 0, 1, 0, 255, 0, 0]), Err(BadFrame::TooLarge(0xff_0000)));
        assert_eq!(refused(&[0x80, 3, 0, 6, 0, 0, 0, 0]), Err(BadFrame::Short));
        // A kind that we do not know is passed over.
        assert_eq!(refused(&[0x80, 3, 0, 4, 0, 0, 0, 1, 9]), Ok(None));
    }
}
