//! Which volume is for which claim: one rule for the controller that binds, and for the scheduler that looks for a node
//! where there is one (API reference: PersistentVolumeClaim).

use super::{PersistentVolume, PersistentVolumeClaim};
use crate::views::pod::{NodeSelectorRequirement, NodeSelectorTerm};
use skiff_api::quantity::Quantity;
use skiff_api::selector::Selector;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A claim that looks for a volume, taken apart once for all that it looks at.
pub struct Ask<'a> {
    claim: &'a PersistentVolumeClaim,
    size: Quantity,
    selector: Option<Selector>,
}

impl<'a> Ask<'a> {
    pub fn new(claim: &'a PersistentVolumeClaim) -> Ask<'a> {
        // A selector that cannot be read selects nothing; the API lets none in.
        let selector = claim.spec.selector.as_ref();
        let selector =
            selector.map(|it| Selector::from_object(Some(&it.0)).unwrap_or(Selector::Nothing));
        Ask { claim, size: claim.size(), selector }
    }

    /// The volume that was made for the claim, if it fits.
    pub fn named<'v>(
        &self,
        volumes: &'v [Arc<PersistentVolume>],
    ) -> Option<&'v Arc<PersistentVolume>> {
        volumes.iter().find(|it| it.is_for(self.claim) && self.could_be(it) && self.modes_fit(it))
    }

    /// Of free volumes the smallest that will do; of those that can be used in fewer ways first. `reaches` says where
    /// one may be.
    pub fn best<'v>(
        &self,
        volumes: &'v [Arc<PersistentVolume>],
        mut reaches: impl FnMut(&PersistentVolume) -> bool,
    ) -> Option<&'v Arc<PersistentVolume>> {
        let fits = |it: &&Arc<PersistentVolume>| self.fits(it) && reaches(it);
        volumes.iter().filter(fits).min_by(|a, b| {
            let ways = |it: &PersistentVolume| it.spec.access_modes.len();
            ways(a).cmp(&ways(b)).then_with(|| a.size().cmp(&b.size()))
        })
    }

    /// Whether a free volume will do.
    fn fits(&self, volume: &PersistentVolume) -> bool {
        let labels = &volume.metadata.labels;
        let selected =
            |selector: &Selector| selector.matches(|key| labels.get(key).map(String::as_str));
        volume.spec.claim_ref.is_none()
            && volume.status.phase == "Available"
            && volume.class() == self.claim.class()
            && self.could_be(volume)
            && self.modes_fit(volume)
            && self.selector.as_ref().is_none_or(selected)
    }

    /// Whether it is what was asked for, whoever it is for.
    fn could_be(&self, volume: &PersistentVolume) -> bool {
        !volume.metadata.deleting()
            && volume.size() >= self.size
            && volume.spec.volume_mode == self.claim.spec.volume_mode
            && attributes(&volume.spec.volume_attributes_class_name)
                == attributes(&self.claim.spec.volume_attributes_class_name)
    }

    fn modes_fit(&self, volume: &PersistentVolume) -> bool {
        self.claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
    }

    /// Why the claim cannot have the volume that it names, in the words of events.
    pub fn refuses(&self, volume: &PersistentVolume) -> Option<String> {
        let claim = &self.claim.spec;
        Some(match volume {
            it if it.metadata.deleting() => {
                format!("the volume is marked for deletion {:?}", it.metadata.name)
            }
            it if it.size().value() < self.size.value() => "requested PV is too small".into(),
            it if it.class() != self.claim.class() => "storageClassName does not match".into(),
            it if attributes(&it.spec.volume_attributes_class_name)
                != attributes(&claim.volume_attributes_class_name) =>
            {
                "volumeAttributesClassName does not match".into()
            }
            it if it.spec.volume_mode != claim.volume_mode => "incompatible volumeMode".into(),
            it if !self.modes_fit(it) => "incompatible accessMode".into(),
            _ => return None,
        })
    }
}

fn attributes(class: &Option<String>) -> &str {
    class.as_deref().unwrap_or("")
}

/// Whether a volume can be used on the node with these labels and this name.
pub fn reaches(volume: &PersistentVolume, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let Some(affinity) = &volume.spec.node_affinity else { return true };
    affinity.required.node_selector_terms.iter().any(|it| it.matches(node, labels))
}

/// The one field of a node that a term may name.
const NAME: &str = "metadata.name";

impl NodeSelectorTerm {
    /// All requirements; a term without any matches nothing.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let (by_label, by_field) = (&self.match_expressions, &self.match_fields);
        if by_label.is_empty() && by_field.is_empty() {
            return false;
        }
        by_label.iter().all(|it| it.matches(labels.get(&it.key).map(String::as_str)))
            && by_field.iter().all(|it| it.matches((it.key == NAME).then_some(name)))
    }
}

impl NodeSelectorRequirement {
    pub fn matches(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|wanted| wanted == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let wanted = self.values.first().and_then(|text| number(text));
        match &*self.operator {
            "In" => value.is_some_and(among),
            "NotIn" => !value.is_some_and(among),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => {
                value.and_then(number).zip(wanted).is_some_and(|(value, wanted)| value > wanted)
            }
            "Lt" => {
                value.and_then(number).zip(wanted).is_some_and(|(value, wanted)| value < wanted)
            }
            _ => false,
        }
    }
}
