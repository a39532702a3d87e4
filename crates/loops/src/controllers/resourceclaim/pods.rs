//! Claims for pods: one is made of each template that a pod names, the pod's status says which, and a pod that was
//! given to a node by hand uses what is allocated.

use crate::changes::{Note, Tell, about};
use crate::parts::status::this;
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::resource::resourceclaim::POD_CLAIM;
use skiff_kinds::views::pod::{PodClaim, PodClaimStatus};
use skiff_kinds::views::{Consumer, Pod, ResourceClaim, ResourceClaimTemplate};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Generated names end in five letters, and a name has 63.
const BASE_MOST: usize = 57;
/// As many may use one claim.
const USERS_MOST: usize = 256;

/// Key: a Pod.
pub struct PodClaims;

pub struct Seen {
    pod: Arc<Pod>,
    /// For each claim of the pod, in its order.
    claims: Vec<Found>,
}

#[derive(Default)]
struct Found {
    /// The one that the pod or its status names, or that was made for it.
    claim: Option<Arc<ResourceClaim>>,
    template: Option<Arc<ResourceClaimTemplate>>,
}

impl Loop for PodClaims {
    const NAME: &'static str = super::NAME;
    const PART: &'static str = "resource-claims-of-pods";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<Pod>();
        on.map::<ResourceClaim>(|claim, caches| {
            let named = claim.metadata.key().to_string();
            let pods = caches.of::<Pod>().find("claim", &named);
            let owner = claim.metadata.controller().filter(|owner| owner.kind == "Pod");
            let owner = owner.map(|owner| Key::new(&claim.metadata.namespace, &owner.name));
            pods.iter().map(|pod| pod.metadata.key()).chain(owner).collect()
        });
        on.map::<ResourceClaimTemplate>(|template, caches| {
            let named = template.metadata.key().to_string();
            let pods = caches.of::<Pod>().find("claimTemplate", &named);
            pods.iter().map(|pod| pod.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(pod) = cx.caches.of::<Pod>().get(key) else { return Ok(None) };
        if pod.metadata.deleting() || pod.spec.resource_claims.is_empty() {
            return Ok(None);
        }
        let (claims, templates) =
            (cx.caches.of::<ResourceClaim>(), cx.caches.of::<ResourceClaimTemplate>());
        let own = claims.find("owner", &pod.metadata.uid);
        let find = |of: &PodClaim| {
            let at = |name: &str| Key::new(&key.namespace, name);
            let named = pod.claim_name(of).and_then(|name| claims.get(&at(name)));
            let made =
                || own.iter().find(|it| it.is_of(&pod.metadata) && it.made_for() == Some(&of.name));
            let template = of.resource_claim_template_name.as_deref();
            let claim = match template {
                // One of that name which somebody else made is not the pod's.
                Some(_) => named.filter(|it| it.is_of(&pod.metadata)).or_else(|| made().cloned()),
                None => named,
            };
            Found { claim, template: template.and_then(|name| templates.get(&at(name))) }
        };
        let claims = pod.spec.resource_claims.iter().map(find).collect();
        Ok(Some(Seen { pod, claims }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let pod = &seen.pod;
        let of_template = |claim: &PodClaim| claim.resource_claim_template_name.is_some();
        let mut made = BTreeMap::new();
        for (claim, found) in pod.spec.resource_claims.iter().zip(&seen.claims) {
            match (&found.claim, &found.template) {
                (Some(it), _) if of_template(claim) => {
                    made.insert(&*claim.name, &*it.metadata.name);
                }
                (None, Some(template)) => create(pod, claim, template, out),
                (None, None) if of_template(claim) => return missing(pod, claim, out),
                _ => {}
            }
        }
        tell(pod, &made, out);
        if !pod.spec.node_name.is_empty() {
            seen.claims
                .iter()
                .filter_map(|it| it.claim.as_ref())
                .for_each(|it| reserve(pod, it, out));
        }
        Next::Wait
    }
}

fn missing(pod: &Pod, claim: &PodClaim, out: &mut Changes) -> Next {
    let template = claim.resource_claim_template_name.as_deref().unwrap_or("");
    let message = format!(
        "PodResourceClaim {}: resource claim template {template:?}: resourceclaimtemplate.resource.k8s.io \
         {template:?} not found",
        claim.name
    );
    out.event(Note::of(pod, "Warning", "FailedResourceClaimCreation", message));
    Next::Wait
}

fn create(pod: &Pod, claim: &PodClaim, template: &ResourceClaimTemplate, out: &mut Changes) {
    let resource = ResourceClaim::RESOURCE;
    let mut annotations = template.spec.metadata.annotations.clone();
    annotations.insert(POD_CLAIM.to_owned(), claim.name.clone());
    let mut metadata = json!({"generateName": base(&pod.metadata.name, &claim.name), "annotations": annotations,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name,
            "uid": pod.metadata.uid, "controller": true}]});
    if !template.spec.metadata.labels.is_empty() {
        metadata["labels"] = json!(template.spec.metadata.labels);
    }
    let body = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": metadata,
        "spec": template.spec.spec});
    let namespace = pod.metadata.namespace.clone();
    let failed = format!("PodResourceClaim {}: create ResourceClaim : {{error}}", claim.name);
    let tell = Tell {
        about: about(pod),
        failed: ("FailedResourceClaimCreation", failed),
        ..Tell::default()
    };
    out.push(Change::Told(Box::new(Change::Create { resource, namespace, body }), tell));
}

/// Both names lose as much of their end as it takes.
fn base(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    if whole.len() <= BASE_MOST {
        return whole;
    }
    // What upstream cuts the second by is the length of what it cut the first to.
    let pod = &pod[..pod.len() * BASE_MOST / whole.len()];
    format!("{pod}-{}", &claim[..claim.len() * BASE_MOST / whole.len()])
}

/// The status of the pod names the claims that were made for it.
fn tell(pod: &Pod, made: &BTreeMap<&str, &str>, out: &mut Changes) {
    let told = &pod.status.resource_claim_statuses;
    let new = made.iter().any(|(name, claim)| {
        !told.iter().any(|it| it.name == **name && it.resource_claim_name.as_deref() == Some(claim))
    });
    if !new {
        return;
    }
    let mut all: BTreeMap<&str, &str> = told
        .iter()
        .filter_map(|it: &PodClaimStatus| Some((&*it.name, it.resource_claim_name.as_deref()?)))
        .collect();
    all.extend(made);
    let statuses: Vec<Value> =
        all.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim})).collect();
    let body = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid},
        "status": {"resourceClaimStatuses": statuses}});
    out.patch(PatchKind::Apply, Pod::RESOURCE, pod.metadata.key(), "status", body);
}

/// Whoever has a node uses what is allocated; before that it is the scheduler's affair.
fn reserve(pod: &Pod, claim: &ResourceClaim, out: &mut Changes) {
    let users = &claim.status.reserved_for;
    let uses = users.iter().any(|user| user.uid == pod.metadata.uid);
    if claim.status.allocation.is_none() || uses || users.len() >= USERS_MOST {
        return;
    }
    let mut users = users.clone();
    let (name, uid) = (pod.metadata.name.clone(), pod.metadata.uid.clone());
    users.push(Consumer { api_group: String::new(), resource: "pods".into(), name, uid });
    let body = json!({"metadata": this(&claim.metadata), "status": {"reservedFor": users}});
    out.status(ResourceClaim::RESOURCE, claim.metadata.key(), body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::view;
    use expect_test::{Expect, expect};

    fn check(pod: Value, claim: Option<Value>, template: Option<Value>, expected: Expect) {
        let claims = vec![Found { claim: claim.map(view), template: template.map(view) }];
        let mut out = Changes::default();
        let seen = Seen { pod: view(pod), claims };
        PodClaims::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}})
    }

    #[test]
    fn a_claim_is_made_of_its_template_and_named() {
        let template =
            json!({"spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {}}}});
        check(
            pod(),
            None,
            Some(template),
            expect![[r#"
            create resourceclaims n {"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","metadata":{"annotations":{"resource.kubernetes.io/pod-claim-name":"gpu"},"generateName":"p-gpu-","labels":{"a":"b"},"ownerReferences":[{"apiVersion":"v1","controller":true,"kind":"Pod","name":"p","uid":"u"}]},"spec":{"devices":{}}}
              failed FailedResourceClaimCreation: PodResourceClaim gpu: create ResourceClaim : {error}
        "#]],
        );
        let claim = json!({"metadata": {"name": "p-gpu-x", "namespace": "n", "uid": "c"}});
        check(
            pod(),
            Some(claim),
            None,
            expect![[r#"
            patch Apply pods n/p status {"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u"},"status":{"resourceClaimStatuses":[{"name":"gpu","resourceClaimName":"p-gpu-x"}]}}
        "#]],
        );
        check(
            pod(),
            None,
            None,
            expect![[r#"
            event Warning FailedResourceClaimCreation: PodResourceClaim gpu: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found
        "#]],
        );
    }

    #[test]
    fn a_pod_on_a_node_uses_what_is_allocated() {
        let mut pod = pod();
        pod["spec"]["nodeName"] = "a".into();
        pod["status"] =
            json!({"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "c"}]});
        let claim = json!({"metadata": {"name": "c", "namespace": "n", "uid": "c"}, "status": {"allocation": {}}});
        check(
            pod,
            Some(claim),
            None,
            expect![[r#"
            merge resourceclaims n/c status {"metadata":{"uid":"c"},"status":{"reservedFor":[{"name":"p","resource":"pods","uid":"u"}]}}
        "#]],
        );
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(base("p", "c"), "p-c-");
        assert!(base(&"p".repeat(60), &"c".repeat(60)).len() <= BASE_MOST + 1);
    }
}
