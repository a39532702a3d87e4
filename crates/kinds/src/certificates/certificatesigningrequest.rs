//! CertificateSigningRequest: asks a signer for a certificate, and waits to be approved (API reference:
//! authentication-resources). Who asks, and when a condition came about, the admission plugin of the group says.

use super::request::Request;
use super::{conditions, pem, signer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use skiff_api::check::{self, text};
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::kind::{
    Cell, Does, Hooks, Kind, NameRule, Subresource, Verb, age_column, column, name_column,
};
use skiff_api::object::Object;
use skiff_api::table::age;
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::HashSet;
use x509_parser::prelude::{FromDer, X509Certificate};

pub const RESOURCE: Resource = Resource::of(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
)
.cluster();

/// The entry through which conditions of approval are set.
pub const APPROVAL: &str = "approval";
/// What a certificate may be for, by name.
pub const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// A shorter life is not asked for.
const LIFE_LEAST_S: i64 = 600;
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

pub fn kind() -> Kind {
    // A request is signed or refused as it was made, so nobody owns a field of its spec.
    let part = |name: &'static str, keeps, unowned| {
        let does = Does::Part { part: &["metadata", "status"], keeps };
        Subresource { name: name.into(), does, verbs: Verb::PART, body: None, unowned }
    };
    Kind {
        short: vec!["csr".into()],
        name_rule: NameRule::Segment,
        columns: vec![
            name_column(),
            age_column(),
            column("SignerName", Cell::Path("spec.signerName".into())),
            column("Requestor", Cell::With(|it| it.text("spec.username").into())),
            column("RequestedDuration", Cell::With(duration)),
            column("Condition", Cell::With(condition)),
        ],
        subresources: vec![
            part(APPROVAL, &["status.certificate"], &["status.certificate"]),
            part("status", &[], &["status.conditions"]),
        ],
        selectable: vec!["spec.signerName".into()],
        converts_fields: true,
        unowned: &["spec"],
        hooks: Hooks { prepare, prepare_part, validate, validate_part, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn duration(request: &Object) -> Value {
    let seconds = request.int("spec.expirationSeconds");
    let ends = seconds.and_then(|it| Timestamp::from_second(it).ok());
    ends.map_or_else(|| "<none>".into(), |ends| age(Timestamp::UNIX_EPOCH, ends)).into()
}

fn condition(request: &Object) -> Value {
    let has = |type_| !conditions(request.list("status.conditions"), type_).is_empty();
    let mut shown = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    }
    .to_owned();
    if has("Failed") {
        shown += ",Failed";
    }
    if !request.text("status.certificate").is_empty() {
        shown += ",Issued";
    }
    shown.into()
}

/// What was asked stays; nobody asks for what is approved already.
fn prepare(new: &mut Object, old: Option<&Object>) {
    if let Some(old) = old {
        new.copy_from(old, "spec");
    }
}

/// Who signs approves nothing: those conditions stay as they are, unless one was added or taken away, which is refused.
fn prepare_part(entry: &str, new: &mut Object, old: &Object) {
    if entry == APPROVAL {
        return;
    }
    let before = old.list("status.conditions");
    let mut now = new.list("status.conditions").to_vec();
    for type_ in ["Approved", "Denied"] {
        let is = |it: &&mut Value| text(it, "type") == type_;
        let kept = conditions(before, type_);
        if kept.len() == now.iter_mut().filter(is).count() {
            now.iter_mut().filter(is).zip(kept).for_each(|(new, old)| *new = old.clone());
        }
    }
    if !now.is_empty() {
        new.set("status.conditions", now);
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, old, errors);
    validate_conditions(new, old, errors);
    if let Some(old) = old {
        validate_change("", new, old, errors);
    }
}

fn validate_part(entry: &str, new: &Object, old: &Object, errors: &mut Errors) {
    validate_spec(new, Some(old), errors);
    validate_conditions(new, Some(old), errors);
    let certificate = new.text("status.certificate");
    if certificate != old.text("status.certificate")
        && let Err(why) = validate_certificate(certificate)
    {
        errors.invalid(&Path::new("status.certificate"), "<certificate data>", &why);
    }
    validate_change(entry, new, old, errors);
}

fn validate_spec(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let spec = Path::new("spec");
    let bytes = STANDARD.decode(new.text("spec.request")).unwrap_or_default();
    if old.is_none()
        && let Err(why) = Request::of_pem(&bytes)
    {
        let body =
            format!("Invalid value: {}: {why}", new.at("spec.request").unwrap_or(&Value::Null));
        errors.push(ErrorType::Invalid, &spec.child("request"), body);
    }
    let path = spec.child("usages");
    let usages = new.list("spec.usages");
    if usages.is_empty() {
        errors.required(&path, "");
    }
    let names = || usages.iter().map(|it| it.as_str().unwrap_or("")).enumerate();
    // What was stored with a fault, by rules of before, may go on.
    if old.is_none() {
        for (index, usage) in names().filter(|(_, usage)| !USAGES.contains(usage)) {
            errors.not_supported(&path.index(index), usage, &USAGES);
        }
        let mut seen = HashSet::new();
        names()
            .for_each(|(index, usage)| check::unique(&path.index(index), usage, &mut seen, errors));
    }
    let (path, name) = (spec.child("signerName"), new.text("spec.signerName"));
    if old.is_none() && name == signer::LEGACY {
        errors.invalid(&path, name, "the legacy signerName is not allowed via this API version");
    } else {
        signer::validate(name, &path, errors);
    }
    if let Some(seconds) = new.int("spec.expirationSeconds").filter(|it| *it < LIFE_LEAST_S) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&spec.child("expirationSeconds"), seconds, why);
    }
}

fn validate_conditions(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("status.conditions");
    let all = new.list("status.conditions");
    let before = old.map_or(&[][..], |old| old.list("status.conditions"));
    let has = |list: &[Value], type_| !conditions(list, type_).is_empty();
    let both = |list| has(list, "Approved") && has(list, "Denied");
    if both(all) && !both(before) {
        let both =
            ["Approved", "Denied"].map(|type_| format!("conditions[{{\"type\": {type_:?}}}]"));
        let why = both.each_ref().map(|one| format!("`{one}`")).join(", ");
        let why = format!("must specify at most one of: {why}");
        errors.invalid(&path, format!("{{{}}}", both.join(", ")), &why);
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, condition) in all.iter().enumerate() {
        let (here, type_) = (path.index(index), text(condition, "type"));
        check::required(condition, "type", &here, errors);
        let lasting = ["Approved", "Denied", "Failed"].contains(&type_);
        let known = if lasting { &STATUSES[1..2] } else { &STATUSES[..] };
        check::one_of(&here.child("status"), text(condition, "status"), known, errors);
        check::unique(&here.child("type"), type_, &mut seen, errors);
    }
}

/// What no write changes, and what one entry alone may.
fn validate_change(entry: &str, new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status.conditions");
    let of = |object: &'_ Object, type_| -> Vec<Value> {
        conditions(object.list("status.conditions"), type_).into_iter().cloned().collect()
    };
    for type_ in ["Approved", "Denied", "Failed"] {
        if of(new, type_).len() < of(old, type_).len() {
            errors
                .forbidden(&path, &format!("updates may not remove a condition of type {type_:?}"));
        }
    }
    for type_ in ["Approved", "Denied"].into_iter().filter(|_| entry != APPROVAL) {
        let (now, before) = (of(new, type_), of(old, type_));
        if now.len() > before.len() {
            errors.forbidden(&path, &format!("updates may not add a condition of type {type_:?}"));
        } else if now.len() == before.len() && now != before {
            let why = format!("updates may not modify a condition of type {type_:?}");
            errors.forbidden(&path, &why);
        }
    }
    let (now, before) = (new.text("status.certificate"), old.text("status.certificate"));
    if now != before {
        let path = Path::new("status.certificate");
        match entry {
            "status" if before.is_empty() => {}
            "status" => {
                errors.forbidden(&path, "updates may not modify existing certificate content")
            }
            _ => errors.forbidden(&path, "updates may not set certificate content"),
        }
    }
}

fn validate_certificate(encoded: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut blocks = pem::blocks(&text).peekable();
    if blocks.peek().is_none() {
        return Err("must contain at least one CERTIFICATE PEM block".into());
    }
    for block in blocks {
        if block.label != "CERTIFICATE" {
            let label = block.label;
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {label:?}"));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".into());
        }
        if block.bytes.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".into());
        }
        let mut rest = &block.bytes[..];
        while !rest.is_empty() {
            (rest, _) = X509Certificate::from_der(rest)
                .map_err(|_| "x509: malformed certificate".to_owned())?;
        }
    }
    Ok(())
}
