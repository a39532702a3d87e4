//! Reading what stands in the kernel: elements, for adoption after a restart; the chains and rules
//! of others, as far as whether they let packets pass.

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

/// A chain that packets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    family: u8,
    pub table: String,
    pub name: String,
    /// Whether packets pass it that go on to another machine (or pod).
    pub forwards: bool,
    /// Whether what no rule decides is dropped.
    pub drops: bool,
}

impl BaseChain {
    /// Whether it sees IPv4 alone.
    pub fn is_ip(&self) -> bool {
        self.family == FIXED[0]
    }
}

/// What a rule does to every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It depends on the packet, or lets it go on.
    Open,
    Drops,
}

/// A rule of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub handle: u64,
    /// Its comment, or nothing.
    pub mark: String,
    pub ending: Ending,
}

fn all_families(kind: i32) -> Message {
    Message::new(NFT | kind as u16, 0, &[libc::NFPROTO_UNSPEC as u8, 0, 0, 0])
}

/// The base chains that see IPv4 packets.
pub fn base_chains(socket: &mut Socket) -> Result<Vec<BaseChain>> {
    let message = all_families(libc::NFT_MSG_GETCHAIN);
    socket.dump(&message, "list chains", |reply| {
        let family = *reply.body.first()?;
        let rest = behind(reply.body, FIXED.len());
        let (table, name) = (text(find(rest, 1)?), text(find(rest, 3)?));
        let hook = be32(find(find(rest, 4)?, 1)?)? as i32;
        let drops = find(rest, 5).and_then(be32).is_some_and(|p| p as i32 == libc::NF_DROP);
        let forwards = hook == libc::NF_INET_FORWARD;
        let seen = [libc::NFPROTO_IPV4, libc::NFPROTO_INET].contains(&i32::from(family));
        seen.then_some(BaseChain { family, table, name, forwards, drops })
    })
}

/// The rules of a chain, in order.
pub fn rules(socket: &mut Socket, chain: &BaseChain) -> Result<Vec<Rule>> {
    let mut message = Message::new(NFT | libc::NFT_MSG_GETRULE as u16, 0, &[chain.family, 0, 0, 0]);
    message.put_text(1, &chain.table);
    message.put_text(2, &chain.name);
    let listed = socket.dump(&message, "list rules", |reply| {
        let rest = behind(reply.body, FIXED.len());
        let handle = u64::from_be_bytes(find(rest, 3)?.try_into().ok()?);
        let mark = find(rest, 7).map(comment).unwrap_or_default();
        Some(Rule { handle, mark, ending: ending(find(rest, 4).unwrap_or(&[])) })
    });
    match listed {
        // The chain went meanwhile.
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// User data are fields of type, length and value; a comment has type 0.
fn comment(mut data: &[u8]) -> String {
    while let Some(([kind, length], rest)) = data.split_first_chunk() {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        if *kind == 0 {
            return text(value);
        }
        data = rest;
    }
    String::new()
}

/// Whether a rule drops or rejects whatever comes, counting, logging and comments aside.
fn ending(expressions: &[u8]) -> Ending {
    let named = attributes(expressions).map(|(_, it)| {
        let name = find(it, 1).map(text).unwrap_or_default();
        (name, find(it, 2).unwrap_or(&[]))
    });
    for (name, data) in named {
        let inner = || find(data, 1).map(text).unwrap_or_default();
        match name.as_str() {
            "counter" | "log" => {}
            "match" if inner() == "comment" => {}
            "reject" => return Ending::Drops,
            "target" if matches!(inner().as_str(), "REJECT" | "DROP") => return Ending::Drops,
            "immediate" => {
                let verdict = find(data, 2).and_then(|it| find(it, 2)).and_then(|it| find(it, 1));
                match verdict.and_then(be32).map(|code| code as i32) {
                    Some(libc::NF_DROP) => return Ending::Drops,
                    _ => return Ending::Open,
                }
            }
            _ => return Ending::Open,
        }
    }
    Ending::Open
}
