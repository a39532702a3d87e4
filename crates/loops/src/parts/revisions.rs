//! Revisions: the templates that a StatefulSet or DaemonSet had, as ControllerRevisions that it owns, so that it can go
//! back to one of them.
//!
//! A revision holds a patch that puts its template back. Two that hold the same template are one: going back raises the
//! number of the older. A template differs from an older one only if it still does once both have the defaults of
//! today: those that a later program adds must replace nobody's pods.

use super::adoption::{Claimed, claimed, reference};
use super::status::this_revision;
use super::template;
use crate::{Change, Changes, Context};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::selector::Selector;
use skiff_api::view::{Key, Meta, View};
use skiff_json::{Value, json};
use skiff_kinds::core::pod::default;
use skiff_kinds::views::ControllerRevision;
use skiff_kinds::views::workloads::Template;
use std::sync::Arc;

/// A name begins with so much of its owner's.
const PREFIX_MOST: usize = 223;
/// So many names are tried; a hash of 32 bits does not collide so often.
const TRIES: i32 = 16;

/// The revisions of an owner, and the name that one of its template has or would have.
pub struct History {
    claimed: Claimed<ControllerRevision>,
    /// The hash in that name, and how many collisions it took to find a free one.
    hash: String,
    collisions: Option<i32>,
    /// Who has that name already and holds the same, though it is not claimed.
    namesake: Option<Arc<ControllerRevision>>,
}

/// The revision of a template.
pub struct Revision {
    pub name: String,
    /// The hashes of all that hold the template; pods of each of them are of today.
    pub hashes: Vec<String>,
}

impl Revision {
    /// The hash for new pods.
    pub fn hash(&self) -> &str {
        self.hashes.last().map_or("", String::as_str)
    }
}

impl History {
    /// Looks for the revisions of an owner.
    pub async fn of<Owner: View>(
        cx: &Context,
        owner: &Owner,
        selector: &Selector,
        template: &Template,
        collisions: Option<i32>,
    ) -> Result<History, Status> {
        let claimed = claimed(cx, owner, selector, |_: &ControllerRevision| true).await?;
        let cache = cx.caches.of::<ControllerRevision>();
        let meta = owner.meta();
        let taken = |name: &str| cache.get(&Key::new(&meta.namespace, name));
        Ok(History::new(meta, claimed, template, collisions, taken))
    }

    pub fn new(
        owner: &Meta,
        claimed: Claimed<ControllerRevision>,
        template: &Template,
        mut collisions: Option<i32>,
        taken: impl Fn(&str) -> Option<Arc<ControllerRevision>>,
    ) -> History {
        let data = data(template);
        for _ in 0..TRIES {
            let hash = template::hash(template, collisions);
            let namesake = taken(&name(owner, &hash));
            if namesake.as_ref().is_none_or(|it| it.data == data) {
                return History { claimed, hash, collisions, namesake };
            }
            collisions = Some(collisions.unwrap_or(0) + 1);
        }
        // The create is refused then, and tried again with later counts.
        let hash = template::hash(template, collisions);
        History { claimed, hash, collisions, namesake: None }
    }

    pub fn collisions(&self) -> Option<i32> {
        self.collisions
    }

    /// Takes in and lets go.
    pub fn settle<Owner: View>(&self, owner: &Owner, out: &mut Changes) {
        self.claimed.settle(owner, out);
    }

    /// Oldest first.
    fn sorted(&self) -> Vec<&Arc<ControllerRevision>> {
        let mut all: Vec<_> = self.claimed.all().collect();
        all.sort_by_key(|it| {
            (it.revision, it.metadata.creation_timestamp, it.metadata.name.clone())
        });
        all
    }

    /// The template of the revision of that name.
    pub fn template(&self, name: &str) -> Option<Template> {
        let found = self.claimed.all().find(|it| it.metadata.name == name)?;
        template_of(&found.data)
    }

    /// All that hold this template, the newest last.
    fn same(&self, template: &Template) -> Vec<&Arc<ControllerRevision>> {
        let wanted = data(template);
        let mut same = self.sorted();
        same.retain(|it| holds(&it.data, &wanted));
        same
    }

    /// The revision of the owner's template: found, raised to the newest number, or made. `label`: which of its labels
    /// has the hash.
    pub fn current<Owner: View>(
        &self,
        owner: &Owner,
        template: &Template,
        label: &'static str,
        out: &mut Changes,
    ) -> Revision {
        let (all, same) = (self.sorted(), self.same(template));
        let others = all.iter().filter(|it| !same.iter().any(|same| Arc::ptr_eq(same, it)));
        let before = others.map(|it| it.revision).max().unwrap_or(0);
        let Some(found) = same.last().copied().or(self.namesake.as_ref()) else {
            out.push(self.create(owner, template, before + 1, label));
            return Revision {
                name: name(owner.meta(), &self.hash),
                hashes: vec![self.hash.clone()],
            };
        };
        let meta = &found.metadata;
        if found.revision <= before {
            let body = json!({"metadata": this_revision(meta), "revision": before + 1});
            out.merge(ControllerRevision::RESOURCE, meta.key(), body);
        }
        let mut hashes: Vec<String> = same.iter().map(|it| hash_of(it, label)).collect();
        hashes.push(hash_of(found, label));
        Revision { name: meta.name.clone(), hashes }
    }

    fn create<Owner: View>(
        &self,
        owner: &Owner,
        template: &Template,
        number: i64,
        label: &'static str,
    ) -> Change {
        let meta = owner.meta();
        let mut labels = template.metadata.labels.clone();
        labels.insert(label.into(), self.hash.clone());
        let body = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {"name": name(meta, &self.hash), "namespace": meta.namespace, "labels": labels,
                "annotations": meta.annotations, "ownerReferences": [reference(Owner::RESOURCE, meta)]},
            "data": data(template), "revision": number});
        let (resource, namespace) = (ControllerRevision::RESOURCE, meta.namespace.clone());
        Change::Create { resource, namespace, body }
    }

    /// Deletes the oldest that nobody uses until those that count are no more than `limit`. Below zero keeps them all.
    pub fn truncate(
        &self,
        limit: Option<i32>,
        counts: impl Fn(&ControllerRevision) -> bool,
        used: impl Fn(&ControllerRevision) -> bool,
        out: &mut Changes,
    ) {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let all = self.sorted();
        let surplus = all.iter().filter(|it| counts(it)).count().saturating_sub(limit);
        for old in all.into_iter().filter(|it| counts(it) && !used(it)).take(surplus) {
            if !old.metadata.deleting() {
                out.delete(ControllerRevision::RESOURCE, old.metadata.key(), &old.metadata.uid);
            }
        }
    }
}

/// The hash that pods of a revision have; its name is as good where the label is missing.
pub fn hash_of(revision: &ControllerRevision, label: &str) -> String {
    let meta = &revision.metadata;
    meta.labels.get(label).unwrap_or(&meta.name).clone()
}

fn name(owner: &Meta, hash: &str) -> String {
    let mut prefix = owner.name.clone();
    prefix.truncate(PREFIX_MOST);
    format!("{prefix}-{hash}")
}

/// The patch that puts a template back.
fn data(template: &Template) -> Value {
    let mut template = template::json(template);
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

fn template_of(data: &Value) -> Option<Template> {
    skiff_json::from_value(data.get("spec")?.get("template")?.clone()).ok()
}

/// Whether a revision holds what is wanted, as it is or with the defaults of today.
fn holds(found: &Value, wanted: &Value) -> bool {
    let again = || {
        let template = data(&template_of(found)?);
        if template == *wanted {
            return Some(true);
        }
        let mut object = Object::new(template);
        default::template(&mut object);
        Some(object.value() == wanted)
    };
    found == wanted || again().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        skiff_json::from_str(text).expect("a valid template")
    }

    #[test]
    fn defaults_of_today_make_no_other_revision() {
        let then = json!({"spec": {"template": {"$patch": "replace", "metadata": {"creationTimestamp": null},
            "spec": {"containers": [{"name": "c", "image": "x:1"}]}}}});
        let mut now = Object::new(then.clone());
        default::template(&mut now);
        let now: Template = template_of(now.value()).expect("a template");
        assert!(holds(&then, &data(&now)));
        assert!(!holds(&then, &data(&template(r#"{"spec": {"containers": []}}"#))));
        assert!(!holds(&json!({"spec": 5}), &data(&now)));
    }

    #[test]
    fn a_name_that_is_taken_is_counted() {
        let owner = Meta { name: "a".repeat(240), namespace: "n".into(), ..Meta::default() };
        let template = template(r#"{"spec": {"containers": []}}"#);
        let taken = |others: Value| {
            let nobody = Claimed::of(&owner, &Selector::from_labels([("a", "b")]), Vec::new());
            let first = name(&owner, &template::hash(&template, None));
            History::new(&owner, nobody, &template, None, |name: &str| {
                let found =
                    ControllerRevision { data: others.clone(), ..ControllerRevision::default() };
                (name == first).then(|| Arc::new(found))
            })
        };
        let other = taken(json!({}));
        assert_eq!((other.collisions(), other.namesake.is_some()), (Some(1), false));
        let same = taken(data(&template));
        assert_eq!((same.collisions(), same.namesake.is_some()), (None, true));
        assert_eq!(name(&owner, "x").len(), PREFIX_MOST + 2);
    }
}
