//! Upstream's own answers to patches of all three types.

use std::fmt::Write as _;

use super::*;
use crate::schema;

fn recorded() -> Value {
    serde_json::from_str(include_str!("../../tests-data/patch.json")).expect("the recording")
}

fn cases(kind: &str) -> Vec<(Option<String>, u16, Value)> {
    serde_json::from_value(recorded()[kind].clone()).expect("triples")
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Unreadable(_) => 400,
        Error::TooLarge(_) => 413,
        Error::Unfit(_) => 422,
        Error::Failed(_) => 500,
    }
}

/// Null and absent are one after decoding, and so are empty lists and maps where the field does not
/// show them.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, v)| !v.is_null() && !key.starts_with('$') && *key != "bogus")
                .map(|(k, v)| (k.clone(), settled(v)))
                .filter(|(_, v)| !v.as_array().is_some_and(Vec::is_empty))
                .collect(),
        ),
        Value::Array(items) => items.iter().map(settled).collect(),
        other => other.clone(),
    }
}

fn check(
    kind: &str,
    run: impl Fn(&[u8]) -> Result<Value, Error>,
    same: impl Fn(&Value, &Value) -> bool,
) {
    let mut wrong = String::new();
    for (patch, status, wanted) in cases(kind) {
        let Some(patch) = patch else { continue };
        match run(patch.as_bytes()) {
            Ok(got) if status < 300 && same(&got, &wanted) => {}
            // Not the patch but what comes after it refuses the object.
            Ok(_)
                if status == 422
                    && wanted.as_str().is_some_and(|text| text.contains("is invalid")) => {}
            Err(error) if code(&error) == status && wanted == error.to_string() => {}
            got => writeln!(wrong, "{patch}\n  want {status} {wanted}\n  got {got:?}")
                .expect("a string"),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn json_patches() {
    let doc = serde_json::json!({"spec": {"free": recorded()["thing"]}});
    let run = |patch: &[u8]| {
        json_patch::apply(doc.clone(), patch).map(|it| it.object["spec"]["free"].clone())
    };
    check("json", run, |a, b| a == b);
    let many = vec![r#"{"op":"add","path":"/x","value":1}"#; 10_001].join(",");
    let error =
        json_patch::apply(doc.clone(), format!("[{many}]").as_bytes()).expect_err("too many");
    assert_eq!(code(&error), 413);
    let copy = |i| format!(r#"{{"op":"copy","from":"/spec","path":"/spec/x{i}"}}"#);
    let twice = (0..40).map(copy).collect::<Vec<_>>().join(",");
    assert!(json_patch::apply(doc.clone(), format!("[{twice}]").as_bytes()).is_err());
    let odd =
        json_patch::apply(doc, br#"[{"op":"add","path":"/x","value":1,"value":2,"bogus":1}]"#)
            .expect("fits")
            .odd;
    assert_eq!(
        odd,
        [r#"json patch duplicate field "[0].value""#, r#"json patch unknown field "[0].bogus""#]
    );
}

#[test]
fn merge_patches() {
    let doc = serde_json::json!({"spec": {"free": recorded()["thing"]}});
    let run =
        |patch: &[u8]| merge::apply(doc.clone(), patch).map(|it| it.object["spec"]["free"].clone());
    check("merge", run, |a, b| a == b);
}

#[test]
fn strategic_patches() {
    let live = recorded()["live"].clone();
    let schema = schema::builtin("io.k8s.api.apps.v1.Deployment").expect("built in");
    let run = |patch: &[u8]| strategic::apply(live.clone(), patch, schema).map(|it| it.object);
    let same = |got: &Value, wanted: &Value| {
        // What upstream has more are defaults.
        fn within(got: &Value, wanted: &Value) -> bool {
            match (got, wanted) {
                (Value::Object(a), Value::Object(b)) => a.iter().all(|(key, a)| {
                    b.get(key).is_some_and(|b| within(a, b))
                        || a.as_object().is_some_and(|a| a.is_empty())
                        || *a == Value::Bool(false)
                }),
                (Value::Array(a), Value::Array(b)) => {
                    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| within(a, b))
                }
                (a, b) => a == b,
            }
        }
        let mut got = settled(got);
        got["metadata"].as_object_mut().expect("a map").remove("name");
        got.as_object_mut().expect("a map").retain(|key, _| key == "metadata" || key == "spec");
        within(&got, wanted)
    };
    check("strategic", run, same);
}
