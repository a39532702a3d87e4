//! What the machine itself listens on, which no service takes.
//!
//! The kernel tells of no socket that begins to listen, so it is asked whenever a service asks for a
//! port of the node. A port that was the machine's once stays so while this process lives: a program
//! that restarts loses its port to nobody. One that begins to listen after a service got the port
//! waits until the service gives it up.

use std::collections::BTreeSet;
use std::mem;

use crate::netlink::listeners;
use crate::netlink::socket::{Family, Socket};
use crate::nft::batch::Batch;
use crate::nft::value::{DataType, Element, FieldType, Lifetime, Row, Set};
use crate::{NetNs, Result};

/// More than listen on any machine. Beyond it, those that listen no more are forgotten.
const MOST: usize = 4096;
const NAME: &str = "machine";

/// Address (0.0.0.0: every one), protocol and port.
pub(super) fn set() -> Set {
    Set {
        name: NAME.to_string(),
        key: vec![FieldType::Address, FieldType::Protocol, FieldType::Port],
        data: DataType::None,
        lifetime: Lifetime::Lasting,
    }
}

/// What the set holds.
pub(super) struct Machine {
    sockets: Socket,
    known: BTreeSet<Row>,
}

impl Machine {
    pub(super) fn new(namespace: &NetNs) -> Result<Machine> {
        Ok(Machine { sockets: Socket::open(namespace, Family::Sockets)?, known: BTreeSet::new() })
    }

    /// Looks again, and adds what is new to the set.
    pub(super) fn look(&mut self, batch: &mut Batch) -> Result<()> {
        let found = self.listening()?;
        let mut now = &self.known | &found;
        if now.len() > MOST {
            now = found;
        }
        let before = mem::replace(&mut self.known, now);
        batch.delete(NAME, elements(before.difference(&self.known)));
        batch.add(NAME, elements(self.known.difference(&before)));
        Ok(())
    }

    /// Looks again, and fills an empty set.
    pub(super) fn whole(&mut self, batch: &mut Batch) -> Result<()> {
        let found = self.listening()?;
        self.known.extend(found);
        batch.add(NAME, elements(&self.known));
        Ok(())
    }

    fn listening(&mut self) -> Result<BTreeSet<Row>> {
        let all = listeners::all(&mut self.sockets)?;
        Ok(all.iter().map(|l| vec![l.address.into(), l.protocol.into(), l.port.into()]).collect())
    }
}

fn elements<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<Element> {
    rows.into_iter().cloned().map(Element::key).collect()
}
