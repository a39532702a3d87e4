//! PodCertificateRequest: asks a signer for the certificate of one pod, on behalf of its node (KEP-4317). It is
//! answered once: issued, denied or failed. Who may answer is a matter of rights: the admission plugin of the group
//! asks, and holds what depends on the time.

use super::request::{BadRequest, KeyType, Request};
use super::{conditions, pem, signer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::check::{self, text};
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::kind::{Cell, Does, Hooks, Kind, Subresource, Verb, column, name_column};
use skiff_api::names;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

pub const RESOURCE: Resource =
    Resource::of("certificates.k8s.io", "v1", "podcertificaterequests", "PodCertificateRequest");

const UID_MOST: usize = 128;
const REQUEST_MOST: usize = 10 * 1024;
const CHAIN_MOST: usize = 100 * 1024;
const ANNOTATIONS_MOST: usize = 256 * 1024;
const LIFE_LEAST_S: i64 = 60 * 60;
const LIFE_MOST_S: i64 = 91 * 24 * 60 * 60;
/// Kubernetes' own signers sign for a day at most.
const OWN_LIFE_MOST_S: i64 = 24 * 60 * 60;
/// A certificate is renewed that long after its beginning and before its end.
const REFRESH_MARGIN_S: i64 = 10 * 60;
/// How one ends.
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("PodName", Cell::Path("spec.podName".into())),
            column("ServiceAccountName", Cell::Path("spec.serviceAccountName".into())),
            column("NodeName", Cell::Path("spec.nodeName".into())),
            column("SignerName", Cell::Path("spec.signerName".into())),
            column("State", Cell::With(|it| state(it).unwrap_or("Pending").into())),
            column("UnverifiedUserAnnotations", Cell::With(annotations)),
        ],
        subresources: vec![Subresource {
            name: "status".into(),
            does: Does::Part { part: &["status"], keeps: &[] },
            verbs: Verb::PART,
            body: None,
            unowned: &["metadata"],
        }],
        selectable: vec!["spec.signerName".into(), "spec.podName".into(), "spec.nodeName".into()],
        conditional: true,
        converts_fields: true,
        hooks: Hooks { validate, validate_part, ..Hooks::NONE },
        hashed_version: Some("v1beta1"),
        ..Kind::new(RESOURCE)
    }
}

/// How it ended, if it did.
pub fn state(request: &Object) -> Option<&'static str> {
    let all = request.list("status.conditions");
    ENDS.into_iter().rfind(|type_| {
        conditions(all, type_).iter().any(|condition| text(condition, "status") == "True")
    })
}

fn annotations(request: &Object) -> Value {
    let all = request.map("spec.unverifiedUserAnnotations");
    let shown: Vec<String> =
        all.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    if shown.is_empty() { "<none>".into() } else { shown.join(",").into() }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    match old {
        Some(old) => check::immutable("spec", new, old, errors),
        None => validate_new(new, errors),
    }
}

fn validate_new(new: &Object, errors: &mut Errors) {
    let spec = Path::new("spec");
    let signer = new.text("spec.signerName");
    signer::validate(signer, &spec.child("signerName"), errors);
    validate_annotations(new, &spec.child("unverifiedUserAnnotations"), errors);
    for (name, uid) in [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ] {
        let given = new.text(&format!("spec.{name}"));
        check::refuse(&spec.child(name), given, names::subdomain(given), errors);
        let given = new.text(&format!("spec.{uid}"));
        if given.is_empty() {
            errors.invalid(&spec.child(uid), given, "must not be empty");
        }
        if given.len() > UID_MOST {
            errors.too_long(&spec.child(uid), UID_MOST);
        }
    }
    let life = spec.child("maxExpirationSeconds");
    let Some(seconds) = new.int("spec.maxExpirationSeconds") else {
        return errors.required(&life, "must be set");
    };
    let most = if signer::is_own(signer) { OWN_LIFE_MOST_S } else { LIFE_MOST_S };
    if !(LIFE_LEAST_S..=most).contains(&seconds) {
        errors.invalid(&life, seconds, &format!("must be in the range [{LIFE_LEAST_S}, {most}]"));
    }
    validate_request(new, errors);
}

fn validate_annotations(new: &Object, path: &Path, errors: &mut Errors) {
    let all = new.map("spec.unverifiedUserAnnotations");
    let mut size = 0;
    for (key, value) in all {
        size += key.len() + value.as_str().map_or(0, str::len);
        let key = key.to_lowercase();
        let wrong = names::qualified(&key);
        if wrong.is_empty() && !key.contains('/') {
            let why = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.invalid(path, &*key, why);
        }
        check::refuse(path, &key, wrong, errors);
    }
    if size > ANNOTATIONS_MOST {
        errors.too_long(path, ANNOTATIONS_MOST);
    }
}

fn validate_request(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec.stubPKCS10Request");
    let der = STANDARD.decode(new.text("spec.stubPKCS10Request")).unwrap_or_default();
    if der.is_empty() {
        let why =
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
        return omitted(&Path::new("spec"), why, errors);
    }
    if der.len() > REQUEST_MOST {
        return errors.too_long(&path, REQUEST_MOST);
    }
    match Request::of_der(&der).map(|request| request.key_type) {
        Err(BadRequest::Form(_)) => omitted(&path, "must be a valid PKCS#10 CSR", errors),
        Err(BadRequest::Signature(_)) => omitted(&path, "invalid signature", errors),
        Ok(KeyType::Ed25519 | KeyType::Ec("P-256" | "P-384" | "P-521")) => {}
        Ok(KeyType::Ec(curve)) => {
            let why = "elliptic public keys must use curve P256, P384, or P521";
            errors.invalid(&path, format!("curve {curve}"), why);
        }
        Ok(KeyType::Rsa(3072 | 4096)) => {}
        Ok(KeyType::Rsa(bits)) => {
            let why = "RSA keys must have modulus size 3072 or 4096";
            errors.invalid(&path, format!("{bits}-bit modulus"), why);
        }
        Ok(KeyType::Other) => {
            let why = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";
            omitted(&path, why, errors);
        }
    }
}

/// `Invalid value: why`: the value says nothing to a reader.
fn omitted(path: &Path, why: &str, errors: &mut Errors) {
    errors.push(ErrorType::Invalid, path, format!("Invalid value: {why}"));
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    validate_conditions(new, errors);
    if !errors.is_empty() {
        return;
    }
    let status = Path::new("status");
    let changed = new.at("status") != old.at("status");
    match (state(old), state(new)) {
        (Some(_), _) if changed => {
            let why = "immutable after PodCertificateRequest is issued, denied, or failed";
            omitted(&status, why, errors);
        }
        (Some(_), _) => {}
        (None, Some("Issued")) => validate_issued(new, errors),
        (None, Some(_)) => {
            if new.map("status").keys().any(|key| key != "conditions") {
                let why = "non-condition status fields must be empty when denying or failing the \
                           PodCertificateRequest";
                omitted(&status, why, errors);
            }
        }
        (None, None) if changed => {
            let why =
                "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
            omitted(&status, why, errors);
        }
        (None, None) => {}
    }
}

fn validate_conditions(new: &Object, errors: &mut Errors) {
    let path = Path::new("status.conditions");
    let all = new.list("status.conditions");
    let mut known = 0;
    for (index, condition) in all.iter().enumerate() {
        let (type_, index) = (text(condition, "type"), format!("[{index}]"));
        let here = path.child(&index);
        if !ENDS.contains(&type_) {
            errors.not_supported(&here.child("type"), type_, &ENDS[..]);
            continue;
        }
        known += 1;
        if known > 1 {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.invalid(&here.child("type"), type_, why);
        }
        let given = text(condition, "status");
        if given != "True" {
            errors.not_supported(&here.child("status"), given, &["True"]);
        }
    }
    check::conditions(all, &path, errors);
}

/// The certificate is for the key of the request, and the times are those of the certificate.
fn validate_issued(new: &Object, errors: &mut Errors) {
    let path = Path::new("status.certificateChain");
    let chain = new.text("status.certificateChain");
    if chain.len() > CHAIN_MOST {
        return errors.too_long(&path, CHAIN_MOST);
    }
    let mut invalid = |why: &str| errors.invalid(&path, chain, why);
    let mut blocks = pem::blocks(chain);
    let Some(first) = blocks.next() else {
        return invalid("issued certificate chain must contain at least one certificate");
    };
    if first.label != "CERTIFICATE" {
        return invalid("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let Ok((&[], leaf)) = X509Certificate::from_der(&first.bytes) else {
        return invalid("leaf certificate does not parse as valid X.509");
    };
    let der = STANDARD.decode(new.text("spec.stubPKCS10Request")).unwrap_or_default();
    if Request::of_der(&der).map(|it| it.key).ok().as_deref() != Some(leaf.public_key().raw) {
        return invalid("leaf certificate was not issued to the requested public key");
    }
    if !validate_times(new, &leaf, errors) {
        return;
    }
    for block in blocks {
        if block.label != "CERTIFICATE" {
            let why = "issued certificate chain must consist entirely of CERTFICATE PEM blocks";
            return errors.invalid(&path, chain, why);
        }
        if X509Certificate::from_der(&block.bytes).is_err() {
            let why = "intermediate certificate does not parse as valid X.509";
            return errors.invalid(&path, chain, why);
        }
    }
}

/// Whether the times are right.
fn validate_times(new: &Object, leaf: &X509Certificate<'_>, errors: &mut Errors) -> bool {
    let status = Path::new("status");
    let own = "must be present and consistent with the issued certificate";
    let refresh = "must be present and in the range [notbefore+10min, notafter-10min]";
    let mut times = [0; 3];
    let fields = [("notBefore", own), ("notAfter", own), ("beginRefreshAt", refresh)];
    for ((field, why), time) in fields.into_iter().zip(&mut times) {
        match new.text(&format!("status.{field}")).parse::<jiff::Timestamp>() {
            Ok(at) => *time = at.as_second(),
            Err(_) => errors.required(&status.child(field), why),
        }
    }
    if !errors.is_empty() {
        return false;
    }
    let [since, ends, refresh] = times;
    let validity = leaf.validity();
    let life = validity.not_after.timestamp() - validity.not_before.timestamp();
    let most = new.int("spec.maxExpirationSeconds").unwrap_or(0);
    let mut wrong = |field: &str, why: &str| {
        let shown = match field {
            // Upstream shows nanoseconds.
            "certificateChain" => (life * 1_000_000_000).to_string(),
            field => format!("{:?}", new.text(&format!("status.{field}"))),
        };
        errors.push(
            ErrorType::Invalid,
            &status.child(field),
            format!("Invalid value: {shown}: {why}"),
        );
        false
    };
    match () {
        () if since != validity.not_before.timestamp() => {
            wrong("notBefore", "must be set to the NotBefore time encoded in the leaf certificate")
        }
        () if ends != validity.not_after.timestamp() => {
            wrong("notAfter", "must be set to the NotAfter time encoded in the leaf certificate")
        }
        () if life < LIFE_LEAST_S => {
            wrong("certificateChain", "leaf certificate lifetime must be >= 1 hour")
        }
        () if life > most => wrong(
            "certificateChain",
            &format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})"),
        ),
        () if refresh < since + REFRESH_MARGIN_S => {
            wrong("beginRefreshAt", "must be at least 10 minutes after status.notBefore")
        }
        () if refresh > ends - REFRESH_MARGIN_S => {
            wrong("beginRefreshAt", "must be at least 10 minutes before status.notAfter")
        }
        () => true,
    }
}
