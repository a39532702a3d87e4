//! The review: what a webhook is asked, and what its answer must be (API reference: AdmissionReview). The answer is a
//! stranger's: nothing of it is believed before it was looked at.

use super::Sort;
use super::matching::Invocation;
use crate::write::admission::{Admit, Operation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use skiff_api::Status;
use skiff_api::json::{self as text, type_name};
use skiff_api::object::at as field;
use skiff_api::wire::User;

/// The longest answer: a patch that writes the largest object anew, in base64 and with its frame.
pub const ANSWER_MOST: usize = 2 * text::MAX_BODY_BYTES;
/// So many warnings of one answer are looked at; the header takes fewer.
const WARNINGS_MOST: usize = 256;
/// So many annotations of one answer are kept.
const ANNOTATIONS_MOST: usize = 256;

/// What an allowed request comes with.
#[derive(Debug, Default, PartialEq)]
pub struct Allowed {
    /// A JSON patch, as it was sent.
    pub patch: Option<Vec<u8>>,
    pub patch_type: String,
}

/// What a webhook answered.
#[derive(Debug)]
pub struct Answer {
    pub annotations: Vec<(String, String)>,
    pub warnings: Vec<String>,
    /// Or the Status of the refusal, if it came with one.
    pub verdict: Result<Allowed, Option<Value>>,
}

/// The question, as it is sent.
pub fn question(
    version: &str,
    uid: &str,
    invocation: &Invocation<'_>,
    at: &Admit<'_>,
    (new, old): (Option<&Value>, Option<&Value>),
) -> Vec<u8> {
    let seen = invocation.kind(at);
    let gvk = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let gvr = |kind: &skiff_api::kind::Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let own = (&*at.kind.group, &*at.kind.version, &*at.kind.kind);
    let shown =
        if at.asked == own { (&*seen.group, &*seen.version, &*seen.kind) } else { at.asked };
    let mut request = json!({
        "uid": uid,
        "kind": gvk(shown),
        "resource": gvr(seen),
        "requestKind": gvk(at.asked),
        "requestResource": gvr(at.kind),
        "operation": at.operation.name(),
        "userInfo": user(at.user),
        "dryRun": at.dry_run,
        "options": options(at),
    });
    let (name, namespace) = named(at, new);
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

/// Name and namespace of what is asked about: a namespace lies in itself, a generated name is not there before it is
/// drawn, and of many nobody is named.
fn named(at: &Admit<'_>, new: Option<&Value>) -> (String, String) {
    let of_new = |path| new.and_then(|new| field(new, path)).and_then(Value::as_str);
    let name = match at.operation {
        Operation::Create if at.subresource.is_empty() => of_new("metadata.name").unwrap_or(""),
        Operation::Delete if at.of_many => "",
        _ => &at.name,
    };
    let of_namespace = at.kind.group.is_empty() && at.kind.plural == "namespaces";
    let namespace = if of_namespace { name } else { at.namespace };
    (name.to_owned(), namespace.to_owned())
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
        let extra: Map<String, Value> =
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

/// What a webhook's answer says.
///
/// # Errors
/// Why it is no answer to this question, in the words of upstream.
pub fn read(review: Value, version: &str, sort: Sort, uid: &str) -> Result<Answer, String> {
    let invalid = |why: String| format!("received invalid webhook response: {why}");
    let told = |key: &str| review.get(key).and_then(Value::as_str).unwrap_or("");
    check_type((told("apiVersion"), told("kind")), version)?;
    let response = match review.get("response") {
        None | Some(Value::Null) => return Err(invalid("webhook response was absent".into())),
        Some(response) => response,
    };
    let mistyped = |found: &Value, key: &str, wanted: &str| {
        let found = type_name(found);
        format!(
            "failed to call webhook: json: cannot unmarshal {found} into Go struct field \
             AdmissionResponse.response.{key} of type {wanted}"
        )
    };
    let string = |key: &str, wanted: &str| match response.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(&**text)),
        Some(other) => Err(mistyped(other, key, wanted)),
    };
    let allowed = match response.get("allowed") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(allowed)) => *allowed,
        Some(other) => return Err(mistyped(other, "allowed", "bool")),
    };
    let patch = string("patch", "[]uint8")?.unwrap_or("");
    let patch = STANDARD.decode(patch).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => patch.len(),
        };
        format!("failed to call webhook: illegal base64 data at input byte {at}")
    })?;
    let patch_type = string("patchType", "v1.PatchType")?;
    let given = string("uid", "types.UID")?.unwrap_or("");
    if version == "v1" {
        if given != uid {
            return Err(invalid(format!("expected response.uid={uid:?}, got {given:?}")));
        }
        let (group_version, kind) = (told("apiVersion"), told("kind"));
        if (group_version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            let shown = if group_version.is_empty() { "/" } else { group_version };
            let why = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview";
            return Err(invalid(format!("{why}, got {shown}, Kind={kind}")));
        }
        check_patch(sort, &patch, patch_type).map_err(invalid)?;
    }
    // The first version pinned the type, and let those who may not patch say what they like.
    let patch_type = if version == "v1" { patch_type.unwrap_or("") } else { "JSONPatch" };
    let patches = sort == Sort::Mutating && !patch.is_empty();
    let status = response.get("status").filter(|it| it.is_object()).cloned();
    let made = Allowed { patch: patches.then_some(patch), patch_type: patch_type.to_owned() };
    Ok(Answer {
        annotations: annotations(response),
        warnings: warnings(response),
        verdict: if allowed { Ok(made) } else { Err(status) },
    })
}

/// What stands at the head of a document must not be of another type.
fn check_type((given, kind): (&str, &str), version: &str) -> Result<(), String> {
    if given.is_empty() || kind.is_empty() {
        return Ok(());
    }
    let known = |it: &str| matches!(it, "admission.k8s.io/v1" | "admission.k8s.io/v1beta1");
    let short = given.rsplit('/').next().unwrap_or(given);
    match (known(given) && kind == "AdmissionReview", given == "v1" && kind == "Status") {
        (true, _) if short == version => Ok(()),
        (true, _) | (_, true) => Err(format!(
            "failed to call webhook: converting ({short}.{kind}) to ({version}.AdmissionReview): unknown \
             conversion"
        )),
        _ => Err(format!(
            "failed to call webhook: no kind {kind:?} is registered for version {given:?} in scheme \
             \"pkg/runtime/scheme.go:111\""
        )),
    }
}

fn check_patch(sort: Sort, patch: &[u8], patch_type: Option<&str>) -> Result<(), String> {
    let why = match (sort, patch.is_empty(), patch_type) {
        (Sort::Validating, false, _) => "validating webhook may not return response.patch",
        (Sort::Validating, _, Some(_)) => "validating webhook may not return response.patchType",
        (Sort::Mutating, false, None) => {
            "webhook returned response.patch but not response.patchType"
        }
        (Sort::Mutating, true, Some(_)) => {
            "webhook returned response.patchType but not response.patch"
        }
        (Sort::Mutating, false, Some("")) => "webhook returned invalid response.patchType of \"\"",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

fn annotations(response: &Value) -> Vec<(String, String)> {
    let given = response.get("auditAnnotations").and_then(Value::as_object).into_iter().flatten();
    let texts = given.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.take(ANNOTATIONS_MOST).collect()
}

fn warnings(response: &Value) -> Vec<String> {
    let given = response.get("warnings").and_then(Value::as_array).into_iter().flatten();
    given.filter_map(Value::as_str).take(WARNINGS_MOST).map(str::to_owned).collect()
}

/// What a client is told that a webhook refuses.
pub fn refusal(webhook: &str, status: Option<Value>) -> Status {
    let status = status.unwrap_or(Value::Null);
    let told = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("");
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (told("message"), told("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    let code = status.get("code").and_then(Value::as_u64).unwrap_or(0);
    let code = u16::try_from(code).ok().filter(|code| (400..1000).contains(code)).unwrap_or(400);
    let details = status.get("details").filter(|it| it.is_object()).cloned();
    Status { details, ..Status::new(code, told("reason").to_owned(), message) }
}
