//! Cluster addresses: which families a Service has, and which address of each.

use super::record::address_key;
use super::{Admit, Pools, invalid};
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::ip;
use skiff_api::object::Object;
use skiff_base::Cidr;
use skiff_json::{Value, json};
use skiff_kinds::core::service as kind;

const POLICY: &str = "spec.ipFamilyPolicy";
const FAMILIES: &str = "spec.ipFamilies";
const ADDRESSES: &str = "spec.clusterIPs";
const TAKEN: &str = "provided IP is already allocated";
const OUTSIDE: &str = "the provided network does not match the current range";

/// So many addresses of a range are drawn from: what is beyond nobody fills.
const LOOKED_AT_MOST: u64 = 1 << 32;
/// Of a range of so few addresses, none are left to those who ask for a certain one (KEP-3070).
const SMALL: u64 = 16;

/// Places in the range that are kept for a Service, so that nobody takes them while it is away for a moment.
const KEPT: [(u64, &str, &str); 2] =
    [(1, "default", "kubernetes"), (10, "kube-system", "kube-dns")];

/// Says which IP families a Service has, and refuses those that the cluster has not.
pub fn families(pools: &Pools, new: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    if !kind::needs_cluster_ip(new) || keeps_preference(new, old) {
        return Ok(());
    }
    let family = ip::family(pools.ranges.addresses.base());
    let selectorless = new.text("spec.clusterIP") == "None" && new.map("spec.selector").is_empty();
    if new.at(POLICY).is_none() {
        match old.filter(|old| old.at(POLICY).is_some()) {
            Some(old) => new.copy_from(old, POLICY),
            None if selectorless => new.set(POLICY, "RequireDualStack"),
            None => new.set(POLICY, "SingleStack"),
        }
    }
    let mut errors = Errors::new();
    kind::validate_cluster_ips(new, old, &mut errors);
    if !errors.is_empty() {
        return Err(invalid(new, &errors));
    }
    if let Some(old) = old {
        reduce(new, old, &mut errors);
    }
    fit_policy(new, &mut errors);
    infer(new, family, &mut errors);
    if !errors.is_empty() {
        return Err(invalid(new, &errors));
    }
    if selectorless {
        default_selectorless(new, family);
        return Ok(());
    }
    require(new, family)
}

/// Nothing is decided anew for a service that merely prefers two families.
fn keeps_preference(new: &Object, old: Option<&Object>) -> bool {
    let Some(old) = old else { return false };
    let same = |path: &str| new.at(path) == old.at(path);
    same("spec.type")
        && [new, old].iter().all(|it| it.text(POLICY) == "PreferDualStack")
        && same(ADDRESSES)
        && same(FAMILIES)
}

/// Saying SingleStack gives the second address back; only that does.
fn reduce(new: &mut Object, old: &Object, errors: &mut Errors) {
    let single = new.text(POLICY) == "SingleStack";
    for (path, what) in [(ADDRESSES, "cluster IP"), (FAMILIES, "IP family")] {
        let (after, before) = (new.list(path), old.list(path));
        if single && after == before && after.len() > 1 {
            new.set(path, json!([after[0]]));
        } else if !single && !after.is_empty() && after.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.invalid(&Path::new(POLICY), new.text(POLICY), &why);
        }
    }
}

fn fit_policy(new: &Object, errors: &mut Errors) {
    if new.text(POLICY) != "SingleStack" {
        return;
    }
    for (path, what) in [(ADDRESSES, "cluster IPs"), (FAMILIES, "IP families")] {
        if new.list(path).len() == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.invalid(&Path::new(POLICY), "SingleStack", &why);
        }
    }
}

/// Families follow from given addresses.
fn infer(new: &mut Object, family: &str, errors: &mut Errors) {
    let addresses = new.list(ADDRESSES).to_vec();
    let mut families = new.list(FAMILIES).to_vec();
    for (index, address) in addresses.iter().enumerate().skip(families.len()) {
        let Some(parsed) = address.as_str().and_then(ip::parse) else { break };
        let found = ip::family(parsed);
        if found == family {
            families.push(found.into());
        } else {
            let path = Path::new(ADDRESSES);
            let why = format!("{found} is not configured on this cluster");
            errors.invalid(&path.index(index), Value::Array(addresses.clone()), &why);
        }
    }
    if !families.is_empty() {
        new.set(FAMILIES, families);
    }
}

fn default_selectorless(new: &mut Object, family: &str) {
    let mut families = new.list(FAMILIES).to_vec();
    if families.is_empty() {
        families.push(family.into());
    }
    if families.len() < 2 && new.text(POLICY) != "SingleStack" {
        families.push(if families[0] == "IPv4" { "IPv6".into() } else { "IPv4".into() });
    }
    new.set(FAMILIES, families);
}

fn require(new: &mut Object, family: &str) -> Result<(), Status> {
    let mut errors = Errors::new();
    if new.text(POLICY) == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid(&Path::new(POLICY), "RequireDualStack", why);
    }
    let path = Path::new(FAMILIES);
    for (index, wanted) in new.list(FAMILIES).iter().enumerate().filter(|(_, it)| **it != family) {
        errors.invalid(&path.index(index), wanted.clone(), "not configured on this cluster");
    }
    if !errors.is_empty() {
        return Err(invalid(new, &errors));
    }
    if new.list(FAMILIES).is_empty() {
        new.set(FAMILIES, json!([family]));
    }
    Ok(())
}

/// Whether a Service gets an address by this write.
pub fn is_wanted(request: &Admit<'_>, new: &Object) -> bool {
    let had = request.old.is_some_and(kind::needs_cluster_ip);
    kind::needs_cluster_ip(new) && !kind::headless(new) && !had
}

/// Draws an address of these ranges, or looks whether the one that was asked for can be had.
pub fn draw(
    pools: &Pools,
    request: &Admit<'_>,
    ranges: &[Cidr],
    new: &mut Object,
) -> Result<(), Status> {
    let address = match new.list(ADDRESSES).first().and_then(Value::as_str) {
        Some(given) => {
            let given = given.to_owned();
            check(pools, request, ranges, (new, &given))?;
            given
        }
        None => next(pools, ranges, new)?,
    };
    new.set("spec.clusterIP", address.as_str());
    new.set(ADDRESSES, json!([address]));
    Ok(())
}

fn check(
    pools: &Pools,
    request: &Admit<'_>,
    ranges: &[Cidr],
    (new, given): (&Object, &str),
) -> Result<(), Status> {
    let usable = |range: &Cidr| {
        ip::parse(given).is_some_and(|it| {
            range.contains(it) && it != range.base() && (it.is_ipv6() || it != range.last())
        })
    };
    let why = match (ranges.iter().any(usable), request.dry_run) {
        (true, _) if is_free(pools, given, new) => return Ok(()),
        (true, _) => TAKEN.to_owned(),
        // A dry run is told in other words, as upstream has it.
        (false, true) => {
            let range = ranges.first().unwrap_or(&pools.ranges.addresses);
            format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {range}"
            )
        }
        (false, false) => OUTSIDE.to_owned(),
    };
    let mut errors = Errors::new();
    let text = format!("failed to allocate IP {given}: {why}");
    errors.invalid(&Path::new(ADDRESSES), new.at(ADDRESSES).cloned().unwrap_or(Value::Null), &text);
    Err(invalid(new, &errors))
}

/// Whether an address is kept for another Service than this one.
fn is_kept(range: &Cidr, given: &str, service: &Object) -> bool {
    KEPT.iter().any(|(place, namespace, name)| {
        let own = (service.namespace(), service.name()) == (*namespace, *name);
        !own && ip::parse(given) == range.nth(*place)
    })
}

fn is_free(pools: &Pools, address: &str, service: &Object) -> bool {
    let kept = is_kept(&pools.ranges.addresses, address, service);
    !kept && pools.store.get(&address_key(address)).is_none()
}

/// The first address of a range and, of IPv4, the last are nobody's.
fn next(pools: &Pools, ranges: &[Cidr], new: &Object) -> Result<String, Status> {
    for range in ranges {
        let ends = if range.is_ipv4() { 2 } else { 1 };
        let size = range.size().saturating_sub(ends).min(LOOKED_AT_MOST);
        let kept = if range.size() <= SMALL { 0 } else { (range.size() / 16).clamp(16, 256) };
        let address = |place| Some(range.nth(place + 1)?.to_string());
        let free = |place| address(place).is_some_and(|it| is_free(pools, &it, new));
        if let Some(address) = pools.pick(size, kept, free).and_then(address) {
            return Ok(address);
        }
    }
    Err(Status::internal(format!(
        "failed to allocate a serviceIP for Service {:?}: range is full",
        new.name()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_addresses_are_kept_for_their_owners() {
        let range = "10.96.0.0/16".parse().expect("it is one");
        let service = |namespace: &str, name: &str| {
            Object::new(json!({"metadata": {"namespace": namespace, "name": name}}))
        };
        let kept = |address, namespace, name| is_kept(&range, address, &service(namespace, name));
        assert!(!kept("10.96.0.1", "default", "kubernetes"));
        assert!(!kept("10.96.0.10", "kube-system", "kube-dns"));
        assert!(kept("10.96.0.1", "tenant", "kubernetes"));
        assert!(kept("10.96.0.10", "default", "kubernetes"));
        assert!(!kept("10.96.0.11", "tenant", "a"));
    }
}
