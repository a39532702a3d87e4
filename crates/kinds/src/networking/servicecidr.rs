//! ServiceCIDR: ranges from which Services get their addresses (API reference: cluster-resources; KEP-1880).

use skiff_api::errors::{Errors, Path};
use skiff_api::ip::{self, Cidr};
use skiff_api::kind::{
    Cell, Does, Hooks, Kind, Subresource, age_column, column, name_column, status,
};
use skiff_api::object::{Object, strings, text};
use skiff_api::view::Resource;
use skiff_json::json;

pub const RESOURCE: Resource =
    Resource::of("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR").cluster();

/// The one that the settings of the cluster make.
pub const DEFAULT: &str = "kubernetes";
/// Holds it while addresses are only in this range.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const CIDRS: &str = "spec.cidrs";
/// What is said about it changes none of its metadata.
const SAYS: Does = Does::Part {
    part: &["metadata", "status"],
    keeps: &[
        "metadata.labels",
        "metadata.annotations",
        "metadata.finalizers",
        "metadata.ownerReferences",
    ],
};
const IMMUTABLE: &str = "field is immutable";

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("CIDRs", Cell::With(|ranges| strings(ranges.list(CIDRS)).join(",").into())),
            age_column(),
        ],
        subresources: vec![Subresource { does: SAYS, ..status() }],
        hooks: Hooks { validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

/// The ranges that it names.
pub fn cidrs(ranges: &Object) -> impl Iterator<Item = Cidr> {
    strings(ranges.list(CIDRS)).into_iter().filter_map(|text| Some(ip::parse_cidr(text)?.0))
}

/// Whether addresses may be taken from it: a range of which nobody has said so yet counts as one that is.
pub fn ready(ranges: &Object) -> bool {
    let mut conditions = ranges.list("status.conditions").iter();
    let ready = conditions.find(|it| text(it, "type") == "Ready");
    !ranges.deleting() && ready.is_none_or(|it| text(it, "status") == "True")
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new(CIDRS);
    let after = strings(new.list(CIDRS));
    let Some(old) = old else { return validate_ranges(&after, new, errors) };
    let before = strings(old.list(CIDRS));
    let same = |at: usize, errors: &mut Errors| {
        if before[at] != after[at] {
            errors.invalid(&path.index(at), after[at], IMMUTABLE);
        }
    };
    match (before.len(), after.len()) {
        (n, m) if n == m => (0..n).for_each(|at| same(at, errors)),
        // A second family may come.
        (1, 2) => {
            same(0, errors);
            validate_ranges(&after, new, errors);
        }
        _ => errors.invalid(&path, new.list(CIDRS).to_vec(), IMMUTABLE),
    }
}

fn validate_ranges(ranges: &[&str], new: &Object, errors: &mut Errors) {
    let path = Path::new(CIDRS);
    match ranges.len() {
        0 => return errors.required(&path, "at least one CIDR required"),
        1 | 2 => {}
        _ => {
            // Upstream shows the field under its name in Go.
            let shown = json!({"CIDRs": ranges});
            return errors.invalid(&path, shown, "may only hold up to 2 values");
        }
    }
    for (index, range) in ranges.iter().enumerate() {
        ip::validate_canonical_cidr(&path.index(index), range, errors);
    }
    let families: Vec<bool> = cidrs(new).map(|range| range.is_ipv4()).collect();
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&path, new.list(CIDRS).to_vec(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: Option<&[&str]>, new: &[&str]) -> String {
        let of = |ranges: &[&str]| Object::new(json!({"spec": {"cidrs": ranges}}));
        let mut errors = Errors::new();
        validate(&of(new), old.map(of).as_ref(), &mut errors);
        errors.text()
    }

    #[test]
    fn ranges_are_of_one_family_each_and_stay() {
        assert_eq!(check(None, &["10.0.0.0/24", "2001:db8::/64"]), "[]");
        assert!(check(None, &["10.0.0.0/24", "10.1.0.0/24"]).contains("no more than one IP"));
        assert!(check(None, &["2001:DB8::/64"]).contains("canonical form (\"2001:db8::/64\")"));
        assert_eq!(check(Some(&["10.0.0.0/24"]), &["10.0.0.0/24", "2001:db8::/64"]), "[]");
        assert!(check(Some(&["10.0.0.0/24"]), &["10.1.0.0/24"]).contains("cidrs[0]"));
        assert!(check(Some(&["10.0.0.0/24"]), &[]).contains("spec.cidrs: Invalid value: []"));
    }

    #[test]
    fn a_range_that_goes_gives_nothing() {
        let at = |value| ready(&Object::new(value));
        assert!(at(json!({})));
        assert!(!at(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
        assert!(!at(json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})));
    }
}
