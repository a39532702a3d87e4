//! Status: how a controller writes what an object says of itself. Only what differs from what is stored is written;
//! which empty values show is the schema's affair, and the server's.

use crate::Changes;
use serde::Serialize;
use skiff_api::view::{Meta, View};
use skiff_json::{Value, json};

/// A write of this very object, whatever happened to it since.
pub fn this(meta: &Meta) -> Value {
    json!({"uid": meta.uid})
}

/// A write of this very object as it was seen.
pub fn this_revision(meta: &Meta) -> Value {
    json!({"uid": meta.uid, "resourceVersion": meta.resource_version})
}

/// Writes a status, if it says anything new. `metadata` says of which object it is, and what else is written with it.
pub fn write<V: View, S: PartialEq + Serialize>(
    object: &V,
    metadata: Value,
    (before, after): (&S, &S),
    out: &mut Changes,
) {
    if before != after {
        force(object, metadata, after, out);
    }
}

/// Writes a status and what stands in `metadata`, for one of them is new.
pub fn force<V: View>(object: &V, metadata: Value, after: &impl Serialize, out: &mut Changes) {
    let status = skiff_json::to_value(after).expect("a status has names for keys");
    let body = json!({"metadata": metadata, "status": status});
    out.status(V::RESOURCE, object.meta().key(), body);
}
