//! Storage: what is in use stays until nobody uses it (StorageObjectInUseProtection), a claim that says nothing of its
//! class gets the default (DefaultStorageClass), and grows only where its class lets it (PersistentVolumeClaimResize).

use super::{Admit, Next, Operation, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::quantity::Quantity;
use skiff_api::time::{Precision, format};
use skiff_base::World;
use skiff_json::{Value, json};
use skiff_kinds::core::persistentvolume::{CLASS, class};
use skiff_store::{Currency, ListRequest, Scope};

const GROUP: &str = "storage.k8s.io";
const CLASSES: (&str, &str) = (GROUP, "storageclasses");
const FIELD: &str = "spec.storageClassName";
const CLAIMS: &str = "persistentvolumeclaims";

/// What is held while it is in use, and by which finalizer.
const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", CLAIMS, "kubernetes.io/pvc-protection"),
    (GROUP, "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

/// Also notes since when a volume is in its phase: the kind itself has no clock.
pub struct InUseProtection {
    pub world: World,
}

impl Plugin for InUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        let kind = PROTECTED.iter().find(|(group, plural, _)| at.is(group, plural));
        if let Some((.., finalizer)) = kind.filter(|_| at.old.is_none()) {
            protect(new, finalizer);
        }
        let volume = (&*at.kind.group, &*at.kind.plural) == ("", "persistentvolumes");
        if let Some(old) = at.old.filter(|_| volume && at.subresource == "status") {
            self.note_phase(old, new);
        }
        Ok(Next::GoOn).into()
    }
}

fn protect(new: &mut Object, finalizer: &str) {
    if new.finalizers().any(|it| it == finalizer) {
        return;
    }
    let mut all = new.list("metadata.finalizers").to_vec();
    all.push(finalizer.into());
    new.set("metadata.finalizers", all);
}

impl InUseProtection {
    fn note_phase(&self, old: &Object, new: &mut Object) {
        const SINCE: &str = "status.lastPhaseTransitionTime";
        let (same, given) = (old.at("status.phase") == new.at("status.phase"), new.at(SINCE));
        if same && given.is_none() {
            new.copy_from(old, SINCE);
        } else if !same && (given.is_none() || given == old.at(SINCE)) {
            new.set(SINCE, format(self.world.now(), Precision::Seconds));
        }
    }
}

pub struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, claim: &'a mut Object) -> Verdict<'a, Next> {
        let says = claim.at(FIELD).is_some() || claim.annotation(CLASS).is_some();
        match at.is("", CLAIMS) && at.old.is_none() && !says {
            true => Verdict::later(give(at, claim)),
            false => Ok(Next::GoOn).into(),
        }
    }
}

/// Of several defaults the newest; of those of one time the first by name.
async fn give(at: &Admit<'_>, claim: &mut Object) -> Result<Next, Status> {
    let kind = at.reader.kind(CLASSES.0, CLASSES.1)?;
    let asked = ListRequest {
        scope: Scope::prefix(&kind.prefix("")),
        facet: Some(("f:default".into(), "true".into())),
        currency: Currency::Seen,
        ..ListRequest::default()
    };
    let classes = at.reader.list(&kind, asked).await?;
    let newest = classes.iter().max_by(|a, b| {
        let made = |class: &Object| class.text("metadata.creationTimestamp").to_owned();
        made(a).cmp(&made(b)).then_with(|| b.name().cmp(a.name()))
    });
    if let Some(class) = newest {
        claim.set(FIELD, class.name());
    }
    Ok(Next::GoOn)
}

pub struct ClaimResize;

impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match (new, at.old) {
            (Some(new), Some(old))
                if at.operation == Operation::Update
                    && at.is("", CLAIMS)
                    && size(new) > size(old) =>
            {
                Verdict::later(grow(at, new, old))
            }
            _ => Verdict::PASS,
        }
    }
}

fn size(claim: &Object) -> Quantity {
    let text = claim.text("spec.resources.requests.storage");
    Quantity::parse(text).unwrap_or_else(|_| Quantity::zero())
}

async fn grow(at: &Admit<'_>, new: &Object, old: &Object) -> Result<(), Status> {
    if old.text("status.phase") != "Bound" {
        return Err(at.forbid("Only bound persistent volume claims can be expanded"));
    }
    let name = class(new);
    let same = !name.is_empty() && name == class(old);
    let found = if same { at.read(CLASSES, "", name).await? } else { None };
    if found.is_some_and(|class| class.flag("allowVolumeExpansion")) {
        return Ok(());
    }
    Err(at.forbid(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
         support resize",
    ))
}

/// What a node may not change in the status of a claim, as a value that can be compared: all but what it can tell of
/// the volume's size.
pub fn beside_sizes(claim: &Object) -> Value {
    let mut claim = claim.clone();
    for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
        claim.remove(&format!("status.{field}"));
    }
    for field in ["resourceVersion", "managedFields"] {
        claim.remove(&format!("metadata.{field}"));
    }
    if claim.map("status").is_empty() {
        claim.set("status", json!({}));
    }
    claim.into_value()
}
