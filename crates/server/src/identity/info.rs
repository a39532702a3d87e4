//! Info: a user as others are told of one, in the form of UserInfo (API reference, `authentication.k8s.io/v1`).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use skiff_api::wire::User;
use std::collections::BTreeMap;

/// A user as UserInfo: what is empty is left out, `extra` is sorted.
pub struct UserInfo<'a>(pub &'a User);

impl Serialize for UserInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let User { name, uid, groups, extra } = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in [("username", name), ("uid", uid)] {
            if !value.is_empty() {
                map.serialize_entry(key, value)?;
            }
        }
        if !groups.is_empty() {
            map.serialize_entry("groups", groups)?;
        }
        if !extra.is_empty() {
            let sorted: BTreeMap<_, _> = extra.iter().map(|(key, values)| (key, values)).collect();
            map.serialize_entry("extra", &sorted)?;
        }
        map.end()
    }
}
