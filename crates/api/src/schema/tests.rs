//! Our decoding against recorded answers of upstream 1.37.

use serde_json::{Value, json};

use super::decode::{Mode, decode};
use super::default::default;
use super::emit::emit;
use super::*;

fn kind_of(body: &Value) -> &'static Struct {
    let version = body["apiVersion"].as_str().expect("recorded bodies have one");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    gvk(group, version, body["kind"].as_str().expect("recorded bodies have one")).expect("a kind")
}

/// Each refusal of a body, word for word.
#[test]
fn decoding_errors_are_upstreams() {
    let recorded: Vec<Value> =
        serde_json::from_str(include_str!("../../data/recorded/decode.json")).expect("JSON");
    let mut wrong = Vec::new();
    for case in &recorded {
        let mut body = case["body"].clone();
        let got = match decode(&mut body, kind_of(&case["body"]), Mode::Strict) {
            Err(error) => error.to_string(),
            Ok(_) => "no error".into(),
        };
        let wanted = case["message"].as_str().expect("a text");
        let wanted = wanted.split_once(": ").expect("upstream says which kind first").1;
        if got != wanted {
            wrong.push(format!("{}\n     got {got}\n  wanted {wanted}", case["body"]));
        }
    }
    assert!(recorded.len() > 70 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever decoding leaves must show in upstream's answer as it is, unless a default took the
/// place of an empty value; and no empty value of the answer may be missing here.
#[test]
fn decoded_objects_show_as_upstreams() {
    let recorded: Vec<Value> =
        serde_json::from_str(include_str!("../../data/recorded/roundtrip.json")).expect("JSON");
    let mut wrong = Vec::new();
    for case in &recorded {
        let mut ours = case["given"].clone();
        let of = kind_of(&ours);
        decode(&mut ours, of, Mode::Strict).expect("upstream took it");
        default(&mut ours, of);
        emit(&mut ours, of);
        compare(&ours, &case["answer"], &mut of.go.to_string(), &mut wrong);
    }
    assert!(recorded.len() > 40 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Empty values that upstream's own strategies and defaults put there, not its encoding.
const SET_BY_HOOKS: &[&str] = &[
    "spec.priority",
    "spec.securityContext",
    "ports[].name",
    "spec.manualSelector",
    "spec.suspend",
    "spec.hostPath.type",
    "webhooks[].namespaceSelector",
    "webhooks[].objectSelector",
    "spec.podInfoOnMount",
    "spec.preventPodSchedulingIfMissing",
    "spec.requiresRepublish",
    "spec.seLinuxMount",
    "spec.storageCapacity",
];

fn compare(ours: &Value, theirs: &Value, path: &mut String, wrong: &mut Vec<String>) {
    let length = path.len();
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                path.push('.');
                path.push_str(name);
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => compare(a, b, path, wrong),
                    (Some(a), None) => wrong.push(format!("{path}: only we have {a}")),
                    (None, Some(b))
                        if blank(b) && !SET_BY_HOOKS.iter().any(|it| path.ends_with(it)) =>
                    {
                        wrong.push(format!("{path}: we lack {b}"));
                    }
                    _ => {}
                }
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for (a, b) in a.iter().zip(b) {
                path.push_str("[]");
                compare(a, b, path, wrong);
                path.truncate(length);
            }
        }
        _ if ours == theirs || blank(ours) => {}
        _ => wrong.push(format!("{path}: {ours}, upstream {theirs}")),
    }
}

fn blank(value: &Value) -> bool {
    [json!(null), json!({}), json!([]), json!(""), json!(0), json!(false)].contains(value)
}
