//! The channels of exec and attach inside a WebSocket: each message begins with the number of the
//! channel that it belongs to (documentation of `PodExecOptions`; KEP-4006 for version 5).
//!
//! | number | what | direction |
//! |---|---|---|
//! | 0 | stdin | in |
//! | 1 | stdout | out |
//! | 2 | stderr | out |
//! | 3 | the end: a Status (version 1: the text of an error) | out |
//! | 4 | the terminal's size, `{"Width":80,"Height":24}` | in |
//! | 255 | version 5: the next byte names a channel that the client closes | in |
//!
//! In the base64 forms the number is a digit and the rest is base64, so that browsers may use texts.
//!
//! Never here: IO.

use super::websocket::Piece;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use serde::Deserialize;
use skiff_json::json;
use skiff_runtime::spec::TtySize;

/// The protocols, best first; `""` is what a client speaks that names none.
pub const PROTOCOLS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// Output and end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Stdout = 1,
    Stderr = 2,
    Error = 3,
}

/// What a client says.
#[derive(Debug, PartialEq)]
pub enum Said {
    Stdin(Bytes),
    /// No more stdin.
    StdinEnds,
    Resize(TtySize),
    /// An empty message, or one for a channel that does not lead here.
    Nothing,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Success,
    /// The program ended with this code, which is not 0.
    Code(i32),
    /// The session could not be had, or broke.
    Failed(String),
}

/// A message to send.
#[derive(Debug, PartialEq)]
pub enum Message {
    Binary(Bytes),
    Text(String),
}

/// The dialect that client and server agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    version: u8,
    base64: bool,
}

impl Dialect {
    pub fn of(protocol: &str) -> Dialect {
        let version = match protocol {
            "v5.channel.k8s.io" => 5,
            "v4.channel.k8s.io" | "v4.base64.channel.k8s.io" => 4,
            _ => 1,
        };
        Dialect { version, base64: protocol.contains("base64") }
    }

    /// Older clients wait for a first, empty message.
    pub fn greets(self) -> bool {
        self.version < 5
    }

    pub fn write(self, channel: Channel, bytes: &[u8]) -> Message {
        if self.base64 {
            return Message::Text(format!("{}{}", channel as u8, STANDARD.encode(bytes)));
        }
        let mut out = Vec::with_capacity(bytes.len() + 1);
        out.push(channel as u8);
        out.extend_from_slice(bytes);
        Message::Binary(out.into())
    }

    /// The last message; version 1 has none for a success.
    pub fn end(self, end: &End) -> Option<Message> {
        let text = text_of(end, self.version > 1)?;
        Some(self.write(Channel::Error, text.as_bytes()))
    }

    pub fn hearing(self) -> Hearing {
        Hearing { dialect: self, channel: None, undecoded: Vec::new(), said: Vec::new() }
    }
}

/// How a client is told of the end: by a Status, or by the text of an error, and then by none of a success.
pub fn text_of(end: &End, as_status: bool) -> Option<String> {
    match end {
        _ if as_status => Some(status(end).to_string()),
        End::Success => None,
        End::Code(code) => Some(format!("command terminated with exit code {code}")),
        End::Failed(why) => Some(why.clone()),
    }
}

/// The numbers of channels that lead in.
const STDIN: u8 = 0;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
/// A channel that leads nowhere.
const NOWHERE: u8 = 3;

/// Messages for these channels are short, and taken whole.
const SAID_MOST: usize = 1024;

/// What a client says, out of the pieces of its messages.
pub struct Hearing {
    dialect: Dialect,
    /// Where the present message leads; its first byte says it.
    channel: Option<u8>,
    /// base64 that is no whole group yet.
    undecoded: Vec<u8>,
    /// A short message so far.
    said: Vec<u8>,
}

impl Hearing {
    pub fn read(&mut self, piece: Piece) -> Said {
        let Piece { mut bytes, first, last } = piece;
        if first {
            *self = self.dialect.hearing();
        }
        let channel = match (self.channel, bytes.first()) {
            (Some(channel), _) => channel,
            (None, None) => return Said::Nothing,
            (None, Some(number)) => {
                let number = if self.dialect.base64 { number.wrapping_sub(b'0') } else { *number };
                bytes.advance(1);
                number
            }
        };
        // What cannot be understood is not kept either, to the end of its message.
        self.channel = Some(NOWHERE);
        if self.dialect.base64 && channel != NOWHERE {
            match self.decoded(&bytes, last) {
                Some(decoded) => bytes = decoded,
                None => return Said::Nothing,
            }
        }
        let said = match channel {
            STDIN if bytes.is_empty() => Said::Nothing,
            STDIN => Said::Stdin(bytes),
            RESIZE | CLOSE if self.said.len() + bytes.len() <= SAID_MOST => {
                self.said.extend_from_slice(&bytes);
                if last { self.short(channel) } else { Said::Nothing }
            }
            _ => return Said::Nothing,
        };
        self.channel = Some(channel);
        said
    }

    fn decoded(&mut self, bytes: &[u8], last: bool) -> Option<Bytes> {
        self.undecoded.extend_from_slice(bytes);
        let length = self.undecoded.len();
        let whole = if last { length } else { length - length % 4 };
        let decoded = STANDARD.decode(&self.undecoded[..whole]).ok()?;
        self.undecoded.drain(..whole);
        Some(decoded.into())
    }

    fn short(&self, channel: u8) -> Said {
        match channel {
            RESIZE => size(&self.said).map_or(Said::Nothing, Said::Resize),
            CLOSE if self.dialect.version >= 5 && self.said == [STDIN] => Said::StdinEnds,
            _ => Said::Nothing,
        }
    }
}

/// The size that a resize message holds; a terminal without rows or columns is not asked for.
pub fn size(json: &[u8]) -> Option<TtySize> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    let size: Size = skiff_json::from_slice(json).ok()?;
    let TtySize { width, height } = TtySize { width: size.width, height: size.height };
    (width > 0 && height > 0).then_some(TtySize { width, height })
}

fn status(end: &End) -> skiff_json::Value {
    match end {
        End::Success => json!({"metadata": {}, "status": "Success"}),
        End::Code(code) => json!({"metadata": {}, "status": "Failure",
            "message": format!(
                "command terminated with non-zero exit code: command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
        End::Failed(why) => json!({"metadata": {}, "status": "Failure",
            "message": format!("Internal error occurred: {why}"), "reason": "InternalError",
            "details": {"causes": [{"message": why}]}, "code": 500}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn clients_are_understood() {
        let mut out = String::new();
        for (protocol, message) in [
            ("v5.channel.k8s.io", &b"\0ls\n"[..]),
            ("v5.channel.k8s.io", b"\xff\0"),
            ("v4.channel.k8s.io", b"\xff\0"),
            ("v4.channel.k8s.io", b"\x04{\"Width\":80,\"Height\":24}"),
            ("v4.channel.k8s.io", b"\x04{\"Width\":0,\"Height\":24}"),
            ("v4.channel.k8s.io", b"\x04{"),
            ("v4.channel.k8s.io", b"\x07x"),
            ("v4.channel.k8s.io", b""),
            ("base64.channel.k8s.io", b"0bHMK"),
            ("base64.channel.k8s.io", b"0!"),
            ("", b"\0x"),
        ] {
            let whole = Piece { bytes: Bytes::from_static(message), first: true, last: true };
            let said = Dialect::of(protocol).hearing().read(whole);
            out += &format!("{protocol} {:?}: {said:?}\n", message.escape_ascii().to_string());
        }
        expect![[r#"
            v5.channel.k8s.io "\\x00ls\\n": Stdin(b"ls\n")
            v5.channel.k8s.io "\\xff\\x00": StdinEnds
            v4.channel.k8s.io "\\xff\\x00": Nothing
            v4.channel.k8s.io "\\x04{\\\"Width\\\":80,\\\"Height\\\":24}": Resize(TtySize { width: 80, height: 24 })
            v4.channel.k8s.io "\\x04{\\\"Width\\\":0,\\\"Height\\\":24}": Nothing
            v4.channel.k8s.io "\\x04{": Nothing
            v4.channel.k8s.io "\\x07x": Nothing
            v4.channel.k8s.io "": Nothing
            base64.channel.k8s.io "0bHMK": Stdin(b"ls\n")
            base64.channel.k8s.io "0!": Nothing
             "\\x00x": Stdin(b"x")
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn messages_are_understood_in_whatever_pieces_they_come() {
        for (protocol, message, wanted) in [
            ("v5.channel.k8s.io", &b"\0abcdefg"[..], "abcdefg"),
            ("base64.channel.k8s.io", b"0YWJjZGVmZw==", "abcdefg"),
            ("v5.channel.k8s.io", b"\x04{\"Width\":80,\"Height\":24}", "80x24"),
            ("v5.channel.k8s.io", b"\xff\0", "end"),
        ] {
            for size in 1..=message.len() {
                let mut hearing = Dialect::of(protocol).hearing();
                let mut heard = String::new();
                // Twice: nothing of a message is left for the next one.
                for at in [0, 1] {
                    let mut pieces = message.chunks(size).peekable();
                    let mut first = true;
                    while let Some(piece) = pieces.next() {
                        let bytes = Bytes::copy_from_slice(piece);
                        let piece = Piece { bytes, first, last: pieces.peek().is_none() };
                        first = false;
                        match hearing.read(piece) {
                            Said::Stdin(bytes) => heard += &String::from_utf8_lossy(&bytes),
                            Said::Resize(size) => {
                                heard += &format!("{}x{}", size.width, size.height);
                            }
                            Said::StdinEnds => heard += "end",
                            Said::Nothing => {}
                        }
                    }
                    assert_eq!(heard, wanted.repeat(at + 1), "{protocol} {size}");
                }
            }
        }
        // What follows on a part that is no base64 is not understood, until the next message.
        let mut hearing = Dialect::of("base64.channel.k8s.io").hearing();
        let mut piece = |bytes: &'static [u8], first, last| {
            hearing.read(Piece { bytes: Bytes::from_static(bytes), first, last })
        };
        assert_eq!(piece(b"0YWJj!!!!", true, false), Said::Nothing);
        for _ in 0..1000 {
            assert_eq!(piece(b"YWJj", false, false), Said::Nothing);
        }
        assert_eq!(hearing.undecoded.len(), 8);
        let mut piece = |bytes: &'static [u8], first, last| {
            hearing.read(Piece { bytes: Bytes::from_static(bytes), first, last })
        };
        assert_eq!(piece(b"0YWJj", true, true), Said::Stdin("abc".into()));
        let mut hearing = Dialect::of("v5.channel.k8s.io").hearing();
        let mut piece = |bytes: &'static [u8], first, last| {
            hearing.read(Piece { bytes: Bytes::from_static(bytes), first, last })
        };
        assert_eq!(piece(b"\x04", true, false), Said::Nothing);
        for _ in 0..1000 {
            assert_eq!(piece(&[b' '; 1000], false, false), Said::Nothing);
        }
        assert_eq!(piece(b"{\"Width\":80,\"Height\":24}", false, true), Said::Nothing);
        assert!(hearing.said.len() <= SAID_MOST);
    }

    #[test]
    fn ends_are_told_as_each_dialect_has_them() {
        let mut out = String::new();
        for protocol in ["v5.channel.k8s.io", "base64.channel.k8s.io", "channel.k8s.io"] {
            for end in [End::Success, End::Code(3), End::Failed("no".into())] {
                out += &format!("{:?}\n", Dialect::of(protocol).end(&end));
            }
        }
        expect![[r#"
            Some(Binary(b"\x03{\"metadata\":{},\"status\":\"Success\"}"))
            Some(Binary(b"\x03{\"details\":{\"causes\":[{\"message\":\"3\",\"reason\":\"ExitCode\"}]},\"message\":\"command terminated with non-zero exit code: command terminated with exit code 3\",\"metadata\":{},\"reason\":\"NonZeroExitCode\",\"status\":\"Failure\"}"))
            Some(Binary(b"\x03{\"code\":500,\"details\":{\"causes\":[{\"message\":\"no\"}]},\"message\":\"Internal error occurred: no\",\"metadata\":{},\"reason\":\"InternalError\",\"status\":\"Failure\"}"))
            None
            Some(Text("3Y29tbWFuZCB0ZXJtaW5hdGVkIHdpdGggZXhpdCBjb2RlIDM="))
            Some(Text("3bm8="))
            None
            Some(Binary(b"\x03command terminated with exit code 3"))
            Some(Binary(b"\x03no"))
        "#]]
        .assert_eq(&out);
    }
}
