//! Upstream's own answers to selectors of every sort, and what they select.

use skiff_json::{Value, json};

use super::*;

const RECORDED: &str = include_str!("../../tests-data/selectors.json");

#[test]
fn errors_are_upstreams() {
    let recorded: Value = skiff_json::from_str(RECORDED).expect("the recording");
    let cases = |kind: &str| -> Vec<(String, String)> {
        skiff_json::from_value(recorded[kind].clone()).expect("pairs")
    };
    for (text, wanted) in cases("labels") {
        let got = Selector::parse(&text).err().unwrap_or_default();
        assert_eq!(got, wanted, "{text}");
    }
    for (text, wanted) in cases("fields") {
        let got = FieldSelector::parse(&text)
            .and_then(|it| {
                it.check(|field| {
                    matches!(field, "metadata.name" | "metadata.namespace" | "spec.nodeName")
                })
                .map_err(|field| format!("field label not supported: {field}"))
            })
            .err()
            .unwrap_or_default();
        assert_eq!(got, wanted, "{text}");
    }
}

#[test]
fn matching() {
    let object = json!({"metadata": {"labels": {"a": "1", "b": "x", "in": "in"}}});
    let cases = [
        ("", true),
        ("a", true),
        ("!a", false),
        ("c!=1", true),
        ("a notin (1,2)", false),
        ("c notin (1,2)", true),
        ("a in (2,1)", true),
        ("a>0,a<2", true),
        ("b>0", false),
        ("c>0", false),
        ("in in (in)", true),
        ("a==1,b=x,!c", true),
        ("b=", false),
    ];
    for (text, wanted) in cases {
        let selector = Selector::parse(text).expect(text);
        assert_eq!(selector.matches_object(&object), wanted, "{text}");
        let again = Selector::parse(&selector.to_string()).expect("what was written can be read");
        assert_eq!(again, selector, "{text}");
    }
    assert_eq!(
        Selector::parse("z in (b, a),!y,c==d").expect("valid").to_string(),
        "c==d,!y,z in (a,b)"
    );
    assert!(!Selector::Nothing.matches_object(&object));
    assert_eq!(Selector::parse("x,b in (c),d=e").expect("valid").exact(), Some(("b", "c")));
}

#[test]
fn fields() {
    let selector = FieldSelector::parse(r"spec.nodeName!=y,metadata.name==a\,b").expect("valid");
    assert_eq!(selector.to_string(), r"metadata.name=a\,b,spec.nodeName!=y");
    assert_eq!(selector.exact("metadata.name"), Some("a,b"));
    assert_eq!(selector.exact("spec.nodeName"), None);
    assert!(selector.matches(|field| (field == "metadata.name").then_some("a,b")));
    assert!(!selector.matches(|_| Some("y")));
}

#[test]
fn objects() {
    let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [
        {"key": "b", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]});
    let read = Selector::from_object(Some(&selector)).expect("valid");
    assert_eq!(read.to_string(), "a=1,b in (x,y),!c");
    assert!(validate_label_selector(&selector).is_empty());
    assert_eq!(Selector::from_object(None).expect("valid"), Selector::Nothing);
    assert!(Selector::from_object(Some(&json!({}))).expect("valid").selects_everything());

    let wrong = json!({"matchLabels": {"a b": "!"}, "matchExpressions": [
        {"key": "b", "operator": "In"}, {"key": "c", "operator": "Exists", "values": ["x"]},
        {"key": "", "operator": "Is", "values": ["?"]}]});
    let found: Vec<String> = validate_label_selector(&wrong)
        .iter()
        .map(|p| format!("{:?} {}", p.kind, p.path))
        .collect();
    assert_eq!(
        found,
        [
            "Invalid matchLabels",
            "Invalid matchLabels",
            "Required matchExpressions[0].values",
            "Forbidden matchExpressions[1].values",
            "Invalid matchExpressions[2].operator",
            "Invalid matchExpressions[2].key",
            "Invalid matchExpressions[2].key",
            "Invalid matchExpressions[2].values[0]",
        ]
    );
}
