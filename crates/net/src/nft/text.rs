//! Batches as text: what tests compare and what an error shows. Close to the words of `nft`, but
//! registers are shown, because rules here do what that language cannot say.

use std::fmt;

use super::batch::{Batch, Hook, Step, Work};
use super::expression::{Expression, Header, Meta, Refusal, Side, Track, When};
use super::value::{Data, DataType, Element, FieldType, Lifetime, Set, Verdict};

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::AddTable => f.write_str("add table"),
            Step::DeleteTable => f.write_str("delete table"),
            Step::AddChain { name, base: None } => write!(f, "add chain {name}"),
            Step::AddChain { name, base: Some(base) } => {
                let work = if base.work == Work::Nat { "nat" } else { "filter" };
                let hook = match base.hook {
                    Hook::Prerouting => "prerouting",
                    Hook::Input => "input",
                    Hook::Forward => "forward",
                    Hook::Output => "output",
                    Hook::Postrouting => "postrouting",
                };
                write!(f, "add chain {name}: {work} hook {hook} priority {}", base.priority)
            }
            Step::DeleteChain { name } => write!(f, "delete chain {name}"),
            Step::FlushChain { name } => write!(f, "flush chain {name}"),
            Step::AddRule { chain, rule } => {
                let rule: Vec<_> = rule.iter().map(|e| e.to_string()).collect();
                write!(f, "add rule {chain}: {}", rule.join(", "))
            }
            Step::AddMarkedRule { chain, rule, mark, .. } => {
                let rule: Vec<_> = rule.iter().map(|e| e.to_string()).collect();
                write!(f, "add rule {chain}: {} # {mark}", rule.join(", "))
            }
            Step::DeleteRule { chain, handle } => write!(f, "delete rule {chain}: {handle}"),
            Step::AddSet(set) => write!(f, "add {set}"),
            Step::DeleteSet { name } => write!(f, "delete set {name}"),
            Step::AddElements { set, elements } => lines(f, "add", set, elements),
            Step::DeleteElements { set, elements } => lines(f, "delete", set, elements),
        }
    }
}

fn lines(f: &mut fmt::Formatter<'_>, verb: &str, set: &str, elements: &[Element]) -> fmt::Result {
    for (i, element) in elements.iter().enumerate() {
        let end = if i == 0 { "" } else { "\n" };
        write!(f, "{end}{verb} element {set}: {element}")?;
    }
    Ok(())
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = |fields: &[FieldType]| {
            let names: Vec<_> = fields.iter().map(|t| format!("{t:?}").to_lowercase()).collect();
            names.join(" . ")
        };
        match &self.data {
            DataType::None => write!(f, "set {}: {}", self.name, types(&self.key))?,
            DataType::Row(data) => {
                write!(f, "map {}: {} -> {}", self.name, types(&self.key), types(data))?;
            }
            DataType::Verdict => write!(f, "map {}: {} -> verdict", self.name, types(&self.key))?,
        }
        match self.lifetime {
            Lifetime::Lasting => Ok(()),
            Lifetime::Expiring { timeout_ms, limit } => {
                write!(f, ", timeout {timeout_ms}ms, limit {limit}")
            }
        }
    }
}

fn join(row: &[super::value::Field]) -> String {
    row.iter().map(|field| field.to_string()).collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(&self.key))?;
        match &self.data {
            Data::None => Ok(()),
            Data::Row(data) => write!(f, " -> {}", join(data)),
            Data::Verdict(verdict) => write!(f, " -> {verdict}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Drop => f.write_str("drop"),
            Verdict::Accept => f.write_str("accept"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Load { header, offset, length, into } => match (header, offset, length) {
                (Header::Network, 12, 4) => write!(f, "r{into} = saddr"),
                (Header::Network, 16, 4) => write!(f, "r{into} = daddr"),
                (Header::Transport, 2, 2) => write!(f, "r{into} = dport"),
                _ => write!(f, "r{into} = {header:?} {offset}+{length}"),
            },
            Expression::LoadMeta { meta, into } => {
                write!(f, "r{into} = {}", meta_name(*meta))
            }
            Expression::LoadTrack { track: Track::State, into } => write!(f, "r{into} = ct state"),
            Expression::LoadTrack { track: Track::Status, into } => {
                write!(f, "r{into} = ct status")
            }
            Expression::LoadSort { side: Side::Source, into } => write!(f, "r{into} = saddr type"),
            Expression::LoadSort { side: Side::Destination, into } => {
                write!(f, "r{into} = daddr type")
            }
            Expression::LoadWayBack { into } => write!(f, "r{into} = way back"),
            Expression::Put { field, into } => write!(f, "r{into} = {field}"),
            Expression::Random { below, into } => write!(f, "r{into} = random {below}"),
            Expression::Bits { register, mask, xor } => {
                write!(f, "r{register} = r{register} & {mask:02x?} ^ {xor:02x?}")
            }
            Expression::Compare { register, when, with } => {
                write!(f, "r{register} {} {:02x?}", sign(*when), with)
            }
            Expression::Contains { set, key, when: When::Equal } => write!(f, "r{key} in {set}"),
            Expression::Contains { set, key, .. } => write!(f, "r{key} not in {set}"),
            Expression::Map { map, key, into } => write!(f, "r{into} = {map}[r{key}]"),
            Expression::VerdictMap { map, key } => write!(f, "{map}[r{key}]"),
            Expression::Remember { map, key, data, timeout_ms } => {
                write!(f, "{map}[r{key}] = r{data} for {timeout_ms}ms")
            }
            Expression::Forget { map, key, .. } => write!(f, "forget {map}[r{key}]"),
            Expression::SetMeta { meta, from } => write!(f, "{} = r{from}", meta_name(*meta)),
            Expression::TranslateTo { address, port } => write!(f, "dnat r{address}:r{port}"),
            Expression::Masquerade => f.write_str("masquerade"),
            Expression::Refuse(Refusal::TcpReset) => f.write_str("reject with tcp reset"),
            Expression::Refuse(Refusal::PortUnreachable) => {
                f.write_str("reject with port unreachable")
            }
            Expression::End(verdict) => verdict.fmt(f),
        }
    }
}

fn meta_name(meta: Meta) -> &'static str {
    match meta {
        Meta::Mark => "mark",
        Meta::Priority => "priority",
        Meta::InputIndex => "iif",
        Meta::InputGroup => "iifgroup",
        Meta::Protocol => "proto",
    }
}

fn sign(when: When) -> &'static str {
    match when {
        When::Equal => "==",
        When::Different => "!=",
    }
}
