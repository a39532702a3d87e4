//! The chains that pick one endpoint of a pool: one per distinct number of endpoints, whether
//! clients stick and for how long, and the map that names the pool.
//!
//! nftables draws a random number below a constant only, and remembers with a constant timeout
//! only: therefore a chain for each. Inside, the frontend is looked up again, because registers do
//! not outlive a rule.

use super::frame::{By, key};
use super::layout::Place;
use crate::nft::batch::Batch;
use crate::nft::expression::{Expression as E, When, source};
use crate::nft::value::{DataType, Field, FieldType, Lifetime, Row, Set, Verdict};

/// One timeout remembers at most so many clients, about 40 MB of the kernel's memory. Beyond it
/// new clients are spread as if they did not stick.
const REMEMBERED: u32 = 1 << 18;

/// Which map names the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Scope {
    Everyone = 0,
    Outside = 1,
}

/// What distinguishes the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Class {
    pub scope: Scope,
    /// 0: clients do not stick.
    pub timeout_s: u32,
    pub count: u32,
}

impl Class {
    pub(super) fn row(self) -> Row {
        [self.scope as u32, self.timeout_s, self.count].map(Field::Number).to_vec()
    }

    pub(super) fn from_row(row: &Row) -> Option<Class> {
        let [Field::Number(scope), Field::Number(timeout_s), Field::Number(count)] = row[..] else {
            return None;
        };
        let scope = [Scope::Everyone, Scope::Outside].into_iter().find(|s| *s as u32 == scope)?;
        Some(Class { scope, timeout_s, count })
    }

    pub(super) fn chain(self) -> String {
        let scope = match self.scope {
            Scope::Everyone => "pick",
            Scope::Outside => "outside",
        };
        match self.timeout_s {
            0 => format!("{scope}-{}", self.count),
            timeout_s => format!("{scope}-{}-{timeout_s}s", self.count),
        }
    }

    fn map(self) -> Place {
        match self.scope {
            Scope::Everyone => Place::Ids,
            Scope::Outside => Place::Outside,
        }
    }
}

/// Remembers where clients went, for one timeout: client and pool to endpoint.
pub(super) fn memory(timeout_s: u32) -> Set {
    Set {
        name: format!("clients-{timeout_s}s"),
        key: vec![FieldType::Address, FieldType::Number],
        data: DataType::Row(vec![FieldType::Address, FieldType::Port]),
        lifetime: Lifetime::Expiring { timeout_ms: u64::from(timeout_s) * 1000, limit: REMEMBERED },
    }
}

/// Writes the chain of a class. The memory of its timeout has to be there.
pub(super) fn write(batch: &mut Batch, class: Class) {
    let chain = class.chain();
    batch.chain(chain.clone());
    if class.count == 0 {
        // Traffic that may reach this node's endpoints only, of which there are none.
        batch.rule(&chain, [E::End(Verdict::Drop)]);
        return;
    }
    for by in [By::Address, By::NodePort] {
        if class.timeout_s > 0 {
            batch.rule(&chain, again(class, by));
            batch.rule(&chain, first(class, by));
        }
        batch.rule(&chain, any(class, by));
    }
}

/// The pool's number into register 4, the frontend's key before it.
fn pool(class: Class, by: By) -> impl Iterator<Item = E> {
    let find = E::Map { map: class.map().name().to_string(), key: 0, into: 4 };
    key(by, 0).into_iter().chain([find])
}

/// Any endpoint of the pool.
fn any(class: Class, by: By) -> Vec<E> {
    let slots = Place::Slots.name().to_string();
    let mut rule: Vec<E> = pool(class, by).collect();
    rule.extend([
        E::Random { below: class.count, into: 5 },
        E::Map { map: slots, key: 4, into: 6 },
        E::TranslateTo { address: 6, port: 7 },
    ]);
    rule
}

/// The client's last endpoint, if it is remembered and still there; the memory is renewed.
fn again(class: Class, by: By) -> Vec<E> {
    let memory = memory(class.timeout_s).name;
    let timeout_ms = u64::from(class.timeout_s) * 1000;
    let mut rule: Vec<E> = pool(class, by).collect();
    rule.extend([
        source(3),
        E::Map { map: memory.clone(), key: 3, into: 5 },
        E::Contains { set: Place::Live.name().to_string(), key: 4, when: When::Equal },
        E::Remember { map: memory, key: 3, data: 5, timeout_ms },
        E::TranslateTo { address: 5, port: 6 },
    ]);
    rule
}

/// Any endpoint, remembered. What was remembered before leads to one that is gone, and an update
/// alone would keep it.
fn first(class: Class, by: By) -> Vec<E> {
    let memory = memory(class.timeout_s).name;
    let timeout_ms = u64::from(class.timeout_s) * 1000;
    let mut rule: Vec<E> = pool(class, by).collect();
    rule.extend([
        source(3),
        E::Random { below: class.count, into: 5 },
        E::Map { map: Place::Slots.name().to_string(), key: 4, into: 6 },
        E::Forget { map: memory.clone(), key: 3, data: 6 },
        E::Remember { map: memory, key: 3, data: 6, timeout_ms },
        E::TranslateTo { address: 6, port: 7 },
    ]);
    rule
}
