//! Projected volumes and the downward API: files made of what the cluster knows.

use super::env;
use super::volumes::key_to_path;
use crate::certificates::signer;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;
use std::collections::HashSet;

/// What files may tell about a pod.
const FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Shortest and longest life of a token, in seconds.
const TOKEN_LEAST_S: i64 = 600;
const TOKEN_MOST_S: i64 = 1 << 32;

const KEY_TYPES: &[&str] =
    &["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];

/// Shortest and longest life of a pod's certificate, and the longest of one of Kubernetes' own signers.
const CERTIFICATE_LEAST_S: i64 = 3600;
const CERTIFICATE_MOST_S: i64 = 91 * 86400;
const CERTIFICATE_OWN_MOST_S: i64 = 86400;

pub fn downward(source: &Value, path: &Path, errors: &mut Errors) {
    file_mode(source, "defaultMode", path, errors);
    for file in list(source, "items") {
        downward_file(file, path, errors);
    }
}

fn downward_file(file: &Value, path: &Path, errors: &mut Errors) {
    required(file, "path", path, errors);
    descending_unreserved(&path.child("path"), text(file, "path"), errors);
    match (at(file, "fieldRef"), at(file, "resourceFieldRef")) {
        (Some(field), resource) => {
            env::field_selector(field, FIELDS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", why);
            }
        }
        (None, Some(resource)) => {
            let here = path.child("resourceFieldRef");
            if text(resource, "containerName").is_empty() {
                errors.required(&here.child("containerName"), "");
                env::divisor(resource, &here, errors);
            } else {
                env::resource_selector(resource, &here, errors);
            }
        }
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    file_mode(file, "mode", path, errors);
}

pub fn projected(source: &Value, path: &Path, errors: &mut Errors) {
    file_mode(source, "defaultMode", path, errors);
    let mut seen = Seen { paths: HashSet::new(), path };
    let sources = path.child("sources");
    for (index, part) in list(source, "sources").iter().enumerate() {
        let here = sources.index(index);
        let fields = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ];
        for (field, value) in fields.iter().filter_map(|field| Some((*field, at(part, field)?))) {
            let here = here.child(field);
            match field {
                "secret" | "configMap" => keys(value, &here, &mut seen, errors),
                "downwardAPI" => {
                    for file in list(value, "items") {
                        downward_file(file, &here, errors);
                        seen.take(text(file, "path"), text(file, "path"), errors);
                    }
                }
                "serviceAccountToken" => token(value, path, &here, errors),
                "clusterTrustBundle" => trust_bundle(value, &here, &mut seen, errors),
                _ => certificate(value, &here, &mut seen, errors),
            }
        }
        if fields.iter().filter(|field| at(part, field).is_some()).count() > 1 {
            errors.forbidden(&here, "may not specify more than 1 volume type per source");
        }
    }
}

/// The files that are made so far: two sources may not make the same.
struct Seen<'a> {
    paths: HashSet<String>,
    path: &'a Path<'a>,
}

impl Seen<'_> {
    fn take(&mut self, file: &str, shown: &str, errors: &mut Errors) {
        if !file.is_empty() && !self.paths.insert(file.to_owned()) {
            errors.invalid(self.path, shown, "conflicting duplicate paths");
        }
    }
}

fn keys(source: &Value, path: &Path, seen: &mut Seen<'_>, errors: &mut Errors) {
    required(source, "name", path, errors);
    let items = path.child("items");
    for (index, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &items.index(index), errors);
        seen.take(text(item, "path"), text(source, "name"), errors);
    }
}

fn token(token: &Value, volume: &Path, path: &Path, errors: &mut Errors) {
    let life = path.child("expirationSeconds");
    match int(token, "expirationSeconds") {
        None => errors.required(&life, ""),
        Some(seconds) if seconds < TOKEN_LEAST_S => {
            errors.invalid(&life, seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > TOKEN_MOST_S => {
            errors.invalid(&life, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        Some(_) => {}
    }
    match text(token, "path") {
        "" => errors.required(&volume.child("path"), ""),
        file => descending_unreserved(&volume.child("path"), file, errors),
    }
}

fn trust_bundle(bundle: &Value, path: &Path, seen: &mut Seen<'_>, errors: &mut Errors) {
    let (name, signer) = (at(bundle, "name"), at(bundle, "signerName"));
    match (name.and_then(Value::as_str), signer.and_then(Value::as_str)) {
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            super::internal::invalid(errors, path, "ClusterTrustBundleProjection", bundle, why);
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.required(&path.child("name"), "must be a valid object name");
            }
            for why in skiff_api::names::subdomain(name.rsplit(':').next().unwrap_or(name)) {
                let why = format!("not a valid clustertrustbundlename: {why}");
                errors.invalid(&path.child("name"), name, &why);
            }
            if let Some(selector) = at(bundle, "labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                errors.invalid(&path.child("labelSelector"), selector.clone(), why);
            }
        }
        (None, Some(name)) => {
            if name.is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            }
            signer::validate(name, &path.child("signerName"), errors);
            label_selector(bundle, "labelSelector", path, errors);
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
    required(bundle, "path", path, errors);
    let file = text(bundle, "path");
    descending_unreserved(&path.child("path"), file, errors);
    seen.take(file, file, errors);
}

fn certificate(source: &Value, path: &Path, seen: &mut Seen<'_>, errors: &mut Errors) {
    let signer = text(source, "signerName");
    signer::validate(signer, &path.child("signerName"), errors);
    let type_ = text(source, "keyType");
    if !KEY_TYPES.contains(&type_) {
        let shown = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
        errors.not_supported(&path.child("keyType"), type_, &shown);
    }
    if let Some(seconds) = int(source, "maxExpirationSeconds") {
        let life = path.child("maxExpirationSeconds");
        let most = if signer::is_own(signer) { CERTIFICATE_OWN_MOST_S } else { CERTIFICATE_MOST_S };
        if seconds < CERTIFICATE_LEAST_S {
            errors.invalid(&life, seconds, "if provided, maxExpirationSeconds must be >= 3600");
        }
        if seconds > most {
            errors.invalid(
                &life,
                seconds,
                &format!("if provided, maxExpirationSeconds must be <= {most}"),
            );
        }
    }
    let mut files = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(source, field);
        if !file.is_empty() {
            files += 1;
            descending_unreserved(&path.child(field), file, errors);
            seen.take(file, file, errors);
        }
    }
    if files == 0 {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(path, why);
    }
}
