//! Pod templates: the hash that names a revision, the comparison that ignores it, and the pod that comes of one.
//!
//! The hash need only be stable for one template; two templates of one hash are told apart by comparison and by a
//! count of collisions that goes into the hash.

use skiff_api::view::Meta;
use skiff_base::id::safe_encode;
use skiff_json::{Value, json};
use skiff_kinds::views::workloads::Template;

/// The label that tells the pods of one revision from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

/// A template as an object holds it.
pub fn json(template: &Template) -> Value {
    json!({"metadata": metadata(&template.metadata), "spec": template.spec})
}

/// The metadata that pods inherit.
pub fn metadata(meta: &Meta) -> Value {
    let mut value = json!({});
    if !meta.name.is_empty() {
        value["name"] = json!(meta.name);
    }
    if !meta.labels.is_empty() {
        value["labels"] = json!(meta.labels);
    }
    if !meta.annotations.is_empty() {
        value["annotations"] = json!(meta.annotations);
    }
    if !meta.finalizers.is_empty() {
        value["finalizers"] = json!(meta.finalizers);
    }
    value
}

/// The hash of a template, in the letters of generated names.
pub fn hash(template: &Template, collisions: Option<i32>) -> String {
    // Maps are sorted by key, so one template has one text.
    let mut text = json(template).to_string();
    if let Some(collisions) = collisions {
        text += &format!("#{collisions}");
    }
    safe_encode(&fnv1a(text.as_bytes()).to_string())
}

/// FNV-1a of 32 bits (draft-eastlake-fnv).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The same template, but for the label of its hash.
pub fn same(a: &Template, b: &Template) -> bool {
    let labels = |template: &Template| {
        let mut labels = template.metadata.labels.clone();
        labels.remove(HASH_LABEL);
        labels
    };
    a.spec == b.spec
        && a.metadata.annotations == b.metadata.annotations
        && a.metadata.finalizers == b.metadata.finalizers
        && labels(a) == labels(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        skiff_json::from_str(text).expect("a valid template")
    }

    #[test]
    fn the_hash_is_stable_and_collisions_change_it() {
        let one = template(r#"{"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1, "a": 2}}"#);
        let same_text =
            template(r#"{"spec": {"a": 2, "x": 1}, "metadata": {"labels": {"a": "b"}}}"#);
        assert_eq!(hash(&one, None), hash(&same_text, None));
        assert_ne!(hash(&one, None), hash(&one, Some(1)));
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn the_hash_label_makes_no_difference() {
        let bare = template(r#"{"metadata": {"labels": {"a": "b"}}}"#);
        let hashed = template(r#"{"metadata": {"labels": {"a": "b", "pod-template-hash": "x"}}}"#);
        assert!(same(&bare, &hashed));
        assert!(!same(&bare, &template(r#"{"metadata": {"labels": {"a": "c"}}}"#)));
    }
}
