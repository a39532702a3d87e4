//! Certificates: who asked for one, and who may approve, sign or vouch (documentation page "Certificates and
//! Certificate Signing Requests"). A signer is a name; the right to approve, sign or attest for it is one on
//! `signers` of that name, or of all names of its domain.
//!
//! Upstream has a plugin for each of the four refusals (CertificateApproval, CertificateSigning,
//! CertificateSubjectRestriction, ClusterTrustBundleAttest), and the rest in the storage of these kinds.

use super::{Admit, Next, Operation, Plugin, Verdict};
use crate::authorize::escalate::only_owners_change;
use crate::authorize::{Attributes, Authorizer};
use crate::request::codec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::Status;
use skiff_api::check::text;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_base::World;
use skiff_json::{Value, json};
use skiff_kinds::certificates::certificatesigningrequest::APPROVAL;
use skiff_kinds::certificates::request::Request;
use skiff_kinds::certificates::{podcertificaterequest, signer};
use std::sync::Arc;

const GROUP: &str = "certificates.k8s.io";
const MASTERS: &str = "system:masters";
/// So far may the beginning of a pod's certificate lie from now.
const SKEW_S: i64 = 5 * 60;

pub struct Certificates {
    authorizer: Arc<Authorizer>,
    world: World,
}

impl Certificates {
    pub fn new(authorizer: Arc<Authorizer>, world: World) -> Certificates {
        Certificates { authorizer, world }
    }

    /// Whether the user has this right about a signer.
    async fn may(&self, at: &Admit<'_>, verb: &str, signer: &str) -> bool {
        let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
        for name in [signer.to_owned(), format!("{domain}/*")] {
            let asked = Attributes {
                verb: verb.into(),
                group: GROUP.into(),
                version: "*".into(),
                resource: "signers".into(),
                name,
                ..Attributes::default()
            };
            if self.authorizer.decide(at.user, &asked).await.allowed() {
                return true;
            }
        }
        false
    }

    async fn judge(&self, at: &Admit<'_>, new: &Object) -> Result<(), Status> {
        match (&*at.kind.plural, at.subresource, at.old) {
            ("certificatesigningrequests", "", None) => restrict(at, new),
            ("certificatesigningrequests", APPROVAL, Some(old)) => {
                let signer = old.text("spec.signerName");
                if self.may(at, "approve", signer).await {
                    return Ok(());
                }
                let why = "user not permitted to approve requests with signerName";
                Err(at.forbid(&format!("{why} {signer:?}")))
            }
            ("certificatesigningrequests", "status", Some(old)) => {
                let signer = old.text("spec.signerName");
                let same = |path| old.at(path) == new.at(path);
                if (same("status.certificate") && same("status.conditions"))
                    || self.may(at, "sign", signer).await
                {
                    return Ok(());
                }
                let why = "user not permitted to sign requests with signerName";
                Err(at.forbid(&format!("{why} {signer:?}")))
            }
            ("clustertrustbundles", "", old) => {
                let signer = new.text("spec.signerName");
                if signer.is_empty()
                    || old.is_some_and(|old| only_owners_change(new, old))
                    || self.may(at, "attest", signer).await
                {
                    return Ok(());
                }
                let why = format!("user not permitted to attest for signerName {signer:?}");
                Err(at.forbid(&why))
            }
            ("podcertificaterequests", "status", Some(old)) => self.answered(at, new, old).await,
            _ => Ok(()),
        }
    }

    /// The answer to a pod's request: at this time, by who may sign.
    async fn answered(&self, at: &Admit<'_>, new: &Object, old: &Object) -> Result<(), Status> {
        if old.at("status") == new.at("status") {
            return Ok(());
        }
        let mut errors = Errors::new();
        let (since, signer) = (new.text("status.notBefore"), new.text("spec.signerName"));
        let begins = since.parse().map_or(0, |time: skiff_base::Time| time.as_second());
        if podcertificaterequest::state(new) == Some("Issued")
            && (begins - self.world.now().as_second()).abs() >= SKEW_S
        {
            let why = "must be set to within 5 minutes of kube-apiserver's current time";
            errors.invalid(&Path::new("status.notBefore"), since, why);
        } else if !self.may(at, "sign", signer).await {
            let user = &at.user.name;
            let why = format!("User {user:?} is not permitted to \"sign\" for signer {signer:?}");
            errors.forbidden(&Path::new("spec.signerName"), &why);
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(at.kind.about_kind(), &at.name, &errors))
    }
}

impl Plugin for Certificates {
    fn name(&self) -> &'static str {
        "Certificates"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        if at.kind.group == GROUP && at.kind.plural == "certificatesigningrequests" {
            match (at.operation, at.old) {
                (Operation::Create, _) => sign_name(at, new),
                (Operation::Update, Some(old)) if !at.subresource.is_empty() => {
                    note_times(new, old, &codec::time(self.world.now()));
                }
                _ => {}
            }
        }
        Ok(Next::GoOn).into()
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match new {
            Some(new) if at.kind.group == GROUP => Verdict::later(self.judge(at, new)),
            _ => Verdict::PASS,
        }
    }
}

/// Who asks is not for them to say.
fn sign_name(at: &Admit<'_>, new: &mut Object) {
    for field in ["username", "uid", "groups", "extra"] {
        new.remove(&format!("spec.{field}"));
    }
    let user = at.user;
    new.set("spec.username", &*user.name);
    if !user.uid.is_empty() {
        new.set("spec.uid", &*user.uid);
    }
    if !user.groups.is_empty() {
        new.set("spec.groups", json!(user.groups));
    }
    if !user.extra.is_empty() {
        let extra: skiff_json::Map =
            user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
        new.set("spec.extra", extra);
    }
}

/// Conditions that say no time came about now, or when they were first set.
fn note_times(new: &mut Object, old: &Object, now: &str) {
    let before = old.list("status.conditions");
    let mut all = new.list("status.conditions").to_vec();
    for condition in &mut all {
        if text(condition, "lastUpdateTime").is_empty() {
            condition["lastUpdateTime"] = now.into();
        }
        if text(condition, "lastTransitionTime").is_empty() {
            let same = |it: &&Value| {
                ["type", "status"].iter().all(|field| text(it, field) == text(condition, field))
            };
            let since = before.iter().find(same).map(|it| text(it, "lastTransitionTime"));
            let since = since.filter(|time| !time.is_empty()).unwrap_or(now).to_owned();
            condition["lastTransitionTime"] = since.into();
        }
    }
    if !all.is_empty() {
        new.set("status.conditions", all);
    }
}

/// Nobody asks to be a master.
fn restrict(at: &Admit<'_>, new: &Object) -> Result<(), Status> {
    if new.text("spec.signerName") != signer::CLIENT {
        return Ok(());
    }
    let pem = STANDARD.decode(new.text("spec.request")).unwrap_or_default();
    match Request::of_pem(&pem) {
        Err(why) => Err(at.forbid(&format!("failed to parse CSR: {why}"))),
        Ok(asked) if asked.organizations().iter().any(|group| group == MASTERS) => {
            let signer = signer::CLIENT;
            let why = format!("use of {signer} signer with {MASTERS} group is not allowed");
            Err(at.forbid(&why))
        }
        Ok(_) => Ok(()),
    }
}
