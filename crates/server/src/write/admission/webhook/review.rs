//! The question: what a webhook is asked (API reference: AdmissionReview).

use crate::write::admission::matching::Face;
use crate::write::admission::{Admit, Operation};
use skiff_api::json as text;
use skiff_api::kind::Kind;
use skiff_api::wire::User;
use skiff_json::{Map, Value, json};

/// The question, as it is sent.
pub fn question(
    version: &str,
    uid: &str,
    face: &Face,
    at: &Admit<'_>,
    (new, old): (Option<&Value>, Option<&Value>),
) -> Vec<u8> {
    let mut request = request(face, at, new);
    request["uid"] = uid.into();
    // The objects may be large, and are written as they are.
    let mut out = format!(
        "{{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/{version}\",\"request\":"
    )
    .into_bytes();
    text::write_into(&mut out, &request);
    out.pop();
    for (key, object) in [("object", new), ("oldObject", old)] {
        out.extend_from_slice(format!(",\"{key}\":").as_bytes());
        text::write_into(&mut out, object.unwrap_or(&Value::Null));
    }
    out.extend_from_slice(b"}}");
    out
}

/// The request as a webhook sees it, without its objects.
pub fn request(face: &Face, at: &Admit<'_>, new: Option<&Value>) -> Value {
    let gvk = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let mut request = json!({
        "kind": gvk(face.type_of(at)),
        "resource": resource(face.kind(at)),
        "requestKind": gvk(at.asked),
        "requestResource": resource(at.kind),
        "operation": at.operation.name(),
        "userInfo": user(at.user),
        "dryRun": at.dry_run,
        "options": options(at),
    });
    let (name, namespace) = at.target(new);
    for (key, value) in [
        ("subResource", at.subresource),
        ("requestSubResource", at.subresource),
        ("name", &name),
        ("namespace", &namespace),
    ] {
        if !value.is_empty() {
            request[key] = value.into();
        }
    }
    request
}

/// What a kind is called in requests.
pub fn resource(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "resource": kind.plural})
}

fn user(user: &User) -> Value {
    let mut shown = json!({"username": user.name});
    if !user.uid.is_empty() {
        shown["uid"] = (*user.uid).into();
    }
    if !user.groups.is_empty() {
        shown["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        let extra: Map =
            user.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
        shown["extra"] = extra.into();
    }
    shown
}

/// The options of the operation, as an object of their kind.
fn options(at: &Admit<'_>) -> Value {
    let kind = match at.operation {
        Operation::Connect => return Value::Null,
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let mut shown = match at.delete_options {
        Some(options) if options.is_object() => options.clone(),
        _ => json!({}),
    };
    shown["kind"] = kind.into();
    shown["apiVersion"] = "meta.k8s.io/v1".into();
    if at.dry_run {
        shown["dryRun"] = json!(["All"]);
    }
    if at.operation != Operation::Delete {
        for key in ["fieldManager", "fieldValidation"] {
            if let Some(value) = at.options.get(key) {
                shown[key] = value.into();
            }
        }
    }
    shown
}
