//! Addresses and ports of Services: each is drawn from a range of the cluster, or asked for, and taken in the same
//! transaction as the Service. Nothing is taken before that, so a refused or dry-run write, or a crash, leaves nothing
//! behind that somebody would have to find.
//!
//! What is taken is a record of its own, `ipallocations//ADDRESS` or `nodeports//PORT`: two writers of one are a
//! conflict of the store, and the second one draws again or is told.

mod address;
mod external;
mod port;

use super::{Admit, Plugin, Taking, Verdict};
use skiff_api::Status;
use skiff_api::errors::Errors;
use skiff_api::ip::Cidr;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_base::World;
use skiff_kinds::core::service as kind;
use skiff_store::{ListRequest, Scope, Store, Write};
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
        let range = |second| Cidr { base: [10, second, 0, 0].into(), bits: 16 };
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
        self.0.draw(at, new).map(Some).into()
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
        if at.is("", "services") {
            self.0.reserve(new, at.old, taking);
        }
        Verdict::PASS
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
        if gone.at("spec").is_some() {
            self.0.free(taken(gone).iter(), taking);
            return Verdict::PASS;
        }
        // Of one that nobody could read, what it had is told by who has it.
        Verdict::later(async {
            let had = self.0.owned(gone).await?;
            self.0.free(had.iter(), taking);
            Ok(())
        })
    }
}

impl Pools {
    fn draw(&self, at: &Admit<'_>, new: &Object) -> Result<Object, Status> {
        let mut drawn = new.clone();
        kind::settle(&mut drawn, at.old);
        address::families(self, &mut drawn, at.old)?;
        address::draw(self, at, &mut drawn)?;
        port::draw(self, &mut drawn, at.old)?;
        Ok(drawn)
    }

    fn reserve(&self, new: &Object, old: Option<&Object>, taking: &mut Taking) {
        let before = old.map_or_else(BTreeSet::new, taken);
        let after = taken(new);
        let owner = owner(new);
        taking.writes.extend(after.difference(&before).map(|key| Write::Put {
            key: key.as_str().into(),
            expect: None,
            body: owner.clone().into(),
            generation: 1,
            facets: skiff_store::facets(Vec::new()),
        }));
        self.free(before.difference(&after), taking);
    }

    fn free<'a>(&self, keys: impl Iterator<Item = &'a String>, taking: &mut Taking) {
        taking.writes.extend(keys.filter_map(|key| self.store.get(key)).map(|record| {
            Write::Delete { key: record.key.clone(), expect: record.revision, last: None }
        }));
    }

    /// The keys that this Service holds, by what lies under them.
    async fn owned(&self, service: &Object) -> Result<BTreeSet<String>, Status> {
        let owner = owner(service);
        let mut keys = BTreeSet::new();
        for prefix in ["ipallocations", "nodeports"] {
            let asked = ListRequest { scope: Scope::prefix(prefix), ..ListRequest::default() };
            let listed = self.store.list(asked).await;
            let listed = listed.map_err(|error| crate::read::read_error(error, false))?;
            let own = listed.records.iter().filter(|record| record.body == owner);
            keys.extend(own.map(|record| record.key.to_string()));
        }
        Ok(keys)
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

/// The keys of all that a Service has taken.
fn taken(service: &Object) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    if kind::needs_cluster_ip(service) && !kind::headless(service) {
        let list = service.list("spec.clusterIPs").iter().filter_map(|it| it.as_str());
        keys.extend(list.map(address::key));
    }
    keys.extend(kind::node_ports(service).into_iter().map(port::key));
    if kind::needs_health_check(service)
        && let Some(number) = service.int("spec.healthCheckNodePort").filter(|it| *it > 0)
    {
        keys.insert(port::key(number));
    }
    keys
}

/// What a record of something that is taken says.
fn owner(service: &Object) -> String {
    format!("{{\"service\":\"{}/{}\"}}", service.namespace(), service.name())
}

fn invalid(service: &Object, errors: &Errors) -> Status {
    Status::invalid(About { group: "", resource: "Service" }, service.name(), errors)
}
