//! Administrators' access to devices: who asks for devices that others use has to be in a namespace that is marked for
//! it (KEP-5018). The label is the administrator's word; without it a claim would see what is none of its business.

use super::{Admit, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, flag};

const LABEL: &str = "resource.kubernetes.io/admin-access";

pub struct DeviceAdmin;

impl Plugin for DeviceAdmin {
    fn name(&self) -> &'static str {
        "DRAAdminAccess"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let Some(place) = new.and_then(|new| asks(at, new)) else { return Verdict::PASS };
        Verdict::later(check(at, place))
    }
}

/// Where it asks for such access, if it does and did not before.
fn asks(at: &Admit<'_>, new: &Object) -> Option<(&'static str, usize)> {
    if at.kind.group != "resource.k8s.io" {
        return None;
    }
    let (list, shown, field) = match (&*at.kind.plural, at.subresource) {
        ("resourceclaims", "") => {
            ("spec.devices.requests", "spec.devices.requests", "exactly.adminAccess")
        }
        // Upstream names the place in a template as in a claim.
        ("resourceclaimtemplates", "") => {
            ("spec.spec.devices.requests", "spec.devices.requests", "exactly.adminAccess")
        }
        ("resourceclaims", "status") => {
            let results = "status.allocation.devices.results";
            (results, results, "adminAccess")
        }
        _ => return None,
    };
    let first = |object: &Object| object.list(list).iter().position(|it| flag(it, field));
    let granted = at.old.is_some_and(|old| first(old).is_some());
    first(new).filter(|_| !granted).map(|index| (shown, index))
}

async fn check(at: &Admit<'_>, (list, index): (&str, usize)) -> Result<(), Status> {
    let namespace = at.read(("", "namespaces"), "", at.namespace).await?;
    if namespace.is_some_and(|it| it.label(LABEL) == Some("true")) {
        return Ok(());
    }
    let mut errors = Errors::new();
    let why = format!(
        "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
    );
    errors.forbidden(&Path::new(list).index(index).child("adminAccess"), &why);
    Err(Status::invalid(at.kind.about_kind(), &at.name, &errors))
}
