//! A rendition: one view of one record as bytes, made once and sent to all who ask for the same.

use bytes::Bytes;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::pieces::Pieces;
use skiff_api::protobuf::{self, ProtobufError};
use skiff_api::schema::{Struct, gvk};
use skiff_api::table::{self, Cut};
use skiff_api::wire::Stored;
use skiff_base::Time;

/// What is shown of a record that is not shown whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A PartialObjectMetadata.
    Metadata,
    /// A row of a Table, and what it carries beside its cells.
    Row(Include),
    /// The message of protobuf, without its envelope.
    Message(Part),
}

/// What of an object is shown where it is one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Whole,
    /// As a PartialObjectMetadata.
    Metadata,
}

/// `includeObject`: what the rows of a Table carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Include {
    None,
    Metadata,
    Object,
}

/// Bytes, and the places in them where what depends on the moment of sending belongs.
#[derive(Debug)]
pub struct Rendition {
    bytes: Bytes,
    /// In their order.
    cuts: Box<[Cut]>,
}

impl Rendition {
    /// Makes it.
    ///
    /// # Errors
    /// When the stored body is no JSON: the store is corrupt.
    pub fn make(form: Form, kind: &Kind, stored: &Stored) -> Result<Rendition, Status> {
        let mut out = Vec::with_capacity(stored.body.len());
        let cuts = match form {
            Form::Metadata => {
                stored.write_metadata(&mut out);
                Vec::new()
            }
            Form::Message(part) => {
                message(part, kind, stored, &mut Vec::new(), &mut out).map_err(Status::internal)?;
                Vec::new()
            }
            Form::Row(include) => {
                out.extend_from_slice(b"{\"cells\":");
                let object = Object::new(stored.tree().map_err(Status::internal)?);
                let cuts = table::write_cells(kind, &object, &mut out);
                out.extend_from_slice(b",\"object\":");
                match include {
                    Include::None => out.extend_from_slice(b"null"),
                    Include::Metadata => stored.write_metadata(&mut out),
                    Include::Object => stored.write(&mut out),
                }
                out.push(b'}');
                cuts
            }
        };
        out.shrink_to_fit();
        Ok(Rendition { bytes: out.into(), cuts: cuts.into() })
    }

    /// A body that somebody made.
    pub fn whole(body: Bytes) -> Rendition {
        Rendition { bytes: body, cuts: Box::default() }
    }

    /// The bytes, in which nothing depends on the time.
    pub fn body(&self) -> Bytes {
        self.bytes.clone()
    }

    /// How many bytes are held.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.cuts)
    }

    /// Appends it as it is now.
    pub fn write(&self, now: Time, out: &mut Vec<u8>) {
        let mut from = 0;
        for cut in &self.cuts {
            out.extend_from_slice(&self.bytes[from..cut.at]);
            out.extend_from_slice(table::age(cut.since, now).as_bytes());
            from = cut.at;
        }
        out.extend_from_slice(&self.bytes[from..]);
    }

    /// Appends it as it is now; only what is put into the cuts is new.
    pub fn push(&self, now: Time, out: &mut Pieces) {
        let mut from = 0;
        for cut in &self.cuts {
            out.push(self.bytes.slice(from..cut.at));
            out.push(table::age(cut.since, now).into());
            from = cut.at;
        }
        out.push(self.bytes.slice(from..));
    }
}

/// Appends the message of protobuf that an object, or its metadata, is; `json` is memory that is written over.
///
/// # Errors
/// When the stored body is none of its kind.
pub fn message(
    part: Part,
    kind: &Kind,
    stored: &Stored,
    json: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), ProtobufError> {
    json.clear();
    match part {
        Part::Whole => stored.write_item(json),
        Part::Metadata => stored.write_metadata(json),
    }
    protobuf::encode(json, schema(part, kind)?, out)
}

/// What says how that message is written.
///
/// # Errors
/// When the program was built without it.
pub fn schema(part: Part, kind: &Kind) -> Result<&Struct, ProtobufError> {
    const METADATA: (&str, &str, &str) = ("meta.k8s.io", "v1", "PartialObjectMetadata");
    match part {
        Part::Whole => Ok(&kind.schema),
        Part::Metadata => gvk(METADATA.0, METADATA.1, METADATA.2)
            .ok_or_else(|| ProtobufError::NoType(METADATA.2.into(), METADATA.0.into())),
    }
}
