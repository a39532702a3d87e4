//! Manner: how an answer is written for whoever reads it: refusals in a form that the caller can read, and documents
//! indented for people.

use crate::render::accept::{Accept, Format};
use crate::render::json;
use crate::request::url::Query;
use http::header;
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call, Peer, Rendered};

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
        let indented = match Query::parse(&call.query).get("pretty") {
            Some(asked) => !matches!(asked, "0" | "false" | "f" | "F" | "FALSE" | "False"),
            None => PEOPLE.iter().any(|it| agent.starts_with(it)),
        };
        Manner { refusal: Accept::of_refusal(header(header::ACCEPT)), indented }
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
    pub async fn pretty(&self, answer: Answer) -> Answer {
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
            Body::Rendered(Rendered { size: Some(_), pieces }) => {
                match json::gather(pieces).await {
                    Ok(bytes) => Body::Bytes(indent(bytes.trim_ascii_end()).into()),
                    Err(error) => return self.refuse(Status::internal(error)),
                }
            }
            other => other,
        };
        Answer { body, ..answer }
    }
}

/// JSON with each field on a line of its own, two blanks deeper than what holds it; the order stays.
pub fn indent(json: &[u8]) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    let margin = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (at, byte) in json.iter().copied().enumerate() {
        if text {
            out.push(byte);
            text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    depth += 1;
                    margin(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(json[at.saturating_sub(1)], b'{' | b'[') {
                    depth = depth.saturating_sub(1);
                    margin(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                margin(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                text = byte == b'"';
                out.push(byte);
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
