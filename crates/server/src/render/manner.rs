//! Manner: how an answer is written for whoever reads it: refusals in a form that the caller can read, and documents
//! indented for people.

use crate::render::accept::{Accept, Format, Offer};
use crate::render::json;
use crate::request::url::Query;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header;
use skiff_api::Status;
use skiff_api::pieces::Pieces;
use skiff_api::wire::{Answer, Body, Call, Peer, Rendered};
use std::io;

/// How the answers to one call are written, whatever becomes of it.
pub struct Manner {
    refusal: Accept,
    /// For people: indented.
    indented: bool,
}

/// The agents whose users read what comes back.
const PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

impl Manner {
    pub fn of(call: &Call) -> Manner {
        if matches!(call.peer, Peer::Local(_)) {
            return Manner { refusal: Accept::JSON, indented: false };
        }
        let header = |name| call.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        let agent = header(header::USER_AGENT);
        let accept = header(header::ACCEPT);
        let indented = match Query::parse(&call.query).get("pretty") {
            Some(asked) => matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            None => PEOPLE.iter().any(|it| agent.starts_with(it)),
        };
        let indented =
            indented || Accept::of(accept, Offer::BuiltIn).is_some_and(|accept| accept.pretty);
        Manner { refusal: Accept::of_refusal(accept), indented }
    }

    /// A refusal, in the form that the caller can read.
    pub fn refuse(&self, status: Status) -> Answer {
        let pretty = self.indented || self.refusal.pretty;
        let text = status.text();
        let format = self.refusal.format;
        let body = match format {
            Format::Yaml => skiff_api::yaml::write(&status.to_json()).into(),
            Format::Protobuf => crate::render::protobuf::document(text.as_bytes())
                .expect("a Status is written by the schema that the program is built with"),
            Format::Json if pretty => indent(text.as_bytes()).into(),
            Format::Json => text.into(),
        };
        Answer { body: Body::Bytes(body), ..Answer::from(status) }.typed(format.media_type())
    }

    /// The answer, indented if people read it.
    pub fn pretty(&self, answer: Answer) -> Answer {
        let is_json = |headers: &http::HeaderMap| {
            let type_ = headers.get(header::CONTENT_TYPE);
            type_.is_none_or(|it| it.as_bytes().starts_with(b"application/json"))
        };
        if !self.indented || !is_json(&answer.headers) {
            return answer;
        }
        let body = match answer.body {
            Body::Object(stored) => Body::Bytes(indent(&stored.bytes()).into()),
            Body::Bytes(bytes) if !bytes.starts_with(b"{\n") => Body::Bytes(indent(&bytes).into()),
            Body::List(list) => {
                let (size, pieces) = (Some(list.size()), indented(json::list(list)));
                Body::Rendered(Rendered { size, pieces })
            }
            Body::Rendered(Rendered { size: Some(size), pieces }) => {
                Body::Rendered(Rendered { size: Some(size), pieces: indented(pieces) })
            }
            other => other,
        };
        Answer { body, ..answer }
    }
}

/// JSON with each field on a line of its own, two blanks deeper than what holds it; the order stays.
pub fn indent(json: &[u8]) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    Indent::default().write(json, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The same for JSON that comes in pieces.
#[derive(Default)]
struct Indent {
    depth: usize,
    /// Within a text, and behind a backslash of it.
    text: bool,
    escaped: bool,
    /// Behind a bracket: what is empty stays on its line.
    opened: bool,
}

impl Indent {
    fn write(&mut self, json: &[u8], out: &mut Vec<u8>) {
        for byte in json.iter().copied() {
            if self.text {
                out.push(byte);
                self.text = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            if byte.is_ascii_whitespace() {
                continue;
            }
            let closes = matches!(byte, b'}' | b']');
            self.depth -= usize::from(closes && self.depth > 0);
            if self.opened != closes {
                self.margin(out);
            }
            self.opened = matches!(byte, b'{' | b'[');
            self.depth += usize::from(self.opened);
            out.push(byte);
            match byte {
                b',' => self.margin(out),
                b':' => out.push(b' '),
                _ => self.text = byte == b'"',
            }
        }
    }

    fn margin(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', self.depth * 2));
    }
}

/// Pieces of one document, indented as they come.
fn indented(
    pieces: BoxStream<'static, io::Result<Pieces>>,
) -> BoxStream<'static, io::Result<Pieces>> {
    let mut indent = Indent::default();
    let lines = pieces.map(move |piece| {
        let mut piece = piece?;
        let mut out = Vec::with_capacity(piece.remaining() * 2);
        while piece.has_remaining() {
            indent.write(piece.chunk(), &mut out);
            piece.advance(piece.chunk().len());
        }
        Ok(Bytes::from(out).into())
    });
    lines.boxed()
}

#[cfg(test)]
mod tests {
    use super::{Indent, indent};

    #[test]
    fn pieces_are_indented_as_the_whole_is() {
        let json = r#"{"a":[{},{"b":[]},1,"x\"{,"],"c":{"d":null}}"#;
        let value: skiff_json::Value = skiff_json::from_str(json).expect("it is JSON");
        let whole = indent(json.as_bytes());
        assert_eq!(whole, format!("{value:#}"));
        let (mut it, mut out) = (Indent::default(), Vec::new());
        json.as_bytes().chunks(1).for_each(|byte| it.write(byte, &mut out));
        assert_eq!(out, whole.as_bytes());
    }
}
