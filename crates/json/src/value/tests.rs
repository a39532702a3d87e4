//! Values: paths, words, and trees that become other values.

use super::*;
use crate::{from_value, json, to_value};
use expect_test::expect;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[test]
fn paths_lead_to_values() {
    let mut tree = json!({"a/b": [{"~": 1}, "x"], "n": null});
    assert_eq!(tree.pointer("/a~1b/0/~0"), Some(&json!(1)));
    assert_eq!(tree.pointer(""), Some(&tree));
    for none in ["a", "/a~1b/00", "/a~1b/+1", "/a~1b/2", "/n/x"] {
        assert_eq!(tree.pointer(none), None, "{none}");
    }
    assert_eq!(tree["a/b"][1], "x");
    assert!(tree["no"]["such"][7].is_null());
    tree["n"]["made"] = 5.into();
    *tree.pointer_mut("/a~1b/1").expect("it is there") = json!({"y": true});
    expect![[r#"{"a/b":[{"~":1},{"y":true}],"n":{"made":5}}"#]].assert_eq(&tree.to_string());
    expect![[r#"Object {"a": Array [Number(1.5), String("x"), Bool(false), Null]}"#]]
        .assert_eq(&format!("{:?}", json!({"a": [1.5, "x", false, null]})));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Line { to: (i32, f64) },
    Named(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct All {
    shapes: Vec<Shape>,
    maybe: Option<u8>,
    names: BTreeMap<String, i64>,
    #[serde(flatten)]
    other: Map,
}

#[test]
fn trees_become_what_they_describe() {
    let all = All {
        shapes: vec![Shape::Point, Shape::Line { to: (-1, 0.5) }, Shape::Named("x".into())],
        maybe: None,
        names: [("n".to_owned(), i64::MIN)].into(),
        other: [("more".to_owned(), json!({"deep": [u64::MAX]}))].into_iter().collect(),
    };
    let tree = to_value(&all).expect("JSON");
    assert_eq!(All::deserialize(&tree).expect("it is one"), all);
    assert_eq!(from_value::<All>(tree.clone()).expect("it is one"), all);
    assert_eq!(crate::from_str::<Value>(&tree.to_string()).expect("JSON"), tree);
}

#[test]
fn errors_say_what_was_found() {
    let mut out = String::new();
    for tree in [
        json!({"shapes": [7], "names": {}}),
        json!({"shapes": ["Circle"], "names": {}}),
        json!({"shapes": [{"Line": {"to": [1]}}], "names": {}}),
        json!({"shapes": [], "names": {"a": "b"}}),
        json!({"shapes": {}, "names": {}}),
        json!({"names": {}}),
    ] {
        let owned = from_value::<All>(tree.clone()).expect_err("it is none").to_string();
        assert_eq!(All::deserialize(&tree).expect_err("it is none").to_string(), owned);
        out += &format!("{owned}\n");
    }
    expect![[r#"
        invalid type: integer `7`, expected string or map
        unknown variant `Circle`, expected one of `Point`, `Line`, `Named`
        invalid length 1, expected a tuple of size 2
        invalid type: string "b", expected i64
        invalid type: map, expected a sequence
        missing field `shapes`
    "#]]
    .assert_eq(&out);
}
