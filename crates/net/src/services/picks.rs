//! The chains that pick one endpoint of a pool: one per distinct number of endpoints and of time
//! that clients stick.
//!
//! nftables draws a random number below a constant only, and remembers with a constant timeout
//! only: therefore a chain for each. Which pool it is stands in the packet's priority; in a pool
//! whose clients stick the number of the endpoint takes its place beside the pool's.

use super::frame::{load_pool, look_up};
use super::layout::Place;
use crate::nft::batch::Batch;
use crate::nft::expression::{Expression as E, Meta, Register, source};
use crate::nft::value::{DataType, Field, FieldType, Lifetime, Row, Set, Verdict};

/// One timeout remembers at most so many clients, about 40 MB of the kernel's memory. Beyond it
/// new clients are spread as if they did not stick.
const REMEMBERED: u32 = 1 << 18;

/// What distinguishes the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    /// 0: clients do not stick.
    pub timeout_s: u32,
    pub count: u32,
}

impl Class {
    pub(super) fn row(self) -> Row {
        [self.timeout_s, self.count].map(Field::Number).to_vec()
    }

    pub(super) fn from_row(row: &Row) -> Option<Class> {
        let [Field::Number(timeout_s), Field::Number(count)] = row[..] else { return None };
        Some(Class { timeout_s, count })
    }

    pub(super) fn chain(self) -> String {
        match self.timeout_s {
            0 => format!("pick-{}", self.count),
            timeout_s => format!("pick-{}-{timeout_s}s", self.count),
        }
    }
}

/// Remembers where clients went, for one timeout: client and pool to endpoint.
pub(super) fn memory(timeout_s: u32) -> Set {
    Set {
        name: format!("clients-{timeout_s}s"),
        key: vec![FieldType::Address, FieldType::Pair],
        data: DataType::Row(vec![FieldType::Pair]),
        lifetime: Lifetime::Expiring { timeout_ms: u64::from(timeout_s) * 1000, limit: REMEMBERED },
    }
}

/// Writes the chain of a class. The memory of its timeout has to be there.
pub(super) fn write(batch: &mut Batch, class: Class) {
    let chain = class.chain();
    batch.chain(chain.clone());
    match class {
        // Traffic that may reach this node's endpoints only, of which there are none.
        Class { count: 0, .. } => batch.rule(&chain, [E::End(Verdict::Drop)]),
        Class { timeout_s: 0, .. } => batch.rule(&chain, any(class)),
        _ => {
            batch.rule(&chain, again(class));
            batch.rule(&chain, first(class));
            // Where no more clients can be remembered.
            batch.rule(&chain, [load_priority(0)].into_iter().chain(translate(0)));
        }
    }
}

/// Any endpoint of the pool.
fn any(class: Class) -> Vec<E> {
    let mut rule = load_pool(0).to_vec();
    rule.extend([
        E::Random { below: class.count, into: 1 },
        look_up(Place::Slots, 0, 2),
        E::TranslateTo { address: 2, port: 3 },
    ]);
    rule
}

fn load_priority(into: Register) -> E {
    E::LoadMeta { meta: Meta::Priority, into }
}

/// To the endpoint whose number is in the register.
fn translate(endpoint: Register) -> [E; 2] {
    let (address, port) = (endpoint + 1, endpoint + 2);
    [look_up(Place::Endpoints, endpoint, address), E::TranslateTo { address, port }]
}

/// Client and pool, by which it is remembered, into the first two registers.
fn client() -> impl Iterator<Item = E> {
    [source(0)].into_iter().chain(load_pool(1))
}

/// The client's last endpoint; the memory is renewed. If the endpoint is gone, the next rule draws.
fn again(class: Class) -> Vec<E> {
    let Set { name: map, .. } = memory(class.timeout_s);
    let timeout_ms = u64::from(class.timeout_s) * 1000;
    let mut rule: Vec<E> = client().collect();
    rule.extend([
        E::Map { map: map.clone(), key: 0, into: 2 },
        E::SetMeta { meta: Meta::Priority, from: 2 },
        load_priority(2),
        E::Remember { map, key: 0, data: 2, timeout_ms },
    ]);
    rule.extend(translate(2));
    rule
}

/// Any endpoint, remembered. What was remembered before leads to one that is gone, and an update
/// alone would keep it.
fn first(class: Class) -> Vec<E> {
    let Set { name: map, .. } = memory(class.timeout_s);
    let timeout_ms = u64::from(class.timeout_s) * 1000;
    let mut rule: Vec<E> = client().collect();
    rule.extend([
        E::Random { below: class.count, into: 2 },
        look_up(Place::StickySlots, 1, 3),
        E::SetMeta { meta: Meta::Priority, from: 3 },
        load_priority(3),
        E::Forget { map: map.clone(), key: 0, data: 3 },
        E::Remember { map, key: 0, data: 3, timeout_ms },
    ]);
    rule.extend(translate(3));
    rule
}
