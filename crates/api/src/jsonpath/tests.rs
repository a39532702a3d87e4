//! Upstream's own results, and cells.

use std::fmt::Write as _;

use jiff::Timestamp;
use skiff_json::json;

use super::*;

#[test]
fn results_are_upstreams() {
    let recorded: Value = skiff_json::from_str(include_str!("../../tests-data/jsonpath.json"))
        .expect("the recording");
    let cases: Vec<(String, String)> =
        skiff_json::from_value(recorded["cases"].clone()).expect("pairs");
    let mut wrong = String::new();
    for (path, wanted) in cases {
        // Upstream's order of a map's values is random, and columns have no loops.
        if path == "{.a.*}" || path.starts_with("{range") {
            continue;
        }
        let got = match JsonPath::parse(&path) {
            Err(error) => format!("parse: {error}"),
            Ok(read) => {
                read.render(&recorded["doc"]).unwrap_or_else(|error| format!("execute: {error}"))
            }
        };
        if got != wanted {
            writeln!(wrong, "{path}: want {wanted} got {got}").expect("a string");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn cells() {
    let object = json!({"spec": {"n": 3, "f": 1.5, "s": "x", "b": true, "l": ["a", "b"], "z": null},
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}});
    let now: Timestamp = "2026-01-01T00:05:10Z".parse().expect("a time");
    let cases = [
        (".spec.n", "integer", json!(3)),
        (".spec.f", "integer", json!(1)),
        (".spec.f", "number", json!(1.5)),
        (".spec.s", "integer", json!(null)),
        (".spec.s", "string", json!("x")),
        (".spec.n", "string", json!("3")),
        (".spec.l", "string", json!("[\"a\",\"b\"]")),
        (".spec.l[*]", "string", json!("a")),
        (".spec.b", "boolean", json!(true)),
        (".spec.z", "string", json!(null)),
        (".spec.none", "string", json!(null)),
        (".metadata.creationTimestamp", "date", json!("5m10s")),
        (".spec.s", "date", json!("<invalid>")),
    ];
    for (path, kind, wanted) in cases {
        let path = JsonPath::column(path).expect("valid");
        assert_eq!(cell(&path, kind, &object).at(now), wanted, "{path:?} {kind}");
    }
    let both = JsonPath::parse("{.spec.n}/{.spec.f}").expect("valid");
    assert_eq!(both.render(&object).expect("found"), "3/1.5");
}
