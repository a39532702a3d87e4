//! A batch as the kernel wants it: one netlink message per step, between a begin and an end.
//!
//! Attribute numbers are those of the kernel's `nf_tables.h`, each named where it is used.

use super::batch::{Base, Batch, Hook, Step, Work};
use super::expression::{Expression, Header, Meta, Refusal, Register, Side, Track, When};
use super::value::{Data, DataType, Element, Field, FieldType, Lifetime, Set, Verdict};
use crate::netlink::message::Message;

pub(crate) const NFT: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
/// `struct nfgenmsg`: IPv4, version 0, no resource.
pub(crate) const FIXED: [u8; 4] = [libc::NFPROTO_IPV4 as u8, 0, 0, 0];
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;

/// One message takes so many bytes of elements, well below an attribute's 64 KiB.
const ELEMENT_BYTES: usize = 48 * 1024;
/// The type number of data that are verdicts (`NFT_DATA_VERDICT`).
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// Register numbers of four bytes begin here (`NFT_REG32_00`).
const REGISTERS: u32 = 8;
const VERDICT_REGISTER: u32 = 0;

/// A batch ready to be sent.
pub(super) struct Encoded {
    message: Message,
    /// The step that each message belongs to; message 0 is the begin.
    steps: Vec<usize>,
}

impl Encoded {
    pub(super) fn bytes(&self) -> &[u8] {
        self.message.bytes()
    }

    /// The step whose message had this sequence number.
    pub(super) fn step(&self, sequence: u32) -> Option<usize> {
        self.steps.get((sequence as usize).checked_sub(1)?).copied()
    }

    fn next(&mut self, kind: i32, flags: u16, step: usize) -> &mut Message {
        self.message.next(NFT | kind as u16, flags, &FIXED);
        self.steps.push(step);
        self.message.set_sequence(self.steps.len() as u32);
        &mut self.message
    }
}

pub(super) fn batch(batch: &Batch) -> Encoded {
    let [high, low] = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    let edge = [libc::AF_UNSPEC as u8, 0, high, low];
    let begin = Message::new(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &edge);
    let mut out = Encoded { message: begin, steps: Vec::new() };
    for (number, step) in batch.steps.iter().enumerate() {
        encode_step(&mut out, &batch.table, number, step);
    }
    // Older kernels acknowledge no batch edge, so the last true message carries the wish.
    out.message.add_flags(ACK);
    out.message.next(libc::NFNL_MSG_BATCH_END as u16, 0, &edge);
    out
}

fn encode_step(out: &mut Encoded, table: &str, number: usize, step: &Step) {
    match step {
        Step::AddTable => out.next(libc::NFT_MSG_NEWTABLE, CREATE, number).put_text(1, table),
        Step::DeleteTable => out.next(libc::NFT_MSG_DELTABLE, 0, number).put_text(1, table),
        Step::AddChain { name, base } => {
            let m = out.next(libc::NFT_MSG_NEWCHAIN, CREATE, number);
            m.put_text(1, table);
            m.put_text(3, name);
            if let Some(base) = base {
                base_chain(m, base);
            }
        }
        Step::DeleteChain { name } => {
            let m = out.next(libc::NFT_MSG_DELCHAIN, 0, number);
            m.put_text(1, table);
            m.put_text(3, name);
        }
        Step::FlushChain { name } => {
            let m = out.next(libc::NFT_MSG_DELRULE, 0, number);
            m.put_text(1, table);
            m.put_text(2, name);
        }
        Step::AddRule { chain, rule } => {
            let m = out.next(libc::NFT_MSG_NEWRULE, CREATE | APPEND, number);
            m.put_text(1, table);
            m.put_text(2, chain);
            m.nest(4, |m| rule.iter().for_each(|e| expression(m, e)));
        }
        Step::AddMarkedRule { chain, rule, mark, before } => {
            let append = if before.is_none() { APPEND } else { 0 };
            let m = out.next(libc::NFT_MSG_NEWRULE, CREATE | append, number);
            m.put_text(1, table);
            m.put_text(2, chain);
            m.nest(4, |m| rule.iter().for_each(|e| expression(m, e)));
            if let Some(handle) = before {
                m.put_be64(6, *handle);
            }
            m.put(7, &comment(mark));
        }
        Step::DeleteRule { chain, handle } => {
            let m = out.next(libc::NFT_MSG_DELRULE, 0, number);
            m.put_text(1, table);
            m.put_text(2, chain);
            m.put_be64(3, *handle);
        }
        Step::AddSet(set) => {
            let m = out.next(libc::NFT_MSG_NEWSET, CREATE, number);
            m.put_text(1, table);
            add_set(m, set, number as u32 + 1);
        }
        Step::DeleteSet { name } => {
            let m = out.next(libc::NFT_MSG_DELSET, 0, number);
            m.put_text(1, table);
            m.put_text(2, name);
        }
        Step::AddElements { set, elements: all } => {
            elements(out, table, set, all, (libc::NFT_MSG_NEWSETELEM, CREATE), number);
        }
        Step::DeleteElements { set, elements: all } => {
            elements(out, table, set, all, (libc::NFT_MSG_DELSETELEM, 0), number);
        }
    }
}

/// A comment as `nft` and `iptables` list it: of a rule's user data the field of type 0.
fn comment(text: &str) -> Vec<u8> {
    [&[0, text.len() as u8 + 1], text.as_bytes(), &[0]].concat()
}

fn base_chain(m: &mut Message, base: &Base) {
    let hook = match base.hook {
        Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
        Hook::Input => libc::NF_INET_LOCAL_IN,
        Hook::Forward => libc::NF_INET_FORWARD,
        Hook::Output => libc::NF_INET_LOCAL_OUT,
        Hook::Postrouting => libc::NF_INET_POST_ROUTING,
    };
    m.nest(4, |m| {
        m.put_be32(1, hook as u32);
        m.put_be32(2, base.priority as u32);
    });
    m.put_be32(5, libc::NF_ACCEPT as u32);
    m.put_text(7, if base.work == Work::Nat { "nat" } else { "filter" });
}

/// The number of a concatenation's type: six bits for each field.
fn row_type(fields: &[FieldType]) -> u32 {
    fields.iter().fold(0, |sum, field| sum << 6 | field.number())
}

fn add_set(m: &mut Message, set: &Set, id: u32) {
    let mut flags = 0;
    m.put_text(2, &set.name);
    m.put_be32(4, row_type(&set.key));
    m.put_be32(5, 4 * set.key.len() as u32);
    match &set.data {
        DataType::None => {}
        DataType::Row(fields) => {
            flags |= libc::NFT_SET_MAP;
            m.put_be32(6, row_type(fields));
            m.put_be32(7, 4 * fields.len() as u32);
        }
        DataType::Verdict => {
            flags |= libc::NFT_SET_MAP;
            m.put_be32(6, VERDICT_TYPE);
            m.put_be32(7, 16);
        }
    }
    if let Lifetime::Expiring { timeout_ms, limit } = set.lifetime {
        flags |= libc::NFT_SET_TIMEOUT | libc::NFT_SET_EVAL;
        m.nest(9, |m| m.put_be32(1, limit));
        m.put_be64(11, timeout_ms);
    }
    m.put_be32(3, flags as u32);
    m.put_be32(10, id);
    m.put(13, &byte_orders(set));
}

/// The byte order of key and data, for `nft list` alone: two fields of nft's user data, each with
/// type, length and value.
fn byte_orders(set: &Set) -> Vec<u8> {
    let data = if let DataType::Row(fields) = &set.data { &fields[..] } else { &[] };
    let mut orders = Vec::new();
    for (kind, fields) in [(0, &set.key[..]), (1, data)] {
        let order = |field: &FieldType| (1 + u32::from(field.is_big_endian())).to_ne_bytes();
        let first = fields.first().map(|field| [&[kind, 4], &order(field)[..]].concat());
        orders.extend(first.into_iter().flatten());
    }
    orders
}

/// Elements, in as many messages as they need.
fn elements(
    out: &mut Encoded,
    table: &str,
    set: &str,
    all: &[Element],
    (kind, flags): (i32, u16),
    number: usize,
) {
    let mut rest = all;
    while !rest.is_empty() {
        let m = out.next(kind, flags, number);
        m.put_text(1, table);
        m.put_text(2, set);
        let end = m.len() + ELEMENT_BYTES;
        m.nest(3, |m| {
            while let Some((first, others)) = rest.split_first()
                && m.len() < end
            {
                m.nest(1, |m| element(m, first));
                rest = others;
            }
        });
    }
}

fn element(m: &mut Message, element: &Element) {
    m.nest(1, |m| m.put(1, &row(&element.key)));
    match &element.data {
        Data::None => {}
        Data::Row(data) => m.nest(2, |m| m.put(1, &row(data))),
        Data::Verdict(v) => m.nest(2, |m| verdict(m, v)),
    }
    if let Some(expires_ms) = element.expires_ms {
        m.put_be64(5, expires_ms);
    }
}

fn row(row: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * row.len());
    row.iter().for_each(|field| field.put(&mut bytes));
    bytes
}

fn verdict(m: &mut Message, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Return => (libc::NFT_RETURN, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
    };
    m.nest(2, |m| {
        m.put_be32(1, code as u32);
        if let Some(chain) = chain {
            m.put_text(2, chain);
        }
    });
}

fn named(m: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    m.nest(1, |m| {
        m.put_text(1, name);
        m.nest(2, fill);
    });
}

fn register(m: &mut Message, attribute: u16, register: Register) {
    m.put_be32(attribute, register + REGISTERS);
}

fn value(m: &mut Message, attribute: u16, bytes: &[u8]) {
    m.nest(attribute, |m| m.put(1, bytes));
}

fn inverted(when: When) -> u32 {
    u32::from(when == When::Different)
}

fn expression(m: &mut Message, expression: &Expression) {
    match expression {
        Expression::Load { .. }
        | Expression::LoadMeta { .. }
        | Expression::LoadTrack { .. }
        | Expression::LoadSort { .. }
        | Expression::LoadWayBack { .. }
        | Expression::Put { .. }
        | Expression::Random { .. } => load(m, expression),
        Expression::Bits { .. } | Expression::Compare { .. } => compare(m, expression),
        Expression::Contains { .. }
        | Expression::Map { .. }
        | Expression::VerdictMap { .. }
        | Expression::Remember { .. }
        | Expression::Forget { .. } => look_up(m, expression),
        Expression::SetMeta { .. }
        | Expression::TranslateTo { .. }
        | Expression::Masquerade
        | Expression::Refuse(_)
        | Expression::End(_) => act(m, expression),
    }
}

fn meta_key(meta: Meta) -> u32 {
    let key = match meta {
        Meta::Mark => libc::NFT_META_MARK,
        Meta::Priority => libc::NFT_META_PRIORITY,
        Meta::InputIndex => libc::NFT_META_IIF,
        Meta::InputGroup => libc::NFT_META_IIFGROUP,
        Meta::Protocol => libc::NFT_META_L4PROTO,
    };
    key as u32
}

fn load(m: &mut Message, expression: &Expression) {
    match expression {
        Expression::Load { header, offset, length, into } => named(m, "payload", |m| {
            register(m, 1, *into);
            let base = match header {
                Header::Network => libc::NFT_PAYLOAD_NETWORK_HEADER,
                Header::Transport => libc::NFT_PAYLOAD_TRANSPORT_HEADER,
            };
            m.put_be32(2, base as u32);
            m.put_be32(3, *offset);
            m.put_be32(4, *length);
        }),
        Expression::LoadMeta { meta, into } => named(m, "meta", |m| {
            register(m, 1, *into);
            m.put_be32(2, meta_key(*meta));
        }),
        Expression::LoadTrack { track, into } => named(m, "ct", |m| {
            register(m, 1, *into);
            let key = match track {
                Track::State => libc::NFT_CT_STATE,
                Track::Status => libc::NFT_CT_STATUS,
            };
            m.put_be32(2, key as u32);
        }),
        Expression::LoadSort { side, into } => named(m, "fib", |m| {
            // NFT_FIB_RESULT_ADDRTYPE, by source (1) or destination (2) address.
            register(m, 1, *into);
            m.put_be32(2, 3);
            m.put_be32(3, if *side == Side::Source { 1 } else { 2 });
        }),
        Expression::LoadWayBack { into } => named(m, "fib", |m| {
            // NFT_FIB_RESULT_OIF, by source address (1) and the link of arrival (8).
            register(m, 1, *into);
            m.put_be32(2, 1);
            m.put_be32(3, 1 | 8);
        }),
        Expression::Put { field, into } => named(m, "immediate", |m| {
            register(m, 1, *into);
            value(m, 2, &row(&[*field]));
        }),
        Expression::Random { below, into } => named(m, "numgen", |m| {
            register(m, 1, *into);
            m.put_be32(2, *below);
            m.put_be32(3, libc::NFT_NG_RANDOM as u32);
        }),
        _ => unreachable!("only expressions that load are passed here"),
    }
}

fn compare(m: &mut Message, expression: &Expression) {
    match expression {
        Expression::Bits { register: both, mask, xor } => named(m, "bitwise", |m| {
            register(m, 1, *both);
            register(m, 2, *both);
            m.put_be32(3, mask.len() as u32);
            value(m, 4, mask);
            value(m, 5, xor);
        }),
        Expression::Compare { register: left, when, with } => named(m, "cmp", |m| {
            register(m, 1, *left);
            m.put_be32(2, inverted(*when));
            value(m, 3, with);
        }),
        _ => unreachable!("only expressions that compare are passed here"),
    }
}

fn look_up(m: &mut Message, expression: &Expression) {
    match expression {
        Expression::Contains { set, key, when } => named(m, "lookup", |m| {
            m.put_text(1, set);
            register(m, 2, *key);
            m.put_be32(5, inverted(*when));
        }),
        Expression::Map { map, key, into } => named(m, "lookup", |m| {
            m.put_text(1, map);
            register(m, 2, *key);
            register(m, 3, *into);
        }),
        Expression::VerdictMap { map, key } => named(m, "lookup", |m| {
            m.put_text(1, map);
            register(m, 2, *key);
            m.put_be32(3, VERDICT_REGISTER);
        }),
        Expression::Remember { map, key, data, timeout_ms } => named(m, "dynset", |m| {
            m.put_text(1, map);
            m.put_be32(3, libc::NFT_DYNSET_OP_UPDATE as u32);
            register(m, 4, *key);
            register(m, 5, *data);
            m.put_be64(6, *timeout_ms);
        }),
        Expression::Forget { map, key, data } => named(m, "dynset", |m| {
            m.put_text(1, map);
            m.put_be32(3, 2); // NFT_DYNSET_OP_DELETE
            register(m, 4, *key);
            register(m, 5, *data);
        }),
        _ => unreachable!("only expressions that look up are passed here"),
    }
}

fn act(m: &mut Message, expression: &Expression) {
    match expression {
        Expression::SetMeta { meta, from } => named(m, "meta", |m| {
            m.put_be32(2, meta_key(*meta));
            register(m, 3, *from);
        }),
        Expression::TranslateTo { address, port } => named(m, "nat", |m| {
            m.put_be32(1, libc::NFT_NAT_DNAT as u32);
            m.put_be32(2, libc::NFPROTO_IPV4 as u32);
            register(m, 3, *address);
            register(m, 5, *port);
        }),
        Expression::Masquerade => named(m, "masq", |m| {
            // NF_NAT_RANGE_PROTO_RANDOM_FULLY: two nodes' flows meet on one port less often.
            m.put_be32(1, 1 << 4);
        }),
        Expression::Refuse(refusal) => named(m, "reject", |m| match refusal {
            Refusal::TcpReset => m.put_be32(1, libc::NFT_REJECT_TCP_RST as u32),
            Refusal::PortUnreachable => {
                // ICMP destination unreachable, code 3 (RFC 792).
                m.put_be32(1, libc::NFT_REJECT_ICMP_UNREACH as u32);
                m.put_u8(2, 3);
            }
        }),
        Expression::End(v) => named(m, "immediate", |m| {
            m.put_be32(1, VERDICT_REGISTER);
            m.nest(2, |m| verdict(m, v));
        }),
        _ => unreachable!("only expressions that act are passed here"),
    }
}
