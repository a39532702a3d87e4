//! Pods of a controller: what its template makes of them, and how one is created or deleted so that users hear of it.

use super::adoption::reference;
use super::template;
use crate::Change;
use crate::changes::{Tell, about};
use skiff_api::view::{Meta, View};
use skiff_base::Time;
use skiff_client::DeleteOptions;
use skiff_json::{Value, json};
use skiff_kinds::views::Pod;
use skiff_kinds::views::workloads::Template;
use std::time::Duration;

/// A pod as the template says, without a name: that is its controller's affair.
pub fn of_template(template: &Template) -> Value {
    let mut metadata = template::metadata(&template.metadata);
    if let Some(fields) = metadata.as_object_mut() {
        fields.remove("name");
    }
    json!({"metadata": metadata, "spec": template.spec})
}

/// Creates a pod that `owner` controls, in its namespace.
pub fn create<Owner: View>(owner: &Owner, pod: Value) -> Change {
    let tell = Tell {
        about: about(owner),
        done: ("SuccessfulCreate", "Created pod: {name}".into()),
        failed: ("FailedCreate", "Error creating: {error}".into()),
    };
    create_told(owner, pod, tell)
}

/// The same for an owner that has words of its own for it.
pub fn create_told<Owner: View>(owner: &Owner, mut pod: Value, tell: Tell) -> Change {
    let meta = owner.meta();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["namespace"] = json!(meta.namespace);
    pod["metadata"]["ownerReferences"] = json!([reference(Owner::RESOURCE, meta)]);
    let create =
        Change::Create { resource: Pod::RESOURCE, namespace: meta.namespace.clone(), body: pod };
    Change::Told(Box::new(create), tell)
}

/// Deletes this very pod of `owner`.
pub fn delete<Owner: View>(owner: &Owner, pod: &Meta) -> Change {
    let tell = Tell {
        about: about(owner),
        done: ("SuccessfulDelete", "Deleted pod: {name}".into()),
        failed: ("FailedDelete", "Error deleting: {error}".into()),
    };
    delete_told(pod, tell)
}

/// The same for an owner that has words of its own for it.
pub fn delete_told(pod: &Meta, tell: Tell) -> Change {
    let options = DeleteOptions { uid: Some(pod.uid.clone()), ..DeleteOptions::default() };
    let delete = Change::Delete { resource: Pod::RESOURCE, key: pod.key(), options };
    Change::Told(Box::new(delete), tell)
}

/// When a pod counts as available, which it is once it has been ready for so long; `None` while it is not ready.
pub fn available_at(pod: &Pod, min_ready_s: i32) -> Option<Time> {
    let ready = pod.status.condition("Ready").filter(|ready| ready.status == "True")?;
    match u64::try_from(min_ready_s).unwrap_or(0) {
        0 => Some(Time::UNIX_EPOCH),
        wait => Some(ready.last_transition_time? + Duration::from_secs(wait)),
    }
}

pub fn available(pod: &Pod, min_ready_s: i32, now: Time) -> bool {
    available_at(pod, min_ready_s).is_some_and(|at| at <= now)
}

/// When the next of them becomes available.
pub fn next_available<'p>(
    pods: impl IntoIterator<Item = &'p Pod>,
    min_ready_s: i32,
    now: Time,
) -> Option<Time> {
    let times = pods.into_iter().filter_map(|pod| available_at(pod, min_ready_s));
    times.filter(|at| *at > now).min()
}
