//! Upstream's own answers, step by step: after each recorded write, ownership and object must be
//! the same as there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use skiff_json::{Value, json};

use super::*;
use crate::schema::{self, Emit, Field, Node, Shape, Strategy, Topology};

const RECORDED: &str = include_str!("../../tests-data/apply.json");
const NOW: &str = "T";

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn node(shape: Shape, topology: Topology) -> Node {
    Node { shape, topology, default: None, rules: None }
}

fn structure(fields: Vec<(&'static str, Node)>) -> Struct {
    let mut fields: Vec<Field> = fields
        .into_iter()
        .map(|(name, node)| Field {
            name: name.into(),
            go: "".into(),
            inline: &[],
            topology: node.topology.clone(),
            said_atomic: false,
            node,
            required: false,
            emit: Emit::Present,
            strategy: Strategy::Default,
            default: (name == "zone").then(|| r#""a""#.into()),
            values: &[],
            tag: 0,
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Struct {
        name: "".into(),
        go: "".into(),
        fields: fields.into(),
        topology: Topology::Granular,
        open: false,
        wire: &[],
    }
}

fn shared(shape: Struct) -> Shape {
    Shape::Struct(Ref::Shared(std::sync::Arc::new(shape)))
}

fn list(of: Node, topology: Topology) -> Node {
    node(Shape::List(Ref::Shared(std::sync::Arc::new(of))), topology)
}

/// The custom resource of the recording.
fn thing() -> Struct {
    let plain = |shape| node(shape, Topology::Granular);
    let part = structure(vec![
        ("id", plain(Shape::String)),
        ("zone", plain(Shape::String)),
        ("n", plain(Shape::Int64)),
    ]);
    let whole = structure(vec![("a", plain(Shape::String)), ("b", plain(Shape::String))]);
    let keys = Topology::Keyed(vec!["id".into(), "zone".into()].into());
    let mut free = structure(vec![]);
    free.open = true;
    let tags = Shape::Map(Ref::Shared(std::sync::Arc::new(plain(Shape::String))));
    let spec = structure(vec![
        ("size", plain(Shape::Int64)),
        ("names", list(plain(Shape::String), Topology::Set)),
        ("parts", list(plain(shared(part)), keys)),
        ("plain", list(plain(Shape::String), Topology::Atomic)),
        ("whole", node(shared(whole), Topology::Atomic)),
        ("free", plain(shared(free))),
        ("tags", plain(tags)),
    ]);
    let status = structure(vec![("phase", plain(Shape::String)), ("seen", plain(Shape::Int64))]);
    let metadata =
        schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("built in");
    structure(vec![
        ("apiVersion", plain(Shape::String)),
        ("kind", plain(Shape::String)),
        ("metadata", plain(Shape::Struct(Ref::Static(metadata)))),
        ("spec", plain(shared(spec))),
        ("status", plain(shared(status))),
    ])
}

fn schema_of(version: &str, kind: &str) -> Ref<Struct> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    match schema::gvk(group, version, kind) {
        Some(it) => Ref::Static(it),
        None => Ref::Shared(std::sync::Arc::new(thing())),
    }
}

/// What the endpoints of a kind put back.
fn reset(kind: &str, subresource: &str) -> Set {
    let mut set = Set::default();
    match (kind, subresource) {
        ("ConfigMap" | "ServiceAccount", _) => {}
        ("Pod", "") => {
            set.insert(&["f:status"]);
        }
        ("Thing", "status") => {
            set.insert(&["f:metadata"]);
            set.insert(&["f:spec"]);
        }
        ("Deployment", "status") => {
            set.insert(&["f:spec"]);
            set.insert(&["f:metadata", "f:labels"]);
        }
        ("Pod", _) => {
            set.insert(&["f:spec"]);
            set.insert(&["f:metadata", "f:deletionTimestamp"]);
            set.insert(&["f:metadata", "f:ownerReferences"]);
        }
        (_, "status") => set.insert(&["f:spec"]),
        _ => set.insert(&["f:status"]),
    }
    set
}

/// An item's name in a path: by what identifies it where that is known, else by position.
fn name_of(i: usize, item: &Value) -> String {
    let known: Vec<String> = ["name", "id", "zone", "containerPort", "port", "type"]
        .iter()
        .filter_map(|key| item.get(*key).map(|value| format!("{key}={value}")))
        .filter(|key| key != "zone=\"a\"")
        .collect();
    if known.is_empty() { i.to_string() } else { known.join(",") }
}

/// Every leaf with its path. Null and absent are one.
fn leaves(path: String, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                leaves(format!("{path}.{key}"), value, out);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                leaves(format!("{path}[{}]", name_of(i, item)), item, out);
            }
            let order: Vec<String> = items.iter().enumerate().map(|(i, v)| name_of(i, v)).collect();
            out.insert(format!("{path}[]"), order.join(" "));
        }
        other => {
            out.insert(path, other.to_string());
        }
    }
}

/// The merged object against the recorded one: all that we have must be there, and what we have not
/// must be a default, hence not what the live object had there.
fn compare_objects(mine: Value, theirs: &Value, live: &Value, out: &mut String) {
    let all = |value: &Value| {
        let mut all = BTreeMap::new();
        leaves(String::new(), value, &mut all);
        all.remove(".metadata.generation");
        all.retain(|path, _| !path.starts_with(".status"));
        all
    };
    let (mine, theirs, live) = (all(&mine), all(theirs), all(live));
    for (path, value) in mine.iter().filter(|(path, value)| theirs.get(*path) != Some(*value)) {
        writeln!(out, "{path}: have {value}, upstream {:?}", theirs.get(path)).expect("a string");
    }
    for (path, value) in &theirs {
        if !mine.contains_key(path) && live.get(path) == Some(value) {
            writeln!(out, "{path}: removed, upstream keeps {value}").expect("a string");
        }
    }
}

fn plain(mut object: Value) -> Value {
    take_managed(&mut object);
    object
}

/// Runs one step and says how its outcome differs from the recorded one.
fn step(kind: &str, version: &str, step: &Value, live: Option<&Value>) -> String {
    let subresource = text(step, "subresource");
    let reset = reset(kind, subresource);
    let schema = schema_of(version, kind);
    let write = Write {
        schema: &schema,
        version,
        subresource,
        manager: text(step, "manager"),
        now: NOW,
        reset: &reset,
        convert: None,
    };
    let recorded = step.get("object");
    let mut out = String::new();
    if text(step, "op") == "apply" {
        let force = if step.get("force").is_some() { Force::Yes } else { Force::No };
        match (apply(&write, live, &step["body"], force), recorded) {
            (Ok(applied), Some(recorded)) => {
                let mut object = applied.object;
                if let Some(live) = live {
                    keep_times(live, &mut object);
                }
                compare_managed(&object, recorded, &mut out);
                let mine = plain(object);
                if let (Some(live), false) = (live, step["body"].to_string().contains("null")) {
                    compare_objects(mine, &plain(recorded.clone()), live, &mut out);
                }
            }
            (Err(error), None) => {
                let wanted = text(&step["status"], "message");
                if error.to_string() != wanted && step["code"] != 422 {
                    writeln!(out, "want {wanted}\ngot  {error}").expect("a string");
                }
                if let Error::Conflicts(found) = error {
                    let mut causes: Vec<Value> = found
                        .0
                        .iter()
                        .map(|c| {
                            json!({
                        "field": c.field(), "message": c.message(),
                        "reason": "FieldManagerConflict"})
                        })
                        .collect();
                    let mut wanted =
                        step["status"]["details"]["causes"].as_array().cloned().unwrap_or_default();
                    causes.sort_by_key(Value::to_string);
                    wanted.sort_by_key(Value::to_string);
                    if causes != wanted {
                        writeln!(out, "want {wanted:?}\ngot  {causes:?}").expect("a string");
                    }
                }
            }
            (Ok(_), None) if step["code"] == 422 => {}
            (Ok(_), None) => writeln!(out, "want {}", step["status"]).expect("a string"),
            (Err(error), Some(_)) => writeln!(out, "want success, got {error}").expect("a string"),
        }
    } else if let Some(recorded) = recorded {
        let mut new = plain(recorded.clone());
        if let (None, Some(Value::Object(spec))) = (live, new.get_mut("spec")) {
            // Allocated and admitted after ownership was taken down.
            let later = [
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "priority",
                "preemptionPolicy",
                "serviceAccount",
                "serviceAccountName",
                "tolerations",
            ];
            spec.retain(|key, _| !later.contains(&key.as_str()));
        }
        if let Some(sent) = step["body"].get("metadata").and_then(|m| m.get("managedFields"))
            && let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert("managedFields".into(), sent.clone());
        }
        update(&write, live, &mut new);
        if let Some(live) = live {
            keep_times(live, &mut new);
        }
        compare_managed(&new, recorded, &mut out);
    }
    out
}

fn compare_managed(got: &Value, recorded: &Value, out: &mut String) {
    let (got, mut wanted) = (managed(got).to_vec(), managed(recorded).to_vec());
    let mut got: Vec<Value> = got;
    // Times are normalized, which makes the order between entries of one operation arbitrary.
    got.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    if got != wanted {
        let show = |list: &[Value]| list.iter().map(|e| format!("    {e}\n")).collect::<String>();
        writeln!(out, "  want\n{}  got\n{}", show(&wanted), show(&got)).expect("a string");
    }
}

#[test]
fn recorded_sequences() {
    let recorded: Vec<Value> = skiff_json::from_str(RECORDED).expect("the recording");
    assert!(recorded.len() > 40);
    let mut report = String::new();
    for sequence in &recorded {
        let mut live: Option<Value> = None;
        let steps = sequence["steps"].as_array().expect("steps");
        for (i, one) in steps.iter().enumerate() {
            if let Some(found) = one.get("live") {
                live = Some(found.clone());
            }
            let wrong = step(text(sequence, "kind"), text(sequence, "version"), one, live.as_ref());
            if !wrong.is_empty() {
                writeln!(report, "{} step {i} {}:\n{wrong}", sequence["name"], one["op"])
                    .expect("a string");
            }
            if let Some(object) = one.get("object") {
                live = Some(object.clone());
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn entries_of_other_versions() {
    let schema = thing();
    let convert = |object: &Value, version: &str| {
        let mut object = object.clone();
        object["apiVersion"] = version.into();
        (version != "rec.skiff/v0").then(|| (object, Ref::Shared(std::sync::Arc::new(thing()))))
    };
    let none = Set::default();
    let write = |version, manager, convert| Write {
        schema: &schema,
        version,
        subresource: "",
        manager,
        now: NOW,
        reset: &none,
        convert,
    };
    let config = |version: &str, spec: Value| {
        let head = json!({"name": "x"});
        json!({"apiVersion": version, "kind": "Thing", "metadata": head, "spec": spec})
    };
    let (v1, v2) = ("rec.skiff/v1", "rec.skiff/v2");
    let first = config(v1, json!({"size": 1, "tags": {"a": "1", "b": "2"}}));
    let live = apply(&write(v1, "m", None), None, &first, Force::No).expect("applies").object;

    // The same manager in another version: what it dropped goes when somebody can convert.
    let second = config(v2, json!({"size": 1, "tags": {"a": "1"}}));
    let with =
        apply(&write(v2, "m", Some(&convert)), Some(&live), &second, Force::No).expect("applies");
    assert_eq!(with.object["spec"], json!({"size": 1, "tags": {"a": "1"}}));
    assert_eq!(managed(&with.object).len(), 1);
    let without = apply(&write(v2, "m", None), Some(&live), &second, Force::No).expect("applies");
    assert_eq!(without.object["spec"]["tags"], json!({"a": "1", "b": "2"}));

    // Another manager in another version: its fields are taken when somebody can convert, else
    // kept.
    let mut new = live.clone();
    new["spec"]["size"] = json!(2);
    let mut plain = new.clone();
    update(&write(v2, "u", None), Some(&live), &mut plain);
    assert!(managed(&plain)[0].to_string().contains("f:size"));
    update(&write(v2, "u", Some(&convert)), Some(&live), &mut new);
    assert!(!managed(&new)[0].to_string().contains("f:size"));
    let wanted = config(v2, json!({"size": 3}));
    let error = apply(&write(v2, "o", Some(&convert)), Some(&live), &wanted, Force::No)
        .expect_err("conflicts");
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m\": .spec.size");

    // A version that is gone takes its entries with it.
    let mut old = live.clone();
    old["metadata"]["managedFields"][0]["apiVersion"] = "rec.skiff/v0".into();
    let mut new = plain_with(&old, 4);
    update(&write(v1, "u", Some(&convert)), Some(&old), &mut new);
    assert_eq!(managed(&new).len(), 1);
    assert_eq!(managed(&new)[0]["manager"], "u");
}

fn plain_with(object: &Value, size: i64) -> Value {
    let mut object = object.clone();
    object["spec"]["size"] = size.into();
    object
}

#[test]
fn applying_again_changes_nothing() {
    let recorded: Vec<Value> = skiff_json::from_str(RECORDED).expect("the recording");
    let none = Set::default();
    for sequence in &recorded {
        let (kind, version) = (text(sequence, "kind"), text(sequence, "version"));
        let schema = schema_of(version, kind);
        for one in sequence["steps"].as_array().expect("steps") {
            if text(one, "op") != "apply" {
                continue;
            }
            let write = Write {
                schema: &schema,
                version,
                subresource: "",
                manager: "again",
                now: "1",
                reset: &none,
                convert: None,
            };
            let Ok(first) = apply(&write, None, &one["body"], Force::No) else { continue };
            if managed(&first.object).is_empty() {
                // Who owns nothing leaves no trace, so that the next apply is the first one again.
                continue;
            }
            let later = Write { now: "2", ..write };
            let second =
                apply(&later, Some(&first.object), &one["body"], Force::No).expect("applies again");
            assert!(second.same, "{}", sequence["name"]);
            assert_eq!(second.object, first.object, "{}", sequence["name"]);
        }
    }
}

#[test]
fn stored_sets_are_in_the_stored_form() {
    let recorded: Vec<Value> = skiff_json::from_str(RECORDED).expect("the recording");
    for sequence in &recorded {
        for one in sequence["steps"].as_array().expect("steps") {
            for entry in one.get("object").map_or(&[][..], managed) {
                let fields = &entry["fieldsV1"];
                let set = Set::decode(fields).expect("upstream's set");
                assert_eq!(set.encode(), *fields);
            }
        }
    }
}
