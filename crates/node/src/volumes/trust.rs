//! Whom a pod trusts: the certificates of one ClusterTrustBundle, or of all of a signer that a selector matches, in one
//! file, each once (KEP-3257). In a lasting order, which says nothing.

use super::Given;
use super::payload::{File, Files};
use skiff_api::selector::Selector;
use skiff_kinds::certificates::pem;
use skiff_kinds::views::ClusterTrustBundle;
use skiff_kinds::views::pod::TrustProjection;
use std::collections::BTreeSet;

/// The field selector that finds the bundles.
pub fn selector(bundle: &TrustProjection) -> String {
    match (&bundle.name, &bundle.signer_name) {
        (Some(name), _) => format!("metadata.name={name}"),
        (None, signer) => format!("spec.signerName={}", signer.as_deref().unwrap_or("")),
    }
}

pub fn file(bundle: &TrustProjection, mode: u32, given: &Given) -> Result<Files, String> {
    let found = given.sources.bundles(&selector(bundle));
    let bytes = anchors(bundle, found)?.into_bytes();
    Ok(Files::from([(bundle.path.clone(), File { bytes, mode, owner: None })]))
}

fn anchors(bundle: &TrustProjection, found: &[ClusterTrustBundle]) -> Result<String, String> {
    let chosen: Vec<&ClusterTrustBundle> = match (&bundle.name, &bundle.label_selector) {
        (Some(_), _) => found.iter().collect(),
        (None, None) => Vec::new(),
        (None, Some(selector)) => {
            let selector = Selector::from_object(Some(selector))
                .map_err(|why| format!("while parsing label selector: {why}"))?;
            let labels = |it: &&ClusterTrustBundle| {
                selector.matches(|key| it.metadata.labels.get(key).map(String::as_str))
            };
            found.iter().filter(labels).collect()
        }
    };
    match &bundle.name {
        _ if !chosen.is_empty() || bundle.optional => {}
        Some(name) => {
            let why = format!("clustertrustbundles.certificates.k8s.io {name:?} not found");
            return Err(format!("while getting ClusterTrustBundle: {why}"));
        }
        None => {
            let why =
                "combination of signerName and labelSelector matched zero ClusterTrustBundles";
            return Err(why.to_owned());
        }
    }
    let blocks = chosen.iter().flat_map(|it| pem::blocks(&it.spec.trust_bundle));
    let anchors: BTreeSet<Vec<u8>> = blocks.map(|block| block.bytes).collect();
    Ok(anchors.iter().map(|bytes| pem::write("CERTIFICATE", bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn bundle(label: &str, anchors: &[u8]) -> ClusterTrustBundle {
        let text: String = anchors.iter().map(|it| pem::write("CERTIFICATE", &[*it])).collect();
        let value = json!({"metadata": {"labels": {"a": label}}, "spec": {"trustBundle": text}});
        skiff_json::from_value(value).expect("a view")
    }

    fn check(projection: skiff_json::Value, found: &[ClusterTrustBundle]) -> String {
        let projection = skiff_json::from_value(projection).expect("a view");
        match anchors(&projection, found) {
            Ok(text) => {
                let bytes = pem::blocks(&text).map(|block| block.bytes[0].to_string());
                bytes.collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[test]
    fn anchors_of_all_that_match_stand_once_in_order() {
        let found = [bundle("x", &[3, 1]), bundle("y", &[2]), bundle("x", &[1, 9])];
        let of = |selector| json!({"signerName": "a.b/c", "labelSelector": selector});
        assert_eq!(check(of(json!({})), &found), "1 2 3 9");
        assert_eq!(check(of(json!({"matchLabels": {"a": "x"}})), &found), "1 3 9");
        let none = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
        assert_eq!(check(of(json!({"matchLabels": {"a": "z"}})), &found), none);
        assert_eq!(check(json!({"signerName": "a.b/c"}), &found), none);
        assert_eq!(check(json!({"signerName": "a.b/c", "optional": true}), &found), "");
        assert_eq!(check(json!({"name": "n"}), &found[1..2]), "2");
        assert_eq!(
            check(json!({"name": "n"}), &[]),
            "while getting ClusterTrustBundle: clustertrustbundles.certificates.k8s.io \"n\" not found"
        );
        assert_eq!(check(json!({"name": "n", "optional": true}), &[]), "");
        let many: Vec<_> = (0..=200).map(|it| bundle("x", &[it])).collect();
        assert_eq!(check(of(json!({})), &many).split(' ').count(), 201);
    }
}
