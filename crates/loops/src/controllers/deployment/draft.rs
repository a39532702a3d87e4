//! A draft: a ReplicaSet as this pass wants it, beside what it is.

use crate::changes::{Tell, about};
use crate::parts::template::{self, HASH_LABEL};
use crate::{Change, Changes};
use skiff_api::view::{Meta, View};
use skiff_json::{Value, json};
use skiff_kinds::views::workloads::{ReplicaSetSpec, ReplicaSetStatus};
use skiff_kinds::views::{Deployment, ReplicaSet};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MOST: &str = "deployment.kubernetes.io/max-replicas";

pub struct Draft {
    /// As it is; for one that is to be created, as it would be with no pods.
    pub set: Arc<ReplicaSet>,
    pub exists: Existence,
    pub replicas: i32,
    pub annotations: BTreeMap<String, String>,
    pub min_ready_s: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    Stored,
    ToCreate,
}

impl Draft {
    pub fn of(set: Arc<ReplicaSet>) -> Draft {
        Draft {
            exists: Existence::Stored,
            replicas: set.spec.replicas,
            annotations: set.metadata.annotations.clone(),
            min_ready_s: set.spec.min_ready_seconds,
            set,
        }
    }

    /// The set for the template that the deployment has now.
    pub fn create(deployment: &Deployment, name: String, hash: &str) -> Draft {
        let mut template = deployment.spec.template.clone();
        template.metadata.labels.insert(HASH_LABEL.into(), hash.into());
        let mut selector = deployment.spec.selector.clone();
        selector.0["matchLabels"][HASH_LABEL] = json!(hash);
        let metadata = Meta {
            name,
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            ..Meta::default()
        };
        let min_ready_seconds = deployment.spec.min_ready_seconds;
        let spec = ReplicaSetSpec { replicas: 0, min_ready_seconds, selector, template };
        let set = ReplicaSet { metadata, spec, status: ReplicaSetStatus::default() };
        Draft { exists: Existence::ToCreate, ..Draft::of(Arc::new(set)) }
    }

    pub fn name(&self) -> &str {
        &self.set.metadata.name
    }

    pub fn number(&self, annotation: &str) -> Option<i32> {
        self.annotations.get(annotation).and_then(|text| text.parse().ok()).filter(|n| *n >= 0)
    }

    /// Sizes it, and notes for which size of the deployment that was. Says whether the size is another one.
    pub fn size(&mut self, replicas: i32, wanted: i32, most: i32) -> bool {
        self.annotations.insert(DESIRED.into(), wanted.to_string());
        self.annotations.insert(MOST.into(), most.to_string());
        std::mem::replace(&mut self.replicas, replicas) != replicas
    }

    /// Writes it, if it is not as it is stored.
    pub fn write(&self, deployment: &Deployment, out: &mut Changes) {
        let meta = &self.set.metadata;
        let was = match self.exists {
            Existence::Stored => self.set.spec.replicas,
            Existence::ToCreate => 0,
        };
        let mut tell = Tell { about: about(deployment), ..Tell::default() };
        if was != self.replicas {
            let direction = if was < self.replicas { "up" } else { "down" };
            let message = format!(
                "Scaled {direction} replica set {} from {was} to {}",
                meta.name, self.replicas
            );
            tell.done = ("ScalingReplicaSet", message);
        }
        let change = match self.exists {
            Existence::ToCreate => {
                let message =
                    format!("Failed to create new replica set {:?}: {{error}}", meta.name);
                tell.failed = ("ReplicaSetCreateError", message);
                let namespace = meta.namespace.clone();
                Change::Create {
                    resource: ReplicaSet::RESOURCE,
                    namespace,
                    body: self.body(deployment),
                }
            }
            Existence::Stored => {
                let Some(body) = self.difference() else { return };
                Change::Merge {
                    resource: ReplicaSet::RESOURCE,
                    key: meta.key(),
                    subresource: "",
                    body,
                }
            }
        };
        out.push(Change::Told(Box::new(change), tell));
    }

    fn body(&self, deployment: &Deployment) -> Value {
        let meta = &self.set.metadata;
        let owner = crate::parts::adoption::reference(Deployment::RESOURCE, &deployment.metadata);
        let mut body = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": meta.labels,
                "annotations": self.annotations, "ownerReferences": [owner]},
            "spec": {"replicas": self.replicas, "selector": self.set.spec.selector.0,
                "template": template::json(&self.set.spec.template)}});
        if self.min_ready_s != 0 {
            body["spec"]["minReadySeconds"] = json!(self.min_ready_s);
        }
        body
    }

    /// What to set; it holds only at the revision that this pass looked at: its decisions rest on the set's counts.
    fn difference(&self) -> Option<Value> {
        let meta = &self.set.metadata;
        let changed: BTreeMap<_, _> = self
            .annotations
            .iter()
            .filter(|(key, value)| meta.annotations.get(*key) != Some(value))
            .collect();
        let mut spec = json!({});
        if self.replicas != self.set.spec.replicas {
            spec["replicas"] = json!(self.replicas);
        }
        if self.min_ready_s != self.set.spec.min_ready_seconds {
            spec["minReadySeconds"] = json!(self.min_ready_s);
        }
        let mut body =
            json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}});
        if !changed.is_empty() {
            body["metadata"]["annotations"] = json!(changed);
        }
        let some_spec = spec.as_object().is_some_and(|fields| !fields.is_empty());
        if some_spec {
            body["spec"] = spec;
        }
        (some_spec || !changed.is_empty()).then_some(body)
    }
}
