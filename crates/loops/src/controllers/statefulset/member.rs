//! A member of a StatefulSet: the pod of one ordinal, what it is called, how it is made, mended and deleted.

use super::{Pass, Step};
use crate::Change;
use crate::changes::{Note, Tell, about};
use crate::parts::pods;
use skiff_api::view::{Meta, View};
use skiff_json::{Value, json};
use skiff_kinds::views::Pod;
use std::sync::Arc;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
const REVISION: &str = "controller-revision-hash";

/// The ordinal of a pod that has the name of a member.
pub fn ordinal(set: &Meta, pod: &Pod) -> Option<i32> {
    let digits = pod.metadata.name.strip_prefix(&*set.name)?.strip_prefix('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    // `web-00` is nobody's name.
    (ordinal.to_string() == digits).then_some(ordinal)
}

/// The name of the revision that a pod was made of.
pub fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.get(REVISION).map_or("", String::as_str)
}

impl Pass<'_> {
    fn name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.set.metadata.name)
    }

    /// Makes pods, after the claims that they will need. An ordered set makes one.
    pub(super) fn make(&mut self, mut ordinals: Vec<i32>) -> Step {
        ordinals.retain(|ordinal| match self.leftover(*ordinal) {
            None => true,
            Some(why) => {
                self.reasons.push(why);
                false
            }
        });
        let (mut claims, mut made) = (Vec::new(), Vec::new());
        for ordinal in ordinals {
            let name = self.name(ordinal);
            if let Some(why) = self.claim_going(ordinal) {
                let tell = self.tell_of("Create", &name).failed;
                let message = tell.1.replace("{error}", &why);
                let note = Note::of(self.set, "Warning", tell.0, message);
                self.todo.push(Change::Event(note));
                continue;
            }
            claims.extend(self.claims_to_make(ordinal, &name));
            let tell = self.tell_of("Create", &name);
            made.push(pods::create_told(self.set, self.body(ordinal), tell));
        }
        self.together(claims);
        self.together(made);
        Step::Stop
    }

    /// The pod of an ordinal: of the older template as long as the update has not come to it.
    fn body(&self, ordinal: i32) -> Value {
        let (set, spec) = (self.set, &self.set.spec);
        let older = match &spec.update_strategy.rolling_update {
            Some(rolling) => rolling.partition,
            None if spec.update_strategy.type_ == "RollingUpdate" => set.status.current_replicas,
            None => 0,
        };
        let older = i64::from(ordinal) < i64::from(spec.ordinals.start) + i64::from(older);
        let (template, revision) = match &self.current_template {
            Some(template) if older => (template, &self.current),
            _ => (&spec.template, &self.update.name),
        };
        let (name, mut pod) = (self.name(ordinal), pods::of_template(template));
        let labels = &mut pod["metadata"]["labels"];
        labels[POD_NAME] = json!(name);
        labels[POD_INDEX] = json!(ordinal.to_string());
        labels[REVISION] = json!(revision);
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["generateName"] = json!(format!("{}-", set.metadata.name));
        pod["spec"]["hostname"] = json!(name);
        pod["spec"]["subdomain"] = json!(spec.service_name);
        if !spec.volume_claim_templates.is_empty() {
            let volumes = self.volumes(ordinal);
            let claimed = |volume: &Value| volumes.iter().any(|it| it["name"] == volume["name"]);
            let others = pod["spec"]["volumes"].as_array().into_iter().flatten();
            let others: Vec<Value> = others.filter(|it| !claimed(it)).cloned().collect();
            pod["spec"]["volumes"] = volumes.into_iter().chain(others).collect();
        }
        pod
    }

    /// Gives a pod back what makes it a member, where it has lost that or never had it.
    pub(super) fn mend(&mut self, ordinal: i32, pod: &Arc<Pod>) {
        let meta = &pod.metadata;
        let mut body = json!({"metadata": {"uid": meta.uid}});
        let tell = self.tell_of("Update", &meta.name);
        let named = meta.labels.get(POD_NAME) == Some(&meta.name);
        if !named {
            body["metadata"]["labels"] =
                json!({POD_NAME: meta.name, POD_INDEX: ordinal.to_string()});
        }
        let stored = self.holds_claims(ordinal, pod);
        if !stored {
            // Pods do not change their volumes: the refusal tells the user why this one is of no use.
            body["spec"]["volumes"] = self.volumes(ordinal).into();
            let claims = self.claims_to_make(ordinal, &meta.name);
            self.together(claims);
        }
        let retained = !self.retain(ordinal, pod);
        if !named || !stored {
            let merge =
                Change::Merge { resource: Pod::RESOURCE, key: meta.key(), subresource: "", body };
            self.todo.push(Change::Told(Box::new(merge), tell));
        } else if !retained {
            let (reason, message) = tell.done;
            let note = Note::of(self.set, "Normal", reason, message);
            self.todo.push(Change::Event(note));
        }
    }

    pub(super) fn delete(&mut self, pod: &Pod) {
        let deletion = self.deletion(pod);
        self.todo.push(deletion);
    }

    pub(super) fn deletion(&self, pod: &Pod) -> Change {
        pods::delete_told(&pod.metadata, self.tell_of("Delete", &pod.metadata.name))
    }

    /// What users hear of what is done to a pod.
    pub(super) fn tell_of(&self, verb: &'static str, pod: &str) -> Tell {
        let what = format!("{verb} Pod {pod} in StatefulSet {}", self.set.metadata.name);
        let (done, failed) = match verb {
            "Create" => ("SuccessfulCreate", "FailedCreate"),
            "Update" => ("SuccessfulUpdate", "FailedUpdate"),
            _ => ("SuccessfulDelete", "FailedDelete"),
        };
        Tell {
            about: about(self.set),
            done: (done, format!("{what} successful")),
            failed: (failed, format!("{what} failed error: {{error}}")),
        }
    }
}
