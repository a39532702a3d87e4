//! JSON as it is sent: objects, lists and the messages of watches, written from shared bytes.

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use skiff_api::Status;
use skiff_api::pieces::Pieces;
use skiff_api::wire::{self, Frame, List, Stored};
use skiff_json::{Value, json};
use std::io;

/// A list is written in pieces of this size, so that it is never whole in memory a second time. With the head of an
/// HTTP/2 frame (9 bytes) a piece fills four records of TLS (RFC 8446 section 5.1), and leaves in one write.
pub const LIST_PIECE: usize = 64 * 1024 - 9;
/// An item is usually not larger than the room beyond.
const LIST_PIECE_ROOM: usize = LIST_PIECE + 8 * 1024;

/// A document and its line feed.
pub fn object(stored: &Stored) -> Bytes {
    let mut out = Vec::with_capacity(stored.body.len() + 192);
    stored.write(&mut out);
    out.push(b'\n');
    out.into()
}

/// A list of objects as they are stored.
pub fn list(list: List) -> BoxStream<'static, io::Result<Pieces>> {
    let (start, headed) = (start(&list), list.headed_items);
    let write = move |item: Stored, out: &mut Vec<u8>| {
        write_item(&item, headed, out);
        Ok(())
    };
    sent(Pages::new(start, ARRAY, items(list.items), write))
}

/// The same as one document, of a list that is still to be sent.
pub fn whole(list: &List) -> Bytes {
    let mut out = start(list);
    for (at, item) in list.each().enumerate() {
        out.extend_from_slice(if at == 0 { b"" } else { b"," });
        write_item(&item, list.headed_items, &mut out);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn start(list: &List) -> Vec<u8> {
    let mut out = b"{".to_vec();
    out.extend_from_slice(list.head.as_bytes());
    out.extend_from_slice(b"\"metadata\":");
    out.extend_from_slice(metadata(list).to_string().as_bytes());
    out.extend_from_slice(b",\"items\":[");
    out
}

fn write_item(item: &Stored, headed: bool, out: &mut Vec<u8>) {
    if headed { item.write(out) } else { item.write_item(out) }
}

/// The items of a list, for whoever takes them one by one.
pub fn items(items: Box<dyn wire::Items>) -> impl Iterator<Item = Stored> + Send {
    (0..items.count()).map(move |at| items.get(at))
}

/// The metadata of a list.
pub fn metadata(list: &List) -> Value {
    let mut metadata = json!({});
    // What was never stored has none.
    if list.revision > 0 {
        metadata["resourceVersion"] = json!(list.revision.to_string());
    }
    if !list.next.is_empty() {
        metadata["continue"] = json!(list.next);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// A list on its way, cut into pieces.
pub struct Pages<I, W> {
    /// What was written and did not leave yet.
    rest: Bytes,
    items: I,
    write: W,
    /// What stands before the next item.
    next: &'static [u8],
    between: &'static [u8],
    /// Empty once it was written.
    end: &'static [u8],
}

/// What stands between the items of a list, and behind the last one.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    pub between: &'static [u8],
    pub end: &'static [u8],
}

/// Items in an array that ends the document.
pub const ARRAY: Around = Around { between: b",", end: b"]}\n" };

impl<I: Iterator, W: FnMut(I::Item, &mut Vec<u8>) -> io::Result<()>> Pages<I, W> {
    /// Items behind what stands before them; `write` appends one of them.
    pub fn new(start: Vec<u8>, around: Around, items: I, write: W) -> Pages<I, W> {
        let Around { between, end } = around;
        Pages { rest: start.into(), items, write, next: b"", between, end }
    }

    /// Writes until there is a whole piece, or the document ends.
    fn fill(&mut self) -> io::Result<()> {
        let mut out = Vec::with_capacity(LIST_PIECE_ROOM);
        out.extend_from_slice(&self.rest);
        while out.len() < LIST_PIECE {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(std::mem::take(&mut self.end));
                break;
            };
            out.extend_from_slice(std::mem::replace(&mut self.next, self.between));
            (self.write)(item, &mut out)?;
        }
        self.rest = out.into();
        Ok(())
    }
}

impl<I: Iterator, W: FnMut(I::Item, &mut Vec<u8>) -> io::Result<()>> Iterator for Pages<I, W> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.rest.len() < LIST_PIECE
            && !self.end.is_empty()
            && let Err(error) = self.fill()
        {
            (self.rest, self.end) = (Bytes::new(), b"");
            return Some(Err(error));
        }
        let size = self.rest.len().min(LIST_PIECE);
        (size > 0).then(|| Ok(self.rest.split_to(size)))
    }
}

/// Pieces as the rim takes them.
pub fn sent(
    pieces: impl Iterator<Item = io::Result<Bytes>> + Send + 'static,
) -> BoxStream<'static, io::Result<Pieces>> {
    stream::iter(pieces.map(|piece| piece.map(Pieces::from))).boxed()
}

/// All pieces of an answer that ends.
pub async fn gather(mut pieces: BoxStream<'static, io::Result<Pieces>>) -> io::Result<Bytes> {
    let mut out = Vec::new();
    while let Some(piece) = pieces.next().await {
        let mut piece = piece?;
        while piece.has_remaining() {
            out.extend_from_slice(piece.chunk());
            piece.advance(piece.chunk().len());
        }
    }
    Ok(out.into())
}

/// What a message of a watch says of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    pub fn name(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }
}

/// An object framed as a message of a watch: JSON documents follow each other, a line each.
pub fn message(type_: EventType, mut object: Pieces) -> Pieces {
    object.put_before(Bytes::from_static(match type_ {
        EventType::Added => b"{\"type\":\"ADDED\",\"object\":",
        EventType::Modified => b"{\"type\":\"MODIFIED\",\"object\":",
        EventType::Deleted => b"{\"type\":\"DELETED\",\"object\":",
        EventType::Bookmark => b"{\"type\":\"BOOKMARK\",\"object\":",
        EventType::Error => b"{\"type\":\"ERROR\",\"object\":",
    }));
    object.push(Bytes::from_static(b"}\n"));
    object
}

/// A frame of which the objects are sent as they are stored.
pub fn frame(frame: Frame) -> Pieces {
    match frame {
        Frame::Added(stored) => message(EventType::Added, stored.pieces()),
        Frame::Modified(stored) => message(EventType::Modified, stored.pieces()),
        Frame::Deleted(stored) => message(EventType::Deleted, stored.pieces()),
        Frame::Bookmark { head, revision, initial_end } => {
            let metadata = wire::bookmark_metadata(revision, initial_end.as_deref());
            let object = format!("{{{head}\"metadata\":{metadata}}}");
            message(EventType::Bookmark, Bytes::from(object).into())
        }
        Frame::Error(status) => error(&status),
    }
}

/// The last message of a watch that is refused.
pub fn error(status: &Status) -> Pieces {
    message(EventType::Error, Bytes::from(status.text()).into())
}
