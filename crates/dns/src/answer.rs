//! From a query to an answer, as far as the cluster itself knows it. Pure.
//!
//! A name is compared in lower case and answered as it was asked, so that clients may vary its case
//! to recognize forged answers. A name without records of the wanted type, and a name that is not
//! there, are answered with the zone's SOA, which says how long that may be believed (RFC 2308).

use crate::zone::{Data, Found, Zone};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// How long clients may keep an answer: endpoints come and go.
const TTL_S: u32 = 5;
/// The largest answer over UDP that passes everywhere without fragments.
pub const UDP_MOST: u16 = 1232;
/// What a client without EDNS takes (RFC 1035).
const UDP_OLD: usize = 512;
/// An alias may lead to another so many times.
const ALIASES_MOST: usize = 8;

/// What to do with a query.
#[derive(Debug)]
pub enum Outcome {
    Answer(Message),
    /// The name is not ours: somebody else must be asked.
    Forward,
    /// An alias out of the cluster: this name must be asked for, and its records added.
    Chase(Message, Name),
}

/// Answers a query from the zone; without one (not seen whole yet) the cluster's names fail.
pub fn answer(query: &Message, zone: Option<&Zone>) -> Outcome {
    let mut reply = reply_to(query);
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        reply.metadata.response_code = ResponseCode::BADVERS;
        return Outcome::Answer(reply);
    }
    if query.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return Outcome::Answer(reply);
    }
    let [asked] = &query.queries[..] else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return Outcome::Answer(reply);
    };
    if !matches!(asked.query_class(), DNSClass::IN | DNSClass::ANY) {
        reply.metadata.response_code = ResponseCode::Refused;
        return Outcome::Answer(reply);
    }
    let Some(zone) = zone else {
        reply.metadata.response_code = ResponseCode::ServFail;
        return Outcome::Answer(reply);
    };
    fill(reply, asked, zone)
}

/// An answer without records.
pub fn reply_to(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MOST).set_version(0);
        reply.set_edns(edns);
    }
    reply
}

/// The name as the zone has it.
pub fn key(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn fill(mut reply: Message, asked: &Query, zone: &Zone) -> Outcome {
    let mut owner = asked.name().clone();
    for step in 0..ALIASES_MOST {
        match zone.find(&key(&owner)) {
            Found::Elsewhere if step == 0 => return Outcome::Forward,
            Found::Elsewhere => return Outcome::Chase(reply, owner),
            Found::Missing => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                return Outcome::Answer(nothing(reply, zone));
            }
            Found::Records(data) => {
                return Outcome::Answer(records(reply, owner, asked, &data, zone));
            }
            Found::Alias(to) => {
                reply.metadata.authoritative = true;
                let Ok(to) = Name::from_ascii(format!("{to}.")) else { break };
                let alias = RData::CNAME(CNAME(to.clone()));
                reply.add_answer(Record::from_rdata(owner, TTL_S, alias));
                if !matches!(asked.query_type(), RecordType::A | RecordType::AAAA) {
                    return Outcome::Answer(reply);
                }
                owner = to;
            }
        }
    }
    reply.metadata.response_code = ResponseCode::ServFail;
    Outcome::Answer(reply)
}

fn records(mut reply: Message, owner: Name, asked: &Query, found: &[Data], zone: &Zone) -> Message {
    reply.metadata.authoritative = true;
    let own = key(&owner) == zone.domain();
    let mut targets = Vec::new();
    for data in found {
        let Some(rdata) = rdata(data, own) else { continue };
        if asked.query_type() != rdata.record_type() && asked.query_type() != RecordType::ANY {
            continue;
        }
        if let Data::Srv { target, .. } = data {
            targets.push(target);
        }
        reply.add_answer(Record::from_rdata(owner.clone(), TTL_S, rdata));
    }
    if own && asked.query_type() == RecordType::SOA {
        reply.answers.extend(soa(zone));
    }
    targets.sort();
    targets.dedup();
    for target in targets {
        let Found::Records(found) = zone.find(target) else { continue };
        let Ok(name) = Name::from_ascii(format!("{target}.")) else { continue };
        let addresses = found.iter().filter(|data| matches!(data, Data::Address(_)));
        for address in addresses.filter_map(|data| rdata(data, false)) {
            reply.add_additional(Record::from_rdata(name.clone(), TTL_S, address));
        }
    }
    if reply.answers.is_empty() { nothing(reply, zone) } else { reply }
}

/// There is nothing of that kind, and that may be believed for a while.
fn nothing(mut reply: Message, zone: &Zone) -> Message {
    reply.metadata.authoritative = true;
    reply.authorities.extend(soa(zone));
    reply
}

fn soa(zone: &Zone) -> Option<Record> {
    let name = |text: String| Name::from_ascii(text).ok();
    let domain = zone.domain();
    let (server, mail) =
        (name(format!("ns.dns.{domain}."))?, name(format!("hostmaster.{domain}."))?);
    // There is no other server to copy the zone, so its numbers mean nothing but the last.
    let soa = SOA::new(server, mail, 1, 7200, 1800, 86400, TTL_S);
    Some(Record::from_rdata(name(format!("{domain}."))?, TTL_S, RData::SOA(soa)))
}

/// `own` is the name of the zone itself, whose name record is that of its server.
fn rdata(data: &Data, own: bool) -> Option<RData> {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).ok();
    Some(match data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Srv { port, target } => RData::SRV(SRV::new(0, 100, *port, name(target)?)),
        Data::Name(target) if own => RData::NS(NS(name(target)?)),
        Data::Name(target) => RData::PTR(PTR(name(target)?)),
        Data::Text(text) => RData::TXT(TXT::new(vec![text.clone()])),
    })
}

/// How much of an answer this client takes over UDP.
pub fn room(query: &Message) -> usize {
    match &query.edns {
        Some(edns) => usize::from(edns.max_payload().min(UDP_MOST)).max(UDP_OLD),
        None => UDP_OLD,
    }
}

#[cfg(test)]
mod tests;
