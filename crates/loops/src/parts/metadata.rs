//! Metadata: how labels and annotations become others.

use skiff_json::{Map, Value};
use std::collections::BTreeMap;

/// What a merge says that makes one map another: what is lost is null.
pub fn replaced(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Value {
    let lost = before.keys().filter(|key| !after.contains_key(*key));
    let mut patch: Map = lost.map(|key| (key.clone(), Value::Null)).collect();
    patch.extend(after.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
    patch.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_taken_out() {
        let of = |list: &[(&str, &str)]| {
            list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let patch = replaced(&of(&[("a", "1"), ("b", "2")]), &of(&[("b", "3")]));
        assert_eq!(patch.to_string(), r#"{"a":null,"b":"3"}"#);
    }
}
