//! Which certificates a node may ask for: those of its own name, and those of the pods that run on it.

use super::MIRROR;
use crate::authorize::{Attributes, Authorizer};
use crate::write::admission::{Admit, Operation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::Status;
use skiff_api::check::{list, text};
use skiff_api::object::Object;
use skiff_kinds::certificates::request::Request;
use skiff_kinds::certificates::signer;

/// A node's own certificate says who it is.
pub fn own_name(request: &Admit<'_>, node: &str, new: &Object) -> Result<(), Status> {
    if ![signer::KUBELET_SERVING, signer::KUBELET_CLIENT].contains(&new.text("spec.signerName")) {
        return Ok(());
    }
    let pem = STANDARD.decode(new.text("spec.request")).unwrap_or_default();
    match Request::of_pem(&pem) {
        Err(why) => Err(request.forbid(&format!("unable to parse csr: {why}"))),
        Ok(asked) if asked.common_name() != format!("system:node:{node}") => {
            let why = format!("can only create a node CSR with CN=system:node:{node}");
            Err(request.forbid(&why))
        }
        Ok(_) => Ok(()),
    }
}

/// A pod's certificate is asked for by the node that it runs on, and only if the pod wants it.
pub async fn of_own_pod(
    authorizer: &Authorizer,
    request: &Admit<'_>,
    node: &str,
    new: &Object,
) -> Result<(), Status> {
    if request.operation != Operation::Create {
        return Err(request.forbid("unexpected operation UPDATE"));
    }
    let spec = |field: &str| new.text(&format!("spec.{field}"));
    let place = |name: &str| format!("{}/{name}", request.namespace);
    // A uid that differs may be seen late: those refusals do not say that trying again is vain.
    let differs = |why: String| Err(Status::new(500, "", why));
    let pod_at = place(spec("podName"));
    if spec("nodeName") != node {
        let given = spec("nodeName");
        return Err(request.forbid(&format!(
            "PodCertificateRequest.Spec.NodeName={given:?}, which is not the requesting node {node:?}"
        )));
    }
    let own = named(request, "node", "nodes", "", node).await?;
    if own.uid() != spec("nodeUID") {
        return differs(format!(
            "PodCertificateRequest for pod {pod_at:?} names node UID {:?}, inconsistent with the running node ({:?})",
            spec("nodeUID"),
            own.uid()
        ));
    }
    let pod = named(request, "pod", "pods", request.namespace, spec("podName")).await?;
    if pod.uid() != spec("podUID") {
        return differs(format!(
            "PodCertificateRequest for pod {pod_at:?} contains pod UID ({:?}) which differs from running pod {:?}",
            spec("podUID"),
            pod.uid()
        ));
    }
    if pod.text("spec.nodeName") != node {
        return Err(request.forbid(&format!(
            "pod {pod_at:?} is not running on node {node:?} named in the PodCertificateRequest"
        )));
    }
    if pod.annotation(MIRROR).is_some() {
        return Err(request.forbid(&format!("pod {pod_at:?} is a mirror pod")));
    }
    let account = pod.text("spec.serviceAccountName");
    if spec("serviceAccountName") != account {
        return Err(request.forbid(&format!(
            "PodCertificateRequest for pod {pod_at:?} contains serviceAccountName ({:?}) that differs from running \
             pod ({account:?})",
            spec("serviceAccountName")
        )));
    }
    let type_ = "service account";
    let found = named(request, type_, "serviceaccounts", request.namespace, account).await?;
    if found.uid() != spec("serviceAccountUID") {
        return differs(format!(
            "PodCertificateRequest for pod {pod_at:?} names service account UID {:?}, which differs from the \
             running service account ({:?})",
            spec("serviceAccountUID"),
            found.uid()
        ));
    }
    if shows(&pod, spec("signerName")) || granted(authorizer, request, new).await {
        return Ok(());
    }
    Err(request.forbid(&format!(
        "pod {pod_at:?} does not mount a podCertificate projected volume for signer {:?}",
        spec("signerName")
    )))
}

/// What a request names, which may just not be seen yet.
async fn named(
    request: &Admit<'_>,
    type_: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Object, Status> {
    let found = request.read(("", plural), namespace, name).await?;
    found.ok_or_else(|| {
        let place = match namespace {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        let one = plural.trim_end_matches('s');
        let why = format!(
            "while retrieving {type_} {place:?} named in the PodCertificateRequest: {one} {name:?} not found"
        );
        Status::new(500, "", why)
    })
}

/// Whether a volume of the pod shows a certificate of this signer.
fn shows(pod: &Object, signer: &str) -> bool {
    let volumes = pod.list("spec.volumes").iter();
    let mut sources = volumes.flat_map(|volume| list(volume, "projected.sources"));
    sources.any(|source| text(source, "podCertificate.signerName") == signer)
}

/// Whether a role lets the node ask for certificates of this signer for the account.
async fn granted(authorizer: &Authorizer, request: &Admit<'_>, new: &Object) -> bool {
    let asked = Attributes {
        verb: "request-serviceaccounts-podcertificate-signer".into(),
        group: request.kind.group.clone().into_owned(),
        version: request.kind.version.clone().into_owned(),
        resource: new.text("spec.signerName").replace('/', ":"),
        name: new.text("spec.serviceAccountName").into(),
        namespace: request.namespace.into(),
        ..Attributes::default()
    };
    authorizer.decide(request.user, &asked).await.allowed()
}
