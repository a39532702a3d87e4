//! Signers: the names under which certificates are asked for (documentation page "Certificates and Certificate Signing
//! Requests").

use skiff_api::errors::{Errors, Path};
use skiff_api::names;

pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// A domain, and a path that has room for a namespace and a name.
const DOMAIN_MOST: usize = 253;
const PATH_MOST: usize = 253 + 63 + 1;

/// Checks a name: `example.com/name`.
pub fn validate(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, name, why);
    };
    if domain.len() > DOMAIN_MOST {
        errors.too_long(path, DOMAIN_MOST);
    }
    segments(domain, names::label, path, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(path, domain, why);
    }
    segments(rest, names::subdomain, path, errors);
    if rest.len() > PATH_MOST {
        errors.too_long(path, PATH_MOST);
    }
}

/// What is wrong with the first part that is no good; the others would say the same.
fn segments(whole: &str, problems: fn(&str) -> Vec<String>, path: &Path, errors: &mut Errors) {
    if let Some(part) = whole.split('.').find(|part| !problems(part).is_empty()) {
        for why in problems(part) {
            errors.invalid(path, whole, &format!("validating label {part:?}: {why}"));
        }
    }
}

/// Whether it is one of Kubernetes' own.
pub fn is_own(name: &str) -> bool {
    let domain = name.split_once('/').map_or(name, |(domain, _)| domain);
    domain == "kubernetes.io" || domain.ends_with(".kubernetes.io")
}
