//! Addresses and ports of Services: each is drawn from a range of the cluster, or asked for, and taken in the same
//! transaction as the Service. Nothing is taken before that, so a refused or dry-run write, or a crash, leaves nothing
//! behind that somebody would have to find.
//!
//! What is taken is a record of its own (`record`): an IPAddress object, or `nodeports//PORT`. Two writers of one are a
//! conflict of the store, and the second one draws again or is told. What users do to those objects beside their
//! Services is put right by a loop.

mod address;
mod external;
mod port;
mod record;

pub use record::migrate;

use record::Taken;

use super::{Admit, Plugin, Taking, Verdict};
use crate::read::reader::Reader;
use skiff_api::Status;
use skiff_api::errors::Errors;
use skiff_api::ip;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_base::{Cidr, World};
use skiff_kinds::core::service as kind;
use skiff_kinds::networking::servicecidr;
use skiff_store::{Currency, ListRequest, Scope, Store};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where addresses and ports of Services come from.
#[derive(Debug, Clone)]
pub struct Ranges {
    pub addresses: Cidr,
    /// First and last.
    pub ports: (u16, u16),
    /// Those on which the cluster itself listens: no Service gets one.
    pub own_ports: Vec<u16>,
    /// Where pods have their addresses.
    pub pods: Cidr,
    /// Whether Services may name no further external address.
    pub deny_external: bool,
}

impl Default for Ranges {
    fn default() -> Ranges {
        let range = |second| Cidr::new([10, second, 0, 0], 16).expect("16 is a prefix of IPv4");
        Ranges {
            addresses: range(96),
            ports: (30_000, 32_767),
            own_ports: Vec::new(),
            pods: range(244),
            deny_external: false,
        }
    }
}

/// What is left of the ranges.
struct Pools {
    ranges: Ranges,
    store: Arc<dyn Store>,
    world: World,
}

pub struct Services(Pools);

impl Services {
    pub fn new(ranges: Ranges, store: Arc<dyn Store>, world: World) -> Services {
        Services(Pools { ranges, store, world })
    }
}

impl Plugin for Services {
    fn name(&self) -> &'static str {
        "Service"
    }

    fn draw<'a>(&'a self, at: &'a Admit<'_>, new: &'a Object) -> Verdict<'a, Option<Object>> {
        if !at.is("", "services") {
            return Ok(None).into();
        }
        Verdict::later(async move { self.0.draw(at, new).await.map(Some) })
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        new.map_or(Verdict::PASS, |new| external::validate(&self.0.ranges, at, new).into())
    }

    fn reserve<'a>(
        &'a self,
        at: &'a Admit<'_>,
        new: &'a Object,
        taking: &'a mut Taking,
    ) -> Verdict<'a> {
        if !at.is("", "services") {
            return Verdict::PASS;
        }
        Verdict::later(self.0.reserve(at.reader, new, at.old, taking))
    }

    fn release<'a>(
        &'a self,
        at: &'a Admit<'_>,
        gone: &'a Object,
        taking: &'a mut Taking,
    ) -> Verdict<'a> {
        if !(at.kind.group.is_empty() && at.kind.plural == "services") {
            return Verdict::PASS;
        }
        Verdict::later(async move {
            let had = match gone.at("spec") {
                Some(_) => taken(gone).into_iter().collect(),
                // Of one that nobody could read, what it had is told by who has it.
                None => record::owned(&self.0, gone.namespace(), gone.name()).await?,
            };
            self.0.free(at.reader, gone, had, taking).await
        })
    }
}

impl Pools {
    async fn draw(&self, at: &Admit<'_>, new: &Object) -> Result<Object, Status> {
        let mut drawn = new.clone();
        kind::settle(&mut drawn, at.old);
        address::families(self, &mut drawn, at.old)?;
        if address::is_wanted(at, &drawn) {
            let ranges = self.addresses(at).await?;
            address::draw(self, at, &ranges, &mut drawn)?;
        }
        port::draw(self, &mut drawn, at.old)?;
        Ok(drawn)
    }

    /// The ranges from which addresses are taken now, the cluster's first one first.
    async fn addresses(&self, at: &Admit<'_>) -> Result<Vec<Cidr>, Status> {
        let of = servicecidr::RESOURCE;
        let kind = at.reader.kind(of.group, of.plural)?;
        let asked = ListRequest {
            scope: Scope::prefix(&kind.prefix("")),
            currency: Currency::Seen,
            ..ListRequest::default()
        };
        let mut all = at.reader.list(&kind, asked).await?;
        if all.is_empty() {
            // The first one is made of it when a cluster starts.
            return Ok(vec![self.ranges.addresses]);
        }
        all.sort_by_key(|it| (it.name() != servicecidr::DEFAULT, it.name().to_owned()));
        let ready = all.iter().filter(|it| servicecidr::ready(it)).flat_map(servicecidr::cidrs);
        let family = self.ranges.addresses.is_ipv4();
        Ok(ready.filter(|it| it.is_ipv4() == family && fits(it)).collect())
    }

    async fn reserve(
        &self,
        reader: &Reader,
        new: &Object,
        old: Option<&Object>,
        taking: &mut Taking,
    ) -> Result<(), Status> {
        let before = old.map_or_else(BTreeSet::new, taken);
        let after = taken(new);
        for what in after.difference(&before) {
            let service = (new.namespace(), new.name());
            taking.writes.push(record::take(reader, &self.world, *what, service).await?);
        }
        let gone = before.difference(&after).copied().collect();
        self.free(reader, new, gone, taking).await
    }

    async fn free(
        &self,
        reader: &Reader,
        service: &Object,
        what: Vec<Taken>,
        taking: &mut Taking,
    ) -> Result<(), Status> {
        let name = format!("{}/{}", service.namespace(), service.name());
        for what in what {
            taking.writes.extend(record::release(self, reader, what, &name).await?);
        }
        Ok(())
    }

    /// The first place in a range that is free: a random one above `kept`, else one of those below, which are
    /// kept for those who ask for a certain one (KEP-3070, KEP-3668).
    fn pick(&self, size: u64, kept: u64, free: impl Fn(u64) -> bool) -> Option<u64> {
        let upper = size.saturating_sub(kept);
        let start = if upper == 0 { 0 } else { self.world.below(upper) };
        let above = (0..upper).map(|step| kept + (start + step) % upper);
        above.chain(0..kept.min(size)).find(|place| free(*place))
    }
}

/// Ranges of IPv6 that are larger than one link's serve nobody.
fn fits(range: &Cidr) -> bool {
    range.is_ipv4() || range.prefix() >= 64
}

/// All that a Service has taken.
fn taken(service: &Object) -> BTreeSet<Taken> {
    let mut all = BTreeSet::new();
    if kind::needs_cluster_ip(service) && !kind::headless(service) {
        let list = service.list("spec.clusterIPs").iter().filter_map(|it| it.as_str());
        all.extend(list.filter_map(ip::parse).map(Taken::Address));
    }
    all.extend(kind::node_ports(service).into_iter().map(Taken::Port));
    if kind::needs_health_check(service)
        && let Some(number) = service.int("spec.healthCheckNodePort").filter(|it| *it > 0)
    {
        all.insert(Taken::Port(number));
    }
    all
}

fn invalid(service: &Object, errors: &Errors) -> Status {
    Status::invalid(About { group: "", resource: "Service" }, service.name(), errors)
}
