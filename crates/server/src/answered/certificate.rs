//! CertificateSigningRequest: a node's certificate, for a key that it made itself (documentation page "Certificates and
//! Certificate Signing Requests"). It is approved, signed and answered at once, and stored nowhere.
//!
//! Approved is what upstream's approver approves: a node's client certificate, for whoever may create
//! `certificatesigningrequests/nodeclient` or for the node itself; and, for the node itself, a serving certificate of
//! what is its own ([`sign`](crate::identity::keys::sign)). Nothing else is signed.

use crate::Server;
use crate::authorize::{Attributes, node};
use crate::identity::keys::sign::{Asked, Use};
use crate::request::codec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_api::wire::User;
use skiff_kinds::certificates::certificatesigningrequest::RESOURCE;
use std::time::Duration;

const ABOUT: About = About { group: RESOURCE.group, resource: RESOURCE.plural };

/// The request with its certificate.
pub async fn sign(server: &Server, user: &User, mut body: Object) -> Result<Object, Status> {
    let invalid = |field: &str, value: &str, why: &str| {
        let (mut errors, spec) = (Errors::new(), Path::new("spec"));
        errors.invalid(&spec.child(field), value, why);
        Status::invalid(ABOUT, "", &errors)
    };
    let signer = body.text("spec.signerName");
    let purpose = [Use::Client, Use::Serving].into_iter().find(|it| it.signer() == signer);
    let purpose =
        purpose.ok_or_else(|| invalid("signerName", signer, "nobody here signs for it"))?;
    let pem = STANDARD.decode(body.text("spec.request")).ok();
    let pem = pem.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let asked = Asked::read(&pem).map_err(|why| invalid("request", "", &why))?;
    may(server, user, &asked, purpose).await?;
    let signer = server.signer.as_ref();
    let signer = signer.ok_or_else(|| Status::internal("this server signs nothing"))?;
    if let Some(why) = signer.refusal(&asked, purpose) {
        return Err(Status::forbidden(ABOUT, body.name(), &why));
    }
    let seconds = body.int("spec.expirationSeconds").and_then(|it| u64::try_from(it).ok());
    let life = seconds.map(Duration::from_secs);
    let certificate = signer.sign(&asked, purpose, life, &server.world);
    let certificate = certificate.map_err(|error| Status::internal(error.to_string()))?;
    let now = codec::time(server.world.now());
    body.set("spec.username", json!(user.name));
    body.set("spec.groups", json!(user.groups));
    body.set("metadata.creationTimestamp", now.clone());
    let message = "Auto approving kubelet certificate after SubjectAccessReview.";
    body.set(
        "status",
        json!({"certificate": STANDARD.encode(certificate), "conditions": [{
        "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now}]}),
    );
    Ok(body)
}

/// Whether somebody may have this certificate.
async fn may(server: &Server, user: &User, asked: &Asked, purpose: Use) -> Result<(), Status> {
    if node::name(user) == Some(&asked.node) {
        return Ok(());
    }
    let attributes = Attributes {
        verb: "create".into(),
        group: RESOURCE.group.into(),
        version: "v1".into(),
        resource: RESOURCE.plural.into(),
        subresource: "nodeclient".into(),
        ..Attributes::default()
    };
    match purpose {
        Use::Client => server.authorizer.check(user, &attributes).await,
        Use::Serving => {
            let why = "a serving certificate is the node's own to ask for";
            Err(Status::forbidden(ABOUT, &asked.node, why))
        }
    }
}
