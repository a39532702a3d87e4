//! What upstream's encoder wrote for objects of many kinds (`tests-data/protobuf.txt`: a line of the object's JSON, a line
//! of the answer in base64), and what holds of every type of the table.

use super::*;
use crate::protobuf::{document, open, read, watch_event};
use crate::schema::{DEFINITIONS, KINDS, builtin, gvk};
use skiff_json::{Map, Value, json};

/// Each pair of an object and its answer.
fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let mut lines = include_str!("../../../tests-data/protobuf.txt").lines();
    let pair = || Some((lines.next()?, STANDARD.decode(lines.next()?).expect("base64")));
    std::iter::from_fn(pair).collect()
}

/// The first place where two texts of bytes part, with what is around it.
fn difference(wanted: &[u8], got: &[u8]) -> Option<String> {
    let at = wanted.iter().zip(got).position(|(a, b)| a != b);
    let at = at.or((wanted.len() != got.len()).then_some(wanted.len().min(got.len())))?;
    let around = |bytes: &[u8]| {
        let bytes = &bytes[at.saturating_sub(24).min(bytes.len())..(at + 24).min(bytes.len())];
        bytes.escape_ascii().to_string()
    };
    Some(format!("at {at}: {:?}, wanted {:?}", around(got), around(wanted)))
}

#[test]
fn objects_are_the_bytes_that_upstream_writes() {
    let mut kinds = std::collections::BTreeSet::new();
    for (object, answer) in golden() {
        let written = document(object.as_bytes()).expect(object);
        let difference = difference(&answer, &written);
        assert_eq!(difference, None, "{object}");
        kinds.insert(open(&answer).expect("an envelope").kind);
    }
    assert!(kinds.len() >= 45, "{kinds:?}");
}

#[test]
fn objects_are_read_back_as_they_were() {
    for (object, answer) in golden() {
        let value: Value = skiff_json::from_str(object).expect("JSON");
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", "v1"));
        let of = gvk(group, version, text("kind")).expect("a type");
        let mut got = read(open(&answer).expect("an envelope"), of).expect("it is read");
        crate::schema::emit::emit(&mut got, of);
        let mut wanted = value.clone();
        // What the claims of a template are is not said in protobuf.
        let claims = wanted.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|key, _| key != "apiVersion" && key != "kind");
        }
        crate::schema::emit::emit(&mut wanted, of);
        // As text, for 1 and 1.0 are one number.
        let text = |value| String::from_utf8(crate::json::encode_body(value)).expect("text");
        assert_eq!(text(&got), text(&wanted), "{object}");
    }
}

/// A value in which every field has something; a type within itself has nothing.
fn full(shape: &Shape, go: &str, within: &mut Vec<String>) -> Value {
    match shape {
        Shape::Any => match choice(go) {
            Some(Choice::Bool) => json!({"type": "a"}),
            Some(Choice::Schemas) => json!([{"type": "a"}, {"type": "b"}]),
            Some(Choice::Texts) => json!(["a"]),
            None => json!({"a": [1, "b", null]}),
        },
        Shape::Bool => json!(true),
        Shape::Int32 => json!(-7),
        Shape::Int64 => json!(1_i64 << 40),
        Shape::Float => json!(1.5),
        Shape::String => json!("a\"\\\n\u{e9}"),
        Shape::Bytes => json!("AP8="),
        Shape::Time => json!("2026-01-02T03:04:05Z"),
        Shape::MicroTime => json!("1969-12-31T23:59:59.123456Z"),
        Shape::Duration => json!("1m0s"),
        Shape::Quantity => json!("1500m"),
        Shape::IntOrString => json!("25%"),
        Shape::Struct(of) => structure(of, within),
        Shape::Map(_) if go == "v1.JSONSchemaDependencies" => json!({"a": ["b"]}),
        Shape::Map(item) => {
            let item = full(&item.shape, "", within);
            json!({"a": item, "b": item})
        }
        Shape::List(item) => {
            let item = full(&item.shape, "", within);
            json!([item, item])
        }
    }
}

fn structure(of: &Struct, within: &mut Vec<String>) -> Value {
    if within.iter().any(|name| *name == of.name) {
        return json!({});
    }
    within.push(of.name.to_string());
    let known = |field: &&Field| field.tag > 0 && field.inline.iter().all(|it| it.tag > 0);
    let mut filled = Map::new();
    for field in of.fields.iter().filter(known) {
        filled.insert(field.name.to_string(), full(&field.node.shape, &field.go, within));
    }
    within.pop();
    Value::Object(filled)
}

/// JSON, protobuf, JSON: of every type that has numbers, with all of its fields and with none.
#[test]
fn every_type_comes_back() {
    for of in DEFINITIONS {
        for mut value in [structure(of, &mut Vec::new()), json!({})] {
            crate::schema::emit::emit(&mut value, of);
            let mut message = Vec::new();
            encode(value.to_string().as_bytes(), of, &mut message).expect(&of.name);
            let mut got = super::super::structure(&message, of, 0).expect(&of.name);
            crate::schema::emit::emit(&mut got, of);
            // What has no number is of no message.
            if of.fields.iter().all(|it| it.tag > 0) {
                assert_eq!(got, value, "{}", of.name);
            }
            let mut again = Vec::new();
            encode(got.to_string().as_bytes(), of, &mut again).expect(&of.name);
            assert_eq!(difference(&message, &again), None, "{}", of.name);
        }
    }
}

#[test]
fn messages_of_watches_tell_their_lengths() {
    let body = [b'x'; 300];
    let mut message = watch_event("ADDED", "v1", "Pod", body.len());
    message.extend_from_slice(&body);
    message.extend_from_slice(super::super::ENVELOPE_END);
    let (length, event) = message.split_first_chunk::<4>().expect("four bytes");
    assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
    let of = builtin("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent").expect("the table has it");
    let mut reader = super::super::Reader(event);
    let mut fields = Vec::new();
    while let Some(field) = reader.field().expect("a field") {
        fields.push(field);
    }
    assert_eq!((fields.len(), of.fields.len()), (2, 2));
    let (2, super::super::Wire::Bytes(object)) = fields[1] else { panic!("{fields:?}") };
    let Some(super::super::Wire::Bytes(raw)) = super::super::first(object).expect("one field")
    else {
        panic!("{object:?}")
    };
    let envelope = open(raw).expect("an envelope");
    assert_eq!((&*envelope.api_version, &*envelope.kind, envelope.raw), ("v1", "Pod", &body[..]));
}

/// Whatever is wrong with a text, it is told and nothing else happens.
#[test]
fn what_is_no_json_of_the_type_is_refused() {
    let pod = gvk("", "v1", "Pod").expect("a kind");
    let whole =
        golden().into_iter().find(|(it, _)| it.contains("\"kind\":\"Pod\"")).expect("a pod").0;
    for end in 0..whole.len() {
        let cut = &whole.as_bytes()[..end];
        assert!(encode(cut, pod, &mut Vec::new()).is_err(), "{end}");
    }
    for wrong in [
        "",
        "[]",
        "null",
        "{\"spec\":[]}",
        "{\"spec\":{\"containers\":{}}}",
        "{\"metadata\":\"\\u12\"}",
    ] {
        assert!(encode(wrong.as_bytes(), pod, &mut Vec::new()).is_err(), "{wrong}");
    }
    let mut deep = "{\"properties\":{\"a\":".repeat(200);
    deep.push_str("{}");
    deep.push_str(&"}}".repeat(200));
    let schema = builtin(SCHEMA).expect("the table has it");
    assert_eq!(encode(deep.as_bytes(), schema, &mut Vec::new()), Err(ProtobufError::TooDeep));
    assert!(KINDS.len() > 190);
}
