//! Configured: what the machine's owner says in files of upstream's forms (`apiserver.config.k8s.io`, kubeconfigs), and
//! how a server is called that such a file names. The owner is believed: such a server may be on this machine. What it
//! answers is not: bytes, time and calls are bounded. What is said is each reader's own affair.

pub mod expression;
#[cfg(test)]
pub(crate) mod fake;
pub mod kubeconfig;
pub mod reloads;
pub mod remembered;
pub mod remote;

use serde::de::DeserializeOwned;
use skiff_api::schema::decode::{DecodeError, Mode, decode};
use skiff_api::schema::{Emit, Field, Node, Ref, Shape, Strategy, Struct, Topology};
use skiff_api::yaml;
use skiff_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// The group of files for a server, in versions that say the same in the same fields.
pub const OF_SERVER: (&str, &[&str]) = ("apiserver.config.k8s.io", &["v1", "v1beta1", "v1alpha1"]);
/// Above what a file with the most issuers or webhooks, and their authorities, needs.
pub const FILE_MOST: usize = 4 << 20;

/// Reads a file of one kind, of a group in one of its versions, strictly. `form` shows its fields: an object for a
/// struct whose name in Go is at `#`, a list for a list, an empty text, number, `true` or `0s` for what is one.
///
/// # Errors
/// What is wrong, in the words of upstream's decoder.
pub fn read<T: DeserializeOwned>(
    text: &[u8],
    (group, versions): (&str, &[&str]),
    kind: &str,
    form: &Value,
) -> Result<T, String> {
    if text.is_empty() {
        return Err("empty config data".to_owned());
    }
    if text.len() > FILE_MOST {
        return Err(format!("the file has more than {FILE_MOST} bytes"));
    }
    let parsed = yaml::parse(text)?;
    let (mut value, mut odd) = (parsed.value, yaml::in_one_text(parsed.odd));
    let head = |key| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (version, given) = (head("apiVersion"), head("kind"));
    if given.is_empty() {
        return Err(format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(text)));
    }
    let known = version.strip_prefix(group).and_then(|rest| rest.strip_prefix('/'));
    if given != kind || !known.is_some_and(|version| versions.contains(&version)) {
        return Err(format!(
            "no kind {given:?} is registered for version {version:?}: {kind} of {group}/v1 is expected"
        ));
    }
    let shape = structure(form, true);
    odd.extend(decode(&mut value, &shape, Mode::Warn).map_err(|error| error.to_string())?);
    if !odd.is_empty() {
        return Err(DecodeError::Strict(odd).to_string());
    }
    skiff_json::from_value(value).map_err(|error| error.to_string())
}

/// What the system says, in the words of Go.
pub fn known(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "is a directory".into(),
        _ => error.to_string(),
    }
}

fn structure(form: &Value, root: bool) -> Struct {
    let go = form.get("#").and_then(Value::as_str).unwrap_or("").to_owned();
    let members = form.as_object().into_iter().flatten().filter(|(name, _)| *name != "#");
    let mut fields: Vec<Field> = members.map(|(name, form)| field(name, form)).collect();
    if root {
        fields.extend(["apiVersion", "kind"].map(|name| field(name, &"".into())));
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Struct {
        name: Cow::Borrowed(""),
        fields: fields.into(),
        go: go.into(),
        topology: Topology::Granular,
        open: false,
        wire: &[],
    }
}

fn field(name: &str, form: &Value) -> Field {
    let (node, go) = node(form);
    Field {
        name: name.to_owned().into(),
        go: go.into(),
        inline: &[],
        topology: node.topology.clone(),
        said_atomic: false,
        node,
        required: false,
        emit: Emit::NotEmpty,
        strategy: Strategy::Default,
        default: None,
        values: &[],
        tag: 0,
    }
}

/// What may stand there, and its type in Go.
fn node(form: &Value) -> (Node, String) {
    let (shape, go) = match form {
        Value::Bool(_) => (Shape::Bool, "bool".to_owned()),
        Value::Number(_) => (Shape::Int64, "int32".to_owned()),
        Value::String(text) if text == "0s" => (Shape::Duration, "v1.Duration".to_owned()),
        Value::Array(all) => {
            let (element, go) = node(all.first().unwrap_or(&Value::Null));
            (Shape::List(Ref::Shared(Arc::new(element))), format!("[]{go}"))
        }
        Value::Object(_) => {
            let of = structure(form, false);
            let go = format!("v1.{}", of.go);
            (Shape::Struct(Ref::Shared(Arc::new(of))), go)
        }
        Value::String(_) | Value::Null => (Shape::String, "string".to_owned()),
    };
    (Node { shape, topology: Topology::Granular, default: None, rules: None }, go)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn files_are_read_strictly() {
        let form =
            json!({"#": "Form", "list": [{"#": "Part", "name": "", "live": true, "span": "0s"}]});
        let check = |text: &str| match read::<Value>(text.as_bytes(), OF_SERVER, "Form", &form) {
            Ok(value) => value.to_string() + "\n",
            Err(why) => why + "\n",
        };
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: Form\n";
        let mut out = String::new();
        for rest in [
            "list: [{name: a, live: false, span: 90s}]",
            "lists: []\nlist: [{nam: a}]",
            "list: {}",
            "list: [{name: 1}]",
            "list: [{span: 1x}]",
            "list: []\nlist: []",
        ] {
            out += &check(&format!("{head}{rest}\n"));
        }
        out += &check("");
        out += &check("a: b");
        out += &check("apiVersion: v1\nkind: Form");
        out += &check("apiVersion: apiserver.config.k8s.io/v1\nkind: Other");
        out += &check("{");
        expect_test::expect![[r#"
            {"apiVersion":"apiserver.config.k8s.io/v1","kind":"Form","list":[{"live":false,"name":"a","span":"1m30s"}]}
            strict decoding error: unknown field "list[0].nam", unknown field "lists"
            json: cannot unmarshal object into Go struct field Form.list of type []v1.Part
            json: cannot unmarshal number into Go struct field Part.list.name of type string
            time: unknown unit "x" in duration "1x"
            strict decoding error: yaml: unmarshal errors:
              line 4: key "list" already set in map
            empty config data
            Object 'Kind' is missing in 'a: b'
            no kind "Form" is registered for version "v1": Form of apiserver.config.k8s.io/v1 is expected
            no kind "Other" is registered for version "apiserver.config.k8s.io/v1": Form of apiserver.config.k8s.io/v1 is expected
            yaml: line 1: did not find expected ',' or '}'
        "#]].assert_eq(&out);
    }
}
