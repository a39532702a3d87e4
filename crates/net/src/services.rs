//! Service tables: an address that nobody owns leads to one of several endpoints.
//!
//! A caller says what services there are; [`ServiceTable`] works out purely (`layout.rs`) which
//! elements of the kernel's maps differ, and sends those in one nftables transaction. The rules
//! that read the maps (`frame.rs`, `picks.rs`) do not change with services, so a change costs the
//! same among ten services and among ten thousand. After the commit, UDP flows that lead to an
//! endpoint that is gone are deleted (`stale.rs`).
//!
//! If the kernel refuses a change, because another program flushed the rules for instance, the
//! whole table is written anew in one transaction; who hears of such a flush calls
//! [`ServiceTable::restore`].
//!
//! An address belongs to somebody: a service to the older of two that name it, the ranges of pods
//! and services to those who have addresses there (`fit.rs`), and what the machine itself listens
//! on to the machine (`machine.rs`).
//!
//! Never here: the choice of endpoints (readiness, topology, termination), a partial table.

#[cfg(test)]
mod claims;
mod fit;
mod frame;
mod layout;
mod machine;
mod picks;
mod stale;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod traffic;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::layout::{Delta, Layout, Place};
use self::machine::Machine;
use self::picks::Class;
use self::stale::Suspects;
use crate::netlink::socket::{Family, Socket, unless_missing};
use crate::nft::batch::{Batch, Step};
use crate::nft::read;
use crate::nft::value::{Data, Element, Field, Verdict};
use crate::{NetNs, Protocol, Result};
use skiff_base::Cidr;

/// Where the tables stand and what they need to know of the node.
#[derive(Clone, Debug)]
pub struct ServiceTableConfig {
    /// The machine's namespace.
    pub namespace: NetNs,
    /// Name of the nftables table (`skiff-services`).
    pub table: String,
    /// The ranges of all pods: sources that a Local external policy treats as its own.
    pub cluster: Vec<Cidr>,
    /// The ranges of service addresses: packets to an address there that no service has are dropped.
    pub services: Vec<Cidr>,
    pub loopback_node_ports: LoopbackNodePorts,
}

/// Whether node ports answer on 127.0.0.1 too (from the node itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopbackNodePorts {
    Answer,
    Ignore,
}

/// One port of one service, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// When the service was made, in seconds: of two that want one thing the older one has it.
    pub since_s: i64,
    pub protocol: Protocol,
    /// `None` for a service without a cluster address (headless ones are not given at all).
    pub cluster_ip: Option<IpAddr>,
    pub port: u16,
    pub node_port: Option<u16>,
    /// External addresses and load balancer addresses, as plain addresses.
    pub external_ips: Vec<IpAddr>,
    pub affinity: Affinity,
    pub internal_policy: TrafficPolicy,
    pub external_policy: TrafficPolicy,
    /// Those that shall get connections now. Whether a terminating one that still serves belongs
    /// here is the caller's decision.
    pub endpoints: Vec<Endpoint>,
}

/// Which endpoint a client's next connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    None,
    /// The same as its last one, if that was less than `timeout_s` ago and is still there.
    ClientIp {
        timeout_s: u32,
    },
}

/// Which endpoints traffic may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    Cluster,
    /// Only those of this node.
    Local,
}

/// Where a connection can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    pub locality: Locality,
}

/// Whether an endpoint runs on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    ThisNode,
    OtherNode,
}

/// All service ports by name; `namespace/service:port` is usual, but any unique text will do.
pub type Desired = BTreeMap<Arc<str>, Arc<ServicePort>>;

/// One service port that is new or different (`Some`), or gone (`None`).
pub type Change = (Arc<str>, Option<Arc<ServicePort>>);

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    pub service_ports: usize,
    /// Endpoints, each counted once for every pool that it is in.
    pub slots: usize,
    pub commits: u64,
    /// Times that the whole table was written.
    pub rebuilds: u64,
    pub stale_flows_deleted: u64,
    /// How long the last commit took in the kernel.
    pub last_commit: Duration,
}

/// The service tables of one namespace.
pub struct ServiceTable {
    config: ServiceTableConfig,
    rules: Socket,
    routes: Socket,
    machine: Machine,
    layout: Layout,
    /// Whether the kernel holds what the layout says.
    stands: bool,
    stats: ServiceStats,
}

impl ServiceTable {
    /// Nothing is sent yet: the first [`apply`](Self::apply) or [`change`](Self::change) replaces,
    /// in one transaction, whatever an earlier process left, so that no connection ever meets a
    /// node without tables. Which endpoint a sticky client had is carried over.
    pub fn open(config: ServiceTableConfig) -> Result<ServiceTable> {
        Ok(ServiceTable {
            rules: Socket::open(&config.namespace, Family::Netfilter)?,
            routes: Socket::open(&config.namespace, Family::Route)?,
            machine: Machine::new(&config.namespace)?,
            layout: Layout::default(),
            stands: false,
            stats: ServiceStats::default(),
            config,
        })
    }

    /// Makes the kernel hold exactly `desired`. An entry that is the same `Arc` as last time costs
    /// one comparison.
    pub fn apply(&mut self, desired: &Desired) -> Result<()> {
        let gone = self.layout.names().filter(|name| !desired.contains_key(*name));
        let mut changes: Vec<Change> = gone.map(|name| (name.clone(), None)).collect();
        for (name, port) in desired {
            let same = |old: &Arc<ServicePort>| Arc::ptr_eq(old, port) || old == port;
            if !self.layout.get(name).is_some_and(same) {
                changes.push((name.clone(), Some(port.clone())));
            }
        }
        self.change(&changes)
    }

    /// Makes some changes, later ones of a name over earlier ones. The cost depends on them alone,
    /// not on the number of services. When it fails, the next call writes the whole table.
    pub fn change(&mut self, changes: &[Change]) -> Result<()> {
        let fit = |(name, port): &Change| (name.clone(), port.as_ref().map(|p| self.config.fit(p)));
        let changes: BTreeMap<_, _> = changes.iter().map(fit).collect();
        let changes: Vec<Change> = changes.into_iter().collect();
        let mut suspects = Suspects::default();
        for (name, port) in &changes {
            suspects.note(self.layout.get(name).map(|old| &**old), port.as_deref());
        }
        let was_empty = self.layout.len() == 0;
        let delta = self.layout.change(&changes);
        self.stats.service_ports = self.layout.len();
        self.stats.slots = self.layout.slots;
        if !self.stands && was_empty {
            self.write_all(&delta)?;
        } else if !self.stands {
            self.rebuild()?;
        } else {
            self.write_some(&changes, &delta)?;
        }
        if !suspects.is_empty() {
            let deleted = suspects.clear(&mut self.rules, &mut self.routes)?;
            self.stats.stale_flows_deleted += deleted as u64;
        }
        Ok(())
    }

    /// Writes the whole table anew, after somebody took it or a part of it away.
    pub fn restore(&mut self) -> Result<()> {
        self.rebuild()
    }

    /// The kernel's number for the socket that changes come from: the others are not ours.
    pub fn port(&self) -> Result<u32> {
        self.rules.port()
    }

    /// Figures as of the last call.
    pub fn stats(&self) -> ServiceStats {
        self.stats
    }

    /// Removes the table.
    pub fn teardown(mut self) -> Result<()> {
        let batch = Batch { table: self.config.table.clone(), steps: vec![Step::DeleteTable] };
        unless_missing(batch.commit(&mut self.rules))
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        if batch.steps.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        batch.commit(&mut self.rules)?;
        self.stats.last_commit = begin.elapsed();
        self.stats.commits += 1;
        Ok(())
    }

    /// Sends a delta, and before it what the machine listens on if a port of the node is asked for.
    fn write_some(&mut self, changes: &[Change], delta: &Delta) -> Result<()> {
        self.stands = false;
        let mut batch = Batch::new(&self.config.table);
        if changes.iter().any(|(_, port)| port.as_ref().is_some_and(|p| p.is_external())) {
            self.machine.look(&mut batch)?;
        }
        batch.steps.extend(to_batch(&self.config.table, delta).steps);
        if self.commit(&batch).is_err() {
            // The kernel's table is not what we left; the rebuild says why if that fails too.
            return self.rebuild();
        }
        self.stands = true;
        Ok(())
    }

    /// Works everything out anew and writes the whole table.
    fn rebuild(&mut self) -> Result<()> {
        let services = std::mem::take(&mut self.layout).services();
        let delta = self.layout.change(&services);
        self.write_all(&delta)
    }

    /// Writes the whole table in one transaction; `delta` is all that the layout holds.
    fn write_all(&mut self, delta: &Delta) -> Result<()> {
        self.stands = false;
        let mut batch = Batch::replace(&self.config.table);
        frame::write(&mut batch, &self.config);
        self.machine.whole(&mut batch)?;
        batch.steps.extend(to_batch(&self.config.table, delta).steps);
        for (set, elements) in self.clients(delta)? {
            batch.add(&set, elements);
        }
        self.commit(&batch)?;
        self.stats.rebuilds += 1;
        self.stands = true;
        Ok(())
    }

    /// The clients that stick, as the kernel remembers them, under the new numbers of pools and
    /// endpoints; `delta` is all that the layout holds.
    fn clients(&mut self, delta: &Delta) -> Result<Vec<(String, Vec<Element>)>> {
        let table = self.config.table.clone();
        let timeouts: Vec<u32> = self.layout.timeouts().collect();
        if timeouts.is_empty() {
            return Ok(Vec::new());
        }
        let (mut pools, mut renamed) = (BTreeMap::new(), BTreeMap::new());
        for element in read::elements(&mut self.rules, &table, &frame::set(Place::Frontends))? {
            if let (Some((old, _class)), Some(new)) =
                (element.data.pair(), self.layout.pool_of(&element.key))
            {
                pools.insert(old, new);
            }
        }
        let endpoints = delta.iter().filter(|((place, _), _)| *place == Place::Endpoints);
        let endpoints: BTreeMap<_, _> = endpoints
            .filter_map(|((_, key), (_, to))| match key[0] {
                Field::Pair(pool, _) => Some(((pool, to.as_ref()?), key[0])),
                _ => None,
            })
            .collect();
        for old in read::elements(&mut self.rules, &table, &frame::set(Place::Endpoints))? {
            if let Field::Pair(pool, _) = old.key[0]
                && let Some(pool) = pools.get(&pool)
                && let Some(new) = endpoints.get(&(*pool, &old.data))
            {
                renamed.insert(Data::Row(old.key), (*pool, *new));
            }
        }
        let mut all = Vec::new();
        for timeout_s in timeouts {
            let set = picks::memory(timeout_s);
            let old = read::elements(&mut self.rules, &table, &set)?;
            let kept = old.into_iter().filter_map(|mut element| {
                let (pool, endpoint) = renamed.get(&element.data)?;
                element.key[1] = Field::Pair(*pool, 0);
                element.data = Data::Row(vec![*endpoint]);
                Some(element)
            });
            // Two old pools may have become one; the kernel refuses a key that comes twice.
            let once: BTreeMap<_, _> = kept.map(|e| (e.key.clone(), e)).collect();
            all.push((set.name, once.into_values().collect()));
        }
        Ok(all)
    }
}

/// The transaction for a delta: what others will refer to first, what was referred to last.
fn to_batch(table: &str, delta: &Delta) -> Batch {
    let mut batch = Batch::new(table);
    let (mut added, mut removed) = (BTreeMap::new(), BTreeMap::new());
    let (mut chains_gone, mut sets_gone) = (Vec::new(), Vec::new());
    // Timeouts come before the chains that use them.
    for ((place, row), change) in delta {
        if *place == Place::Timeouts
            && let [Field::Number(timeout_s)] = row[..]
        {
            match change {
                (None, _) => batch.set(picks::memory(timeout_s)),
                (_, None) => sets_gone.push(picks::memory(timeout_s).name),
                _ => {}
            }
        }
    }
    for ((place, row), (before, after)) in delta {
        if *place == Place::Timeouts {
            continue;
        }
        if *place == Place::Classes
            && let Some(class) = Class::from_row(row)
        {
            let goto = Verdict::Goto(class.chain());
            match (before, after) {
                (None, Some(Data::Row(number))) => {
                    picks::write(&mut batch, class);
                    let pick = Element::verdict(number.clone(), goto);
                    added.entry(Place::Picks).or_insert(Vec::new()).push(pick);
                }
                (Some(Data::Row(number)), None) => {
                    let pick = Element::verdict(number.clone(), goto);
                    removed.entry(Place::Picks).or_insert(Vec::new()).push(pick);
                    chains_gone.push(class.chain());
                }
                _ => {}
            }
            continue;
        }
        if let Some(data) = before {
            let old = Element { key: row.clone(), data: data.clone(), expires_ms: None };
            removed.entry(*place).or_insert(Vec::new()).push(old);
        }
        if let Some(data) = after {
            let new = Element { key: row.clone(), data: data.clone(), expires_ms: None };
            added.entry(*place).or_insert(Vec::new()).push(new);
        }
    }
    for (place, elements) in removed {
        batch.delete(place.name(), elements);
    }
    for (place, elements) in added {
        batch.add(place.name(), elements);
    }
    for name in chains_gone {
        batch.steps.push(Step::FlushChain { name: name.clone() });
        batch.steps.push(Step::DeleteChain { name });
    }
    batch.steps.extend(sets_gone.into_iter().map(|name| Step::DeleteSet { name }));
    batch
}
