//! Requests of nodes for certificates of their own: which are such, in the words of their signers (documentation page
//! "Certificates and Certificate Signing Requests").

use skiff_kinds::certificates::request::Request;
use std::collections::BTreeSet;

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";
const DIGITAL: &str = "digital signature";
const ENCIPHER: &str = "key encipherment";

/// Whether this asks for a node's certificate to call the API server by.
///
/// # Errors
/// Why not.
pub fn kubelet_client(asked: &Request, usages: &[String]) -> Result<(), String> {
    of_nodes(asked)?;
    for (names, type_) in [
        (asked.names.len(), "DNS"),
        (asked.emails.len(), "Email"),
        (asked.addresses.len(), "IP"),
        (asked.uris.len(), "URI"),
    ] {
        if names > 0 {
            return Err(format!("{type_} subjectAltNames are not allowed"));
        }
    }
    named(asked)?;
    used(usages, "client auth")
}

/// Whether this asks for a certificate to be called at a node's own API by.
///
/// # Errors
/// Why not.
pub fn kubelet_serving(asked: &Request, usages: &[String]) -> Result<(), String> {
    of_nodes(asked)?;
    if asked.names.is_empty() && asked.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    for (names, type_) in [(asked.emails.len(), "Email"), (asked.uris.len(), "URI")] {
        if names > 0 {
            return Err(format!("{type_} subjectAltNames are not allowed"));
        }
    }
    used(usages, "server auth")?;
    named(asked)
}

/// Whether this asks for a certificate to call the API server by.
///
/// # Errors
/// Why not.
pub fn client(usages: &[String]) -> Result<(), String> {
    let other = usages.iter().find(|it| ![DIGITAL, ENCIPHER, "client auth"].contains(&&***it));
    match other {
        Some(other) => Err(format!("invalid usage for client certificate: {other}")),
        None if usages.iter().any(|it| it == "client auth") => Ok(()),
        None => Err("missing required usage for client certificate: client auth".into()),
    }
}

/// The node that a request names as its subject.
pub fn node(asked: &Request) -> Option<&str> {
    asked.common_name().strip_prefix(NODE)
}

fn of_nodes(asked: &Request) -> Result<(), String> {
    match asked.organizations() {
        [one] if one == NODES => Ok(()),
        _ => Err(format!("subject organization is not {NODES}")),
    }
}

fn named(asked: &Request) -> Result<(), String> {
    let named = asked.common_name().starts_with(NODE);
    named.then_some(()).ok_or_else(|| format!("subject common name does not begin with {NODE}"))
}

/// The usages are these; those of an RSA key may encipher keys besides.
fn used(usages: &[String], purpose: &str) -> Result<(), String> {
    let given: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let all = BTreeSet::from([DIGITAL, ENCIPHER, purpose]);
    if given == all || given == BTreeSet::from([DIGITAL, purpose]) {
        return Ok(());
    }
    let all: Vec<&str> = all.into_iter().collect();
    Err(format!("usages did not match [{}]", all.join(" ")))
}
