//! Our decoding against recorded answers of upstream 1.37.

use skiff_json::{Value, json};

use super::decode::{DecodeError, Mode, decode};
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
        skiff_json::from_str(include_str!("../../data/recorded/decode.json")).expect("JSON");
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

#[test]
fn a_hundred_unknown_fields_are_named_and_no_more() {
    let mut body = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    for i in 0..150 {
        body[format!("x{i:03}")] = json!({"a": 1});
    }
    let of = kind_of(&body);
    let named: Vec<String> = (0..100).map(|i| format!("unknown field \"x{i:03}\"")).collect();
    assert_eq!(decode(&mut body.clone(), of, Mode::Warn), Ok(named.clone()));
    assert_eq!(decode(&mut body, of, Mode::Strict), Err(DecodeError::Strict(named)));
}

/// Whatever decoding leaves must show in upstream's answer as it is, unless a default took the
/// place of an empty value; and no empty value of the answer may be missing here.
#[test]
fn decoded_objects_show_as_upstreams() {
    let recorded: Vec<Value> =
        skiff_json::from_str(include_str!("../../data/recorded/roundtrip.json")).expect("JSON");
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

fn recorded(text: &str) -> Value {
    skiff_json::from_str(text).expect("JSON")
}

/// Bad definitions of custom resources: each fault, word for word.
#[test]
fn structural_faults_are_upstreams() {
    let path = "spec.validation.openAPIV3Schema";
    let mut wrong = Vec::new();
    let cases = recorded(include_str!("../../data/recorded/crds.json"));
    for case in cases.as_array().expect("a list") {
        let schema = &case["schema"];
        let faults = crd::from_crd(schema, path).map_or_else(|it| it, |_| Vec::new());
        let got: Vec<_> = faults.iter().map(|it| json!([it.path, it.message])).collect();
        compare_lists(schema, got, &case["causes"], &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Custom resources against a schema of every sort of rule: pruned, defaulted, validated.
#[test]
fn custom_resources_are_judged_as_upstream_does() {
    let file = recorded(include_str!("../../data/recorded/crs.json"));
    let node = crd::from_crd(&file["schema"], "schema").expect("upstream took it");
    let Shape::Struct(root) = &node.shape else { panic!("an object") };
    let mut wrong = Vec::new();
    for case in file["cases"].as_array().expect("a list") {
        let spec = &case["spec"];
        let mut body = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {}, "spec": spec});
        let strict = prune::prune(&mut body.clone(), root, Mode::Strict);
        if let (Err(error), Some(wanted)) = (&strict, case["strict"].as_str()) {
            if !wanted.ends_with(&error.to_string()) {
                wrong.push(format!("{spec}\n     got {error}\n  wanted {wanted}"));
            }
        } else if strict.is_err() != case["strict"].is_string() {
            wrong.push(format!("{spec}\n     got {strict:?}\n  wanted {}", case["strict"]));
        }
        if prune::prune(&mut body, root, Mode::Ignore).is_err() {
            continue;
        }
        default(&mut body, root);
        let faults = validate::validate(&body, &node, "");
        let got: Vec<_> =
            faults.iter().map(|it| json!([it.path, it.reason.text(), it.message])).collect();
        if case["message"].is_null() {
            compare_lists(spec, got, &case["causes"], &mut wrong);
        }
        if case.get("answer").is_some() && body["spec"] != case["answer"] {
            wrong.push(format!("{spec}\n     got {}\n  wanted {}", body["spec"], case["answer"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Upstream's order is that of a Go map in places, so it does not count.
fn compare_lists(of: &Value, mut got: Vec<Value>, wanted: &Value, wrong: &mut Vec<String>) {
    let mut wanted = wanted.as_array().expect("a list").clone();
    got.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    if got != wanted {
        wrong.push(format!("{of}\n     got {}\n  wanted {}", json!(got), json!(wanted)));
    }
}
