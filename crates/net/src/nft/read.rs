//! Reading back the elements that stand in the kernel, for adoption after a restart.

use super::encode::{FIXED, NFT};
use super::value::{Data, DataType, Element, FieldType, Row, Set, Verdict};
use crate::Result;
use crate::netlink::message::Message;
use crate::netlink::parse::{Reply, attributes, be32, behind, find, text};
use crate::netlink::socket::{Socket, is_missing};

/// The elements of a set; none if table or set are not there.
pub fn elements(socket: &mut Socket, table: &str, set: &Set) -> Result<Vec<Element>> {
    let mut message = Message::new(NFT | libc::NFT_MSG_GETSETELEM as u16, 0, &FIXED);
    message.put_text(1, table);
    message.put_text(2, &set.name);
    let what = format!("list elements of {}", set.name);
    match socket.dump(&message, &what, |reply| Some(read_elements(reply, set))) {
        Ok(found) => Ok(found.into_iter().flatten().collect()),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn read_elements(reply: Reply<'_>, set: &Set) -> Vec<Element> {
    let list = find(behind(reply.body, FIXED.len()), 3).unwrap_or(&[]);
    attributes(list).filter_map(|(_, value)| read_element(value, set)).collect()
}

fn read_element(value: &[u8], set: &Set) -> Option<Element> {
    let data = match &set.data {
        DataType::None => Data::None,
        DataType::Row(types) => Data::Row(read_row(find(find(value, 2)?, 1)?, types)?),
        DataType::Verdict => Data::Verdict(read_verdict(find(find(value, 2)?, 2)?)?),
    };
    let expires_ms = find(value, 5).and_then(|v| Some(u64::from_be_bytes(v.try_into().ok()?)));
    Some(Element { key: read_row(find(find(value, 1)?, 1)?, &set.key)?, data, expires_ms })
}

fn read_row(bytes: &[u8], types: &[FieldType]) -> Option<Row> {
    let fields = types.iter().zip(bytes.chunks(4)).map(|(kind, four)| {
        let mut whole = [0; 4];
        whole[..four.len()].copy_from_slice(four);
        kind.read(whole)
    });
    let row: Row = fields.collect();
    (row.len() == types.len()).then_some(row)
}

fn read_verdict(value: &[u8]) -> Option<Verdict> {
    let chain = || find(value, 2).map(text);
    match be32(find(value, 1)?)? as i32 {
        libc::NF_DROP => Some(Verdict::Drop),
        libc::NF_ACCEPT => Some(Verdict::Accept),
        libc::NFT_RETURN => Some(Verdict::Return),
        libc::NFT_JUMP => Some(Verdict::Jump(chain()?)),
        libc::NFT_GOTO => Some(Verdict::Goto(chain()?)),
        _ => None,
    }
}
