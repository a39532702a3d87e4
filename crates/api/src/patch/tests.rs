//! Upstream's own answers to patches of all three types.

use std::fmt::Write as _;

use super::*;
use crate::schema;

fn recorded() -> Value {
    skiff_json::from_str(include_str!("../../tests-data/patch.json")).expect("the recording")
}

fn cases(kind: &str) -> Vec<(Option<String>, u16, Value)> {
    skiff_json::from_value(recorded()[kind].clone()).expect("triples")
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Unreadable(_) => 400,
        Error::TooLarge(_) => 413,
        Error::Unfit(_) | Error::Untrue(_) | Error::TooDeep(_) => 422,
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
    let doc = skiff_json::json!({"spec": {"free": recorded()["thing"]}});
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
    let doc = skiff_json::json!({"spec": {"free": recorded()["thing"]}});
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

/// Each operation of a JSON patch is small; what they make of an object together need not be.
#[test]
fn json_patches_neither_nest_nor_work_without_bound() {
    let run = |object: Value, operations: Vec<Value>| {
        let bytes = Value::from(operations).to_string();
        let done = json_patch::apply(object, bytes.as_bytes());
        done.map(|patched| json::measure(&patched.object).0)
    };
    let tower =
        |depth: usize| (0..depth).fold(skiff_json::json!(1), |it, _| skiff_json::json!({"a": it}));
    let below = |depth: usize| "/a".repeat(depth);
    // Five hundred moves, each of which puts the tower one level deeper.
    let moves = (0..1000).map(|i| {
        let (from, path) = [("/a", "/b/a"), ("/b", "/a")][i % 2];
        skiff_json::json!({"op": "move", "from": from, "path": path})
    });
    let adds = moves.flat_map(|step| match step["from"] == "/a" {
        true => vec![skiff_json::json!({"op": "add", "path": "/b", "value": {}}), step],
        false => vec![step],
    });
    let deep = run(tower(2), adds.collect());
    assert!(matches!(&deep, Err(Error::TooDeep(path)) if path == "b.a"), "{deep:?}");
    // Copies into themselves double the depth.
    let copies = (0..12)
        .map(|i| skiff_json::json!({"op": "copy", "from": "/a", "path": below(1 << i) + "/a"}));
    let object = skiff_json::json!({"a": {}});
    assert!(matches!(run(object, copies.collect()), Err(Error::TooDeep(_))));
    // A replacement within what was replaced before.
    let within = (0..3).map(|i| {
        let path = below(60 * i + 1);
        skiff_json::json!({"op": "replace", "path": path, "value": tower(60)})
    });
    assert!(matches!(run(tower(2), within.collect()), Err(Error::TooDeep(_))));
    let whole = vec![skiff_json::json!({"op": "replace", "path": "", "value": tower(121)})];
    assert!(matches!(run(tower(2), whole), Err(Error::TooDeep(path)) if path.is_empty()));
    let most = vec![skiff_json::json!({"op": "add", "path": "/b", "value": tower(119)})];
    assert_eq!(run(tower(2), most), Ok(json::MAX_DEPTH));
    // All of a large object moved, or a long list shifted, thousands of times.
    let list = skiff_json::json!({"a": vec![0; 100_000], "b": {}});
    let there = |i: usize| {
        let (from, path) = [("/a", "/b/a"), ("/b/a", "/a")][i % 2];
        skiff_json::json!({"op": "move", "from": from, "path": path})
    };
    assert!(matches!(run(list.clone(), (0..2_000).map(there).collect()), Err(Error::TooLarge(_))));
    assert_eq!(run(list.clone(), (0..100).map(there).collect()), Ok(2));
    let shift = |_| skiff_json::json!({"op": "add", "path": "/a/0", "value": 1});
    assert!(matches!(run(list, (0..2_000).map(shift).collect()), Err(Error::TooLarge(_))));
}
