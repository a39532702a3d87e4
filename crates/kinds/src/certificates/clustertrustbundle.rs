//! ClusterTrustBundle: certificates that are trusted, of one signer or of none (API reference: KEP-3257). Who may speak
//! for a signer is a matter of rights: the admission plugin of the group asks.

use super::{pem, signer};
use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, NameRule, column, name_column};
use skiff_api::names;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer, X509Certificate};

pub const RESOURCE: Resource =
    Resource::of("certificates.k8s.io", "v1", "clustertrustbundles", "ClusterTrustBundle")
        .cluster();

const BUNDLE_MOST: usize = 1024 * 1024;

pub fn kind() -> Kind {
    Kind {
        // Which names are good depends on the signer.
        name_rule: NameRule::Segment,
        columns: vec![name_column(), column("SignerName", Cell::With(signer_of))],
        selectable: vec!["spec.signerName".into()],
        conditional: true,
        converts_fields: true,
        hooks: Hooks { validate, ..Hooks::NONE },
        hashed_version: Some("v1beta1"),
        ..Kind::new(RESOURCE)
    }
}

fn signer_of(bundle: &Object) -> Value {
    match bundle.text("spec.signerName") {
        "" => "<none>".into(),
        name => name.into(),
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let (name, signer) = (new.name(), new.text("spec.signerName"));
    check::refuse(&Path::new("metadata.name"), name, name_problems(name, signer), errors);
    if !signer.is_empty() {
        signer::validate(signer, &Path::new("spec.signerName"), errors);
    }
    let bundle = new.text("spec.trustBundle");
    if old.is_none_or(|old| old.text("spec.trustBundle") != bundle) {
        validate_bundle(bundle, errors);
    }
    if old.is_some_and(|old| old.text("spec.signerName") != signer) {
        errors.invalid(&Path::new("spec.signerName"), signer, "field is immutable");
    }
}

fn name_problems(name: &str, signer: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".into(),
            ],
            false => names::subdomain(name),
        };
    }
    let prefix = signer.replace('/', ":") + ":";
    match name.strip_prefix(&prefix) {
        Some(rest) => names::subdomain(rest),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )],
    }
}

fn validate_bundle(bundle: &str, errors: &mut Errors) {
    let path = Path::new("spec.trustBundle");
    if bundle.len() > BUNDLE_MOST {
        return errors.too_long(&path, BUNDLE_MOST);
    }
    let mut invalid = |why: String| errors.invalid(&path, "<value omitted>", &why);
    let mut known: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let mut faulty = false;
    for (index, block) in pem::blocks(bundle).enumerate() {
        match fault(&block) {
            Some(why) => {
                faulty = true;
                invalid(format!("entry {index} {why}"));
            }
            None => known.entry(block.bytes).or_default().push(index.to_string()),
        }
    }
    if faulty {
        return;
    }
    if known.is_empty() {
        invalid("at least one trust anchor must be provided".into());
    }
    for places in known.values().filter(|places| places.len() > 1) {
        invalid(format!("duplicate trust anchor (indices [{}])", places.join(" ")));
    }
}

/// Why a block is no certificate that others can be trusted by.
fn fault(block: &pem::Block) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Some("has PEM block headers".into());
    }
    match X509Certificate::from_der(&block.bytes) {
        Ok((&[], it)) if it.is_ca() => None,
        Ok((&[], _)) => Some("does not have the CA bit set".into()),
        _ => Some("does not parse as X.509".into()),
    }
}
