//! Addresses and ports of Services: each is drawn from a range of the cluster, or asked for, and taken in the same
//! transaction as the Service. Nothing is taken before that, so a refused or dry-run write leaves nothing behind.
//!
//! What is taken is a record of its own, `ipallocations//ADDRESS` or `nodeports//PORT`: two writers of one are a
//! conflict of the store, and the second one draws again or is told.

mod address;
mod external;
mod port;

use super::{Attributes, Plugin};
use crate::Server;
use futures_util::FutureExt;
use skiff_api::Status;
use skiff_api::errors::Errors;
use skiff_api::ip::Cidr;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_kinds::core::service as kind;
use skiff_store::{ListRequest, Scope, Write};
use std::collections::BTreeSet;

pub const PLUGIN: Plugin = Plugin {
    name: "Service",
    mutate,
    validate: external::validate,
    reserve,
    release,
    ..Plugin::NONE
};

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

fn mutate(
    server: &Server,
    at: &Attributes,
    new: &mut Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    if !at.is("", "services") {
        return Ok(());
    }
    kind::settle(new, old);
    address::families(server, new, old)?;
    address::draw(server, at, new, old)?;
    port::draw(server, new, old)
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

fn reserve(
    server: &Server,
    at: &Attributes,
    new: &Object,
    old: Option<&Object>,
    writes: &mut Vec<Write>,
) -> Result<(), Status> {
    if !at.is("", "services") {
        return Ok(());
    }
    let before = old.map_or_else(BTreeSet::new, taken);
    let after = taken(new);
    let owner = owner(new);
    for key in after.difference(&before) {
        writes.push(Write::Put {
            key: key.as_str().into(),
            expect: None,
            body: owner.clone().into(),
            generation: 1,
            facets: skiff_store::facets(Vec::new()),
        });
    }
    free(server, before.difference(&after), writes);
    Ok(())
}

fn release(server: &Server, of: &Kind, gone: &Object, writes: &mut Vec<Write>) {
    if of.group.is_empty() && of.plural == "services" {
        // Of one that nobody could read, what it had is told by who has it.
        let had = if gone.at("spec").is_some() { taken(gone) } else { owned(server, gone) };
        free(server, had.iter(), writes);
    }
}

/// What a record of something that is taken says.
fn owner(service: &Object) -> String {
    format!("{{\"service\":\"{}/{}\"}}", service.namespace(), service.name())
}

/// The keys that this Service holds, by what lies under them.
fn owned(server: &Server, service: &Object) -> BTreeSet<String> {
    let owner = owner(service);
    let mut keys = BTreeSet::new();
    for prefix in ["ipallocations", "nodeports"] {
        let asked = ListRequest { scope: Scope::prefix(prefix), ..ListRequest::default() };
        // The newest state is in memory; a store that has stopped takes no delete either.
        let Some(Ok(listed)) = server.store.list(asked).now_or_never() else { continue };
        let own = listed.records.iter().filter(|record| record.body == owner);
        keys.extend(own.map(|record| record.key.to_string()));
    }
    keys
}

fn free<'a>(server: &Server, keys: impl Iterator<Item = &'a String>, writes: &mut Vec<Write>) {
    for record in keys.filter_map(|key| server.store.get(key)) {
        writes.push(Write::Delete { key: record.key.clone(), expect: record.revision, last: None });
    }
}

fn invalid(service: &Object, errors: &Errors) -> Status {
    Status::invalid(About { group: "", resource: "Service" }, service.name(), errors)
}

/// The first place in a range that is free: a random one above `kept`, else one of those below, which are
/// kept for those who ask for a certain one (KEP-3070, KEP-3668).
fn pick(server: &Server, size: u64, kept: u64, free: impl Fn(u64) -> bool) -> Option<u64> {
    let upper = size.saturating_sub(kept);
    let start = if upper == 0 { 0 } else { server.world.below(upper) };
    let above = (0..upper).map(|step| kept + (start + step) % upper);
    above.chain(0..kept.min(size)).find(|place| free(*place))
}
