//! What shall stand in the service table, and what a change of services changes in it. Pure.
//!
//! Each service port *wants* elements in places. A change compares what it wanted with what it
//! wants now. A place can be wanted twice (two services with one external address; two ports of
//! one service share the cluster address): the first by name holds it, the others wait.
//!
//! Invariants: slots of a pool are 0 to count-1 without a gap; a pool's number is never given to
//! another; an element is sent only if it differs from what the kernel holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::picks::{Class, Scope};
use super::{Affinity, Change, Endpoint, Locality, ServicePort, TrafficPolicy};
use crate::nft::value::{Data, Field, Row, Verdict};

pub(super) type Name = Arc<str>;
type Slot = (Ipv4Addr, u16);

/// The sets and maps of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// Frontend to pool.
    Ids,
    /// Frontend to pool, for packets from outside the cluster.
    Outside,
    /// Pool to class.
    Classes,
    /// Class to chain.
    Picks,
    /// Pool and slot to endpoint.
    Slots,
    /// Endpoints of pools whose clients stick.
    Live,
    /// Frontends whose packets are masqueraded.
    Masquerade,
    /// Frontends whose packets are masqueraded if the node itself sends them.
    MasqueradeOwn,
    /// Frontends without endpoints.
    Refuse,
    /// Cluster addresses.
    Addresses,
    /// Endpoints of this node, as source and destination of one packet.
    Hairpin,
    /// No set of the kernel's: each timeout in use has a set of its own.
    Timeouts,
}

impl Place {
    /// Those that are sets or maps.
    pub(super) const SETS: [Place; 11] = [
        Place::Ids,
        Place::Outside,
        Place::Classes,
        Place::Picks,
        Place::Slots,
        Place::Live,
        Place::Masquerade,
        Place::MasqueradeOwn,
        Place::Refuse,
        Place::Addresses,
        Place::Hairpin,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Place::Ids => "ids",
            Place::Outside => "outside",
            Place::Classes => "classes",
            Place::Picks => "picks",
            Place::Slots => "slots",
            Place::Live => "live",
            Place::Masquerade => "masquerade",
            Place::MasqueradeOwn => "masquerade-own",
            Place::Refuse => "refuse-frontends",
            Place::Addresses => "addresses",
            Place::Hairpin => "hairpin",
            Place::Timeouts => "timeouts",
        }
    }

    /// Whether two services can want the same key.
    fn is_shared(self) -> bool {
        !matches!(self, Place::Classes | Place::Slots | Place::Live)
    }
}

/// One key in one place.
pub(super) type Spot = (Place, Row);

/// Keys that differ: what they led to, and what they shall lead to.
pub(super) type Delta = BTreeMap<Spot, (Option<Data>, Option<Data>)>;

/// Endpoints under one number.
#[derive(Clone, Debug)]
struct Pool {
    id: u32,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Applied {
    port: Arc<ServicePort>,
    all: Option<Pool>,
    local: Option<Pool>,
    outside: Option<Pool>,
}

/// All that stands.
#[derive(Debug, Default)]
pub(super) struct Layout {
    services: BTreeMap<Name, Applied>,
    claims: BTreeMap<Spot, Vec<(Name, Data)>>,
    next_id: u32,
    pub(super) slots: usize,
}

/// A frontend: who asks for this address and port gets an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frontend {
    /// 0.0.0.0: every address of the node (a node port).
    pub address: Ipv4Addr,
    pub port: u16,
    pub reach: Reach,
}

/// Who a frontend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Internal,
    External,
}

/// All frontends of a service port.
pub(super) fn frontends(port: &ServicePort) -> impl Iterator<Item = Frontend> + '_ {
    let internal = port.cluster_ip.map(|address| Frontend {
        address,
        port: port.port,
        reach: Reach::Internal,
    });
    let node_port = port.node_port.map(|number| Frontend {
        address: Ipv4Addr::UNSPECIFIED,
        port: number,
        reach: Reach::External,
    });
    let external = port.external_ips.iter().map(|address| Frontend {
        address: *address,
        port: port.port,
        reach: Reach::External,
    });
    internal.into_iter().chain(node_port).chain(external)
}

impl Layout {
    /// The services as they stand, for a table that has to be written anew.
    pub(super) fn services(&self) -> Vec<Change> {
        self.services.iter().map(|(n, a)| (n.clone(), Some(a.port.clone()))).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<ServicePort>> {
        self.services.get(name).map(|applied| &applied.port)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.services.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.services.len()
    }

    /// The pool that a frontend leads to, for whom it is not outside.
    pub(super) fn pool_of(&self, frontend: &Row) -> Option<u32> {
        match self.claims.get(&(Place::Ids, frontend.clone()))?.first()?.1 {
            Data::Row(ref row) => match row[..] {
                [Field::Number(id)] => Some(id),
                _ => None,
            },
            _ => None,
        }
    }

    /// The timeouts that some service has.
    pub(super) fn timeouts(&self) -> impl Iterator<Item = u32> + '_ {
        let from = (Place::Timeouts, Row::new());
        let spots =
            self.claims.range(from..).take_while(|((place, _), _)| *place == Place::Timeouts);
        spots.filter_map(|((_, row), _)| match row[..] {
            [Field::Number(timeout_s)] => Some(timeout_s),
            _ => None,
        })
    }

    /// Takes changes in; what differs in the table is returned.
    pub(super) fn change(&mut self, changes: &[Change]) -> Delta {
        let mut delta = Delta::new();
        for (name, port) in changes {
            let old = self.services.remove(name);
            if let (Some(old), Some(new)) = (&old, port)
                && (Arc::ptr_eq(&old.port, new) || old.port == *new)
            {
                self.services.extend([(name.clone(), old.clone())]);
                continue;
            }
            let before = old.as_ref().map_or_else(Wants::new, wants);
            self.slots -= old.as_ref().map_or(0, Applied::slots);
            let new = port.as_ref().map(|port| self.place(old, port));
            self.slots += new.as_ref().map_or(0, Applied::slots);
            let after = new.as_ref().map_or_else(Wants::new, wants);
            self.services.extend(new.map(|new| (name.clone(), new)));
            self.replace(name, before, after, &mut delta);
        }
        for (spot, (_, after)) in &mut delta {
            if spot.0.is_shared() {
                *after = self.holder(spot);
            }
        }
        delta.retain(|_, (before, after)| before != after);
        delta
    }

    /// Gives the endpoints of a service port their slots, keeping those that have one.
    fn place(&mut self, old: Option<Applied>, port: &Arc<ServicePort>) -> Applied {
        let (all, local, outside) = match old {
            Some(old) => (old.all, old.local, old.outside),
            None => (None, None, None),
        };
        let everywhere: BTreeSet<Slot> = port.endpoints.iter().map(slot).collect();
        let here: BTreeSet<Slot> = port.endpoints.iter().filter(|e| is_here(e)).map(slot).collect();
        let any = !everywhere.is_empty();
        let has_external = frontends(port).any(|f| f.reach == Reach::External);
        let inside_local = port.internal_policy == TrafficPolicy::Local;
        let outside_local = port.external_policy == TrafficPolicy::Local && has_external;
        let need_all = any && (!inside_local || has_external);
        Applied {
            port: port.clone(),
            all: self.pool(all, need_all.then_some(&everywhere)),
            local: self.pool(local, (inside_local && !here.is_empty()).then_some(&here)),
            // Without an endpoint here it stays, empty: its packets are dropped, not sent away.
            outside: self.pool(outside, (outside_local && any).then_some(&here)),
        }
    }

    fn pool(&mut self, old: Option<Pool>, wanted: Option<&BTreeSet<Slot>>) -> Option<Pool> {
        let wanted = wanted?;
        let mut pool = old.unwrap_or_else(|| {
            self.next_id += 1;
            Pool { id: self.next_id, slots: Vec::new() }
        });
        fill(&mut pool.slots, wanted);
        Some(pool)
    }

    /// Numbers are never used twice; a table written anew starts from one.
    pub(super) fn is_worn_out(&self) -> bool {
        self.next_id > u32::MAX / 2
    }

    fn holder(&self, spot: &Spot) -> Option<Data> {
        self.claims.get(spot).and_then(|c| c.first()).map(|(_, data)| data.clone())
    }

    fn replace(&mut self, name: &Name, before: Wants, mut after: Wants, delta: &mut Delta) {
        for (spot, data) in before {
            let new = after.remove(&spot);
            if new.as_ref() != Some(&data) {
                self.set(name, spot, Some(data), new, delta);
            }
        }
        for (spot, data) in after {
            self.set(name, spot, None, Some(data), delta);
        }
    }

    fn set(
        &mut self,
        name: &Name,
        spot: Spot,
        before: Option<Data>,
        after: Option<Data>,
        delta: &mut Delta,
    ) {
        if !spot.0.is_shared() {
            delta.entry(spot).or_insert((before, None)).1 = after;
            return;
        }
        let holder = self.holder(&spot);
        delta.entry(spot.clone()).or_insert((holder, None));
        let claims = self.claims.entry(spot.clone()).or_default();
        claims.retain(|(claimant, _)| claimant != name);
        if let Some(data) = after {
            let at = claims.partition_point(|(claimant, _)| claimant < name);
            claims.insert(at, (name.clone(), data));
        }
        if claims.is_empty() {
            self.claims.remove(&spot);
        }
    }
}

fn slot(endpoint: &Endpoint) -> Slot {
    (endpoint.address, endpoint.port)
}

fn is_here(endpoint: &Endpoint) -> bool {
    endpoint.locality == Locality::ThisNode
}

/// Makes `slots` hold exactly `wanted`, moving as few as possible: a gap is filled by a newcomer,
/// else by the last one.
fn fill(slots: &mut Vec<Slot>, wanted: &BTreeSet<Slot>) {
    let have: BTreeSet<Slot> = slots.iter().copied().collect();
    let mut newcomers = wanted.difference(&have).copied();
    let mut at = 0;
    while at < slots.len() {
        if wanted.contains(&slots[at]) {
            at += 1;
        } else if let Some(newcomer) = newcomers.next() {
            slots[at] = newcomer;
            at += 1;
        } else {
            slots.swap_remove(at);
        }
    }
    slots.extend(newcomers);
}

type Wants = BTreeMap<Spot, Data>;

impl Applied {
    fn slots(&self) -> usize {
        [&self.all, &self.local, &self.outside].into_iter().flatten().map(|p| p.slots.len()).sum()
    }
}

/// All elements that a service port wants.
fn wants(applied: &Applied) -> Wants {
    let port = &*applied.port;
    let mut wants = Wants::new();
    for frontend in frontends(port) {
        frontend_wants(applied, frontend, &mut wants);
    }
    let timeout_s = match port.affinity {
        Affinity::None => 0,
        Affinity::ClientIp { timeout_s } => timeout_s,
    };
    for (pool, scope) in [
        (&applied.all, Scope::Everyone),
        (&applied.local, Scope::Everyone),
        (&applied.outside, Scope::Outside),
    ] {
        if let Some(pool) = pool {
            pool_wants(pool, scope, timeout_s, &mut wants);
        }
    }
    for endpoint in port.endpoints.iter().filter(|e| is_here(e)) {
        let twice = vec![endpoint.address.into(), endpoint.address.into()];
        wants.insert((Place::Hairpin, twice), Data::None);
    }
    if let Some(address) = port.cluster_ip {
        wants.insert((Place::Addresses, vec![address.into()]), Data::None);
    }
    wants
}

fn frontend_wants(applied: &Applied, frontend: Frontend, wants: &mut Wants) {
    let port = &*applied.port;
    let key = vec![frontend.address.into(), port.protocol.into(), frontend.port.into()];
    let mut want = |place, data| wants.insert((place, key.clone()), data);
    let to = |pool: &Pool| Data::Row(vec![Field::Number(pool.id)]);
    let refuse = || Data::Verdict(Verdict::Goto("refuse".to_string()));
    if port.endpoints.is_empty() {
        want(Place::Refuse, refuse());
        return;
    }
    let pool = match (frontend.reach, port.internal_policy) {
        (Reach::Internal, TrafficPolicy::Local) => &applied.local,
        _ => &applied.all,
    };
    match pool {
        Some(pool) => want(Place::Ids, to(pool)),
        // There are endpoints, but none that this traffic may reach.
        None => want(Place::Refuse, Data::Verdict(Verdict::Drop)),
    };
    if frontend.reach == Reach::External {
        match &applied.outside {
            Some(pool) => {
                want(Place::Outside, to(pool));
                want(Place::MasqueradeOwn, Data::None);
            }
            None => {
                want(Place::Masquerade, Data::None);
            }
        }
    }
}

fn pool_wants(pool: &Pool, scope: Scope, timeout_s: u32, wants: &mut Wants) {
    let count = pool.slots.len() as u32;
    // An empty pool drops; nobody sticks to it.
    let timeout_s = if count == 0 { 0 } else { timeout_s };
    let class = Class { scope, timeout_s, count };
    let id = Field::Number(pool.id);
    wants.insert((Place::Classes, vec![id]), Data::Row(class.row()));
    let chain = Data::Verdict(Verdict::Goto(class.chain()));
    wants.insert((Place::Picks, class.row()), chain);
    if timeout_s > 0 {
        wants.insert((Place::Timeouts, vec![timeout_s.into()]), Data::None);
    }
    for (number, (address, port)) in pool.slots.iter().enumerate() {
        let to = vec![(*address).into(), (*port).into()];
        if timeout_s > 0 {
            let live = vec![id, (*address).into(), (*port).into()];
            wants.insert((Place::Live, live), Data::None);
        }
        wants.insert((Place::Slots, vec![id, (number as u32).into()]), Data::Row(to));
    }
}
