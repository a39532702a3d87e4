//! The token of a page: the snapshot that it is of and the last key before it, in the form that clients may look into.

use crate::request::Request;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use skiff_api::Status;
use skiff_api::json::type_name;
use skiff_json::{Value, json};
use skiff_store::Revision;
use std::sync::Arc;

/// In the place of a snapshot.
const NEWEST: i64 = -1;
const VERSION: &str = "meta.k8s.io/v1";

/// Of the page behind this key, in this snapshot; in the newest state when there is none.
pub fn write(request: &Request, revision: Option<Revision>, last: &str) -> String {
    let start = last.strip_prefix(&*listed(request)).unwrap_or(last);
    let revision = revision.map_or_else(|| json!(NEWEST), |revision| json!(revision.0));
    let token = json!({"v": VERSION, "rv": revision, "start": format!("{start}\u{0}")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// The snapshot and the last key that a token names.
pub fn read(
    request: &Request,
    token: &str,
) -> Result<(Option<Revision>, Option<Arc<str>>), Status> {
    let bad = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes =
        URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|e| bad(no_base64(e)))?;
    let value = skiff_api::json::parse(&bytes).map_err(bad)?.value;
    check_types(&value).map_err(bad)?;
    let version = value.get("v").and_then(Value::as_str).unwrap_or("");
    if version != VERSION {
        return Err(bad(format!("server does not recognize this encoded version {version}")));
    }
    let named = value.get("rv").and_then(Value::as_i64).unwrap_or_default();
    let start = value.get("start").and_then(Value::as_str).unwrap_or("");
    if named == 0 {
        return Err(bad(format!("incorrect encoded start resourceVersion (version {version})")));
    }
    let revision = u64::try_from(named).ok().map(Revision);
    if start.is_empty() {
        return Err(bad(format!("encoded start key empty (version {version})")));
    }
    if start.split('/').any(|part| part == "..") {
        return Err(bad(start.to_owned()));
    }
    let start = start.trim_end_matches('\u{0}');
    Ok((revision, Some(format!("{}{start}", listed(request)).into())))
}

/// Where the keys of a list begin.
fn listed(request: &Request) -> String {
    request.kind.prefix(&request.resource.namespace)
}

fn no_base64(error: DecodeError) -> String {
    let at = match error {
        DecodeError::InvalidByte(at, _)
        | DecodeError::InvalidLastSymbol(at, _)
        | DecodeError::InvalidLength(at) => at,
        DecodeError::InvalidPadding => 0,
    };
    format!("illegal base64 data at input byte {at}")
}

/// What is no token at all, in the words that Go's decoder has for it.
fn check_types(value: &Value) -> Result<(), String> {
    let refused = |value: &Value, of: &str| {
        format!("json: cannot unmarshal {} into Go {of}", type_name(value))
    };
    if value.is_null() {
        return Ok(());
    }
    let fields = value.as_object();
    let fields = fields.ok_or_else(|| refused(value, "value of type storage.continueToken"))?;
    for (name, type_) in [("v", "string"), ("rv", "int64"), ("start", "string")] {
        let fits = match fields.get(name) {
            None | Some(Value::Null) => true,
            Some(found) if type_ == "string" => found.is_string(),
            Some(found) => found.is_i64(),
        };
        if !fits {
            return Err(refused(
                &fields[name],
                &format!("struct field continueToken.{name} of type {type_}"),
            ));
        }
    }
    Ok(())
}
