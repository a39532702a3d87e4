//! The answer: what a webhook may say to a review (API reference: AdmissionReview). It is a stranger's: nothing of it
//! is believed before it was looked at. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::Status;
use skiff_api::json::{MAX_BODY_BYTES, type_name};
use skiff_json::Value;

/// The longest answer: a patch that writes the largest object anew, in base64 and with its frame.
pub const ANSWER_MOST: usize = 2 * MAX_BODY_BYTES;
/// So many warnings of one answer are looked at; the header takes fewer.
pub const WARNINGS_MOST: usize = 256;
/// So many annotations of one answer are kept.
pub const ANNOTATIONS_MOST: usize = 256;

/// The two sorts, as metrics name their steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Mutating,
    Validating,
}

impl Sort {
    /// The resource that configures it.
    pub fn plural(self) -> &'static str {
        match self {
            Sort::Mutating => "mutatingwebhookconfigurations",
            Sort::Validating => "validatingwebhookconfigurations",
        }
    }

    pub fn step(self) -> &'static str {
        match self {
            Sort::Mutating => "admit",
            Sort::Validating => "validating",
        }
    }

    /// As the metrics of match conditions name it.
    pub fn of_conditions(self) -> &'static str {
        match self {
            Sort::Mutating => "admit",
            Sort::Validating => "validate",
        }
    }
}

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
