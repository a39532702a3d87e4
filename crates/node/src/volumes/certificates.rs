//! Certificates of pods (KEP-4317): the node makes a key, asks the signer that the volume names for its certificate,
//! and shows both; and does so anew when the signer said that it is time.
//!
//! A key never leaves the node, and is forgotten with the pod's volume.

use super::Given;
use super::payload::Files;
use super::projected::own_file;
use crate::rim::Rim;
use crate::sources::encode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::Method;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_api::wire::{Body, Frame, Payload};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::pod::CertificateProjection;
use skiff_kinds::views::{Node, Pod, PodCertificateRequest, PodCertificateStatus, ServiceAccount};
use std::collections::BTreeMap;
use std::time::Duration;

/// The API's default of maxExpirationSeconds.
const LIFE_S: u32 = 24 * 60 * 60;
/// So long a mount waits for an answer; what comes later is found by the next try.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request that nobody has answered for so long is given up, and another is made.
const ABANDONED: Duration = Duration::from_secs(15 * 60);
/// Between two tries to renew what is still good.
const AGAIN: Duration = Duration::from_secs(60);

/// What there is of each certificate that is wanted.
pub type Certificates = BTreeMap<CertificateProjection, Certificate>;

#[derive(Debug, Clone)]
pub struct Certificate {
    /// When it is looked at again.
    pub renew: Time,
    shown: Option<Shown>,
    asked: Option<Asked>,
    /// Why there will be none.
    refused: Option<String>,
}

/// Key and certificates, both as PEM.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    key: String,
    chain: String,
}

/// A request that is under way.
#[derive(Debug, Clone)]
struct Asked {
    key: String,
    name: String,
    since: Time,
}

/// The files of one.
pub fn files(wanted: &CertificateProjection, mode: u32, given: &Given) -> Result<Files, String> {
    let found = given.certificates.get(wanted).and_then(|it| it.shown.as_ref());
    let Shown { key, chain } = found.ok_or("credential bundle is not issued yet")?;
    let both = format!("{key}{chain}");
    let texts = [
        (&wanted.credential_bundle_path, &both),
        (&wanted.key_path, key),
        (&wanted.certificate_chain_path, chain),
    ];
    let named = texts.into_iter().filter(|(path, _)| !path.is_empty());
    let file = |text: &String| own_file(text.clone().into_bytes(), mode, given);
    Ok(named.map(|(path, text)| (path.clone(), file(text))).collect())
}

/// Makes sure that every certificate that is wanted is there and fresh.
pub async fn renew(
    rim: &Rim,
    pod: &Pod,
    wanted: &[CertificateProjection],
    certificates: &mut Certificates,
) -> Result<(), String> {
    for projection in wanted {
        let now = rim.world.now();
        let none = Certificate { renew: now, shown: None, asked: None, refused: None };
        let one = certificates.entry(projection.clone()).or_insert(none);
        if let Some(why) = &one.refused {
            return Err(why.clone());
        }
        if one.shown.is_some() && one.renew > now {
            continue;
        }
        match one.turn(rim, pod, projection).await {
            Ok(()) => {}
            Err(why) if one.shown.is_some() => {
                tracing::warn!(pod = %pod.metadata.key(), why, "a pod's certificate is not renewed");
                one.renew = now + AGAIN;
            }
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

impl Certificate {
    /// Asks, or looks for the answer.
    async fn turn(
        &mut self,
        rim: &Rim,
        pod: &Pod,
        wanted: &CertificateProjection,
    ) -> Result<(), String> {
        let now = rim.world.now();
        let asked = match self.asked.take().filter(|asked| now < asked.since + ABANDONED) {
            Some(asked) => asked,
            None => {
                let (key, request) = make(&wanted.key_type)?;
                let name = ask(rim, pod, wanted, &request).await.map_err(|it| it.to_string())?;
                Asked { key, name, since: now }
            }
        };
        let namespace = &pod.metadata.namespace;
        let answer = rim.world.within(PATIENCE, answer(rim, namespace, &asked.name)).await;
        let Some(status) = answer.transpose().map_err(|status| status.to_string())? else {
            self.asked = Some(asked);
            return Err("credential bundle is not issued yet".into());
        };
        match end(&status) {
            Ok(renew) => {
                self.renew = renew.unwrap_or(now + AGAIN);
                self.shown = Some(Shown { key: asked.key, chain: status.certificate_chain });
                Ok(())
            }
            Err(why) => {
                if self.shown.is_none() {
                    self.refused = Some(why.clone());
                }
                Err(why)
            }
        }
    }
}

/// When an issued certificate is to be renewed; or how it was refused, for good.
fn end(status: &PodCertificateStatus) -> Result<Option<Time>, String> {
    let of = |type_: &str| status.conditions.iter().find(|it| it.type_ == type_);
    for (type_, verb) in [("Denied", "denied"), ("Failed", "failed")] {
        if let Some(condition) = of(type_) {
            let (reason, message) = (&condition.reason, &condition.message);
            return Err(format!(
                "PodCertificateRequest was permanently {verb}: reason={reason:?} message={message:?}"
            ));
        }
    }
    Ok(status.begin_refresh_at)
}

/// A fresh key (PEM), and a request of nothing but its own signature (DER).
fn make(type_: &str) -> Result<(String, Vec<u8>), String> {
    let algorithm = match type_ {
        "ECDSAP256" => &rcgen::PKCS_ECDSA_P256_SHA256,
        "ECDSAP384" => &rcgen::PKCS_ECDSA_P384_SHA384,
        "ED25519" => &rcgen::PKCS_ED25519,
        other => return Err(format!("keys of type {other} are not made by this node")),
    };
    let made = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate_for(algorithm)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?;
        Ok((key.serialize_pem(), request.der().to_vec()))
    };
    made().map_err(|error| format!("generating a private key: {error}"))
}

async fn ask(
    rim: &Rim,
    pod: &Pod,
    wanted: &CertificateProjection,
    request: &[u8],
) -> Result<String, Status> {
    let meta = &pod.metadata;
    let account = match &*pod.spec.service_account_name {
        "" => "default",
        name => name,
    };
    let account: ServiceAccount = rim.client.view(&meta.namespace, account).await?;
    let node: Node = rim.client.view("", &rim.config.name).await?;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid});
    let body = json!({
        "apiVersion": PodCertificateRequest::RESOURCE.api_version(),
        "kind": PodCertificateRequest::RESOURCE.kind,
        "metadata": {"generateName": "req-", "namespace": meta.namespace, "ownerReferences": [owner]},
        "spec": {
            "signerName": wanted.signer_name,
            "podName": meta.name, "podUID": meta.uid,
            "serviceAccountName": account.metadata.name, "serviceAccountUID": account.metadata.uid,
            "nodeName": node.metadata.name, "nodeUID": node.metadata.uid,
            "maxExpirationSeconds": wanted.max_expiration_seconds.unwrap_or(LIFE_S),
            "unverifiedUserAnnotations": wanted.user_annotations,
            "stubPKCS10Request": STANDARD.encode(request),
        },
    });
    let made = rim.client.create(PodCertificateRequest::RESOURCE, &meta.namespace, body).await?;
    Ok(made.object()?.name().to_owned())
}

/// Waits until a request has ended, and says how.
async fn answer(rim: &Rim, namespace: &str, name: &str) -> Result<PodCertificateStatus, Status> {
    let node = &rim.config.name;
    let selector = encode(&format!("spec.nodeName={node},metadata.name={name}"));
    let path = PodCertificateRequest::RESOURCE.path(namespace, "", "");
    let query = format!("watch=true&fieldSelector={selector}");
    let watch = rim.client.send(Method::GET, &path, &query, "", Payload::None).await?;
    let Body::Watch(mut frames) = watch.body else {
        return Err(Status::internal("the answer is no watch"));
    };
    while let Some(frame) = frames.next().await {
        let stored = match frame {
            Frame::Added(stored) | Frame::Modified(stored) => stored,
            Frame::Bookmark { .. } => continue,
            Frame::Deleted(_) => break,
            Frame::Error(status) => return Err(status),
        };
        let request: PodCertificateRequest = skiff_client::decode(&stored)?;
        if !request.status.conditions.is_empty() {
            return Ok(request.status);
        }
    }
    let key = Key::new(namespace, name);
    Err(Status::internal(format!("PodCertificateRequest {key} was not answered")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_kinds::certificates::request::{KeyType, Request};

    #[test]
    fn keys_are_of_the_type_that_is_asked_for() {
        for (type_, wanted) in [
            ("ECDSAP256", KeyType::Ec("P-256")),
            ("ECDSAP384", KeyType::Ec("P-384")),
            ("ED25519", KeyType::Ed25519),
        ] {
            let (key, request) = make(type_).expect("it is made");
            assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "{key}");
            let read = Request::of_der(&request).expect("it is signed by its key");
            assert_eq!((read.key_type, read.subject.len()), (wanted, 0));
        }
        assert_eq!(
            make("RSA3072").err().as_deref(),
            Some("keys of type RSA3072 are not made by this node")
        );
    }

    #[test]
    fn an_answer_is_an_end() {
        let check = |text: &str| end(&skiff_json::from_str(text).expect("a status"));
        let issued = r#"{"conditions": [{"type": "Issued", "status": "True"}],
            "beginRefreshAt": "2026-01-01T00:00:00Z"}"#;
        assert_eq!(check(issued), Ok("2026-01-01T00:00:00Z".parse().ok()));
        let denied = r#"{"conditions": [{"type": "Denied", "status": "True", "reason": "r", "message": "m"}]}"#;
        let why = "PodCertificateRequest was permanently denied: reason=\"r\" message=\"m\"";
        assert_eq!(check(denied), Err(why.into()));
    }
}
