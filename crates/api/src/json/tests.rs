//! Upstream's own answers to broken bodies, and that what is written is what was read.

use skiff_json::json;

use super::*;

#[test]
fn errors_are_upstreams() {
    let recorded = include_str!("../../tests-data/json-errors.json");
    let recorded: Vec<(String, String)> = skiff_json::from_str(recorded).expect("the recording");
    assert!(recorded.len() > 30);
    for (body, wanted) in recorded {
        let got = read_object(body.as_bytes()).err().unwrap_or_default();
        assert_eq!(got, wanted, "{body}");
    }
}

#[test]
fn repeated_fields_are_named() {
    let text = br#"{"a":1,"l":[{"x":1,"x":2,"y":{"z":1,"z":2}}],"a":{"b":1,"b":2}}"#;
    let parsed = parse(text).expect("valid");
    assert_eq!(
        parsed.odd,
        [
            r#"duplicate field "l[0].x""#,
            r#"duplicate field "l[0].y.z""#,
            r#"duplicate field "a.b""#,
            r#"duplicate field "a""#
        ]
    );
    assert_eq!(parsed.value, json!({"a": {"b": 2}, "l": [{"x": 2, "y": {"z": 2}}]}));
}

#[test]
fn long_paths_to_repeated_fields_are_written_out_so_far_only() {
    let long = "k".repeat(1 << 16);
    let twice: Vec<String> = (0..50).map(|i| format!(r#""f{i}":1,"f{i}":2"#)).collect();
    let parsed = parse(format!(r#"{{"{long}":{{{}}}}}"#, twice.join(",")).as_bytes());
    let parsed = parsed.expect("valid");
    assert_eq!(parsed.odd.len(), MAX_DUPLICATE_BYTES / (1 << 16));
    assert_eq!(parsed.odd[0], format!("duplicate field \"{long}.f0\""));
    assert_eq!(parsed.value[&long]["f49"], 2);
}

#[test]
fn depth_is_limited() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(parse(deep.as_bytes()), Err("invalid character '[' exceeded max depth".to_string()));
}

#[test]
fn numbers() {
    let cases = [
        ("1", "1"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("1e21", "1e+21"),
        ("1e20", "100000000000000000000"),
        ("0.0000001", "1e-7"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854776000"),
        ("-0.0", "-0"),
    ];
    for (read, written) in cases {
        let value = parse(read.as_bytes()).expect("valid").value;
        assert_eq!(String::from_utf8(write(&value)).expect("text"), written, "{read}");
    }
}

#[test]
fn stored_bodies() {
    let object = json!({"apiVersion": "v1", "kind": "X", "data": {"a": "<\u{e9}>"}, "metadata":
        {"name": "n", "resourceVersion": "5", "labels": {"resourceVersion": "kept"}}, "spec": null});
    assert_eq!(
        String::from_utf8(encode_body(&object)).expect("text"),
        "{\"metadata\":{\"labels\":{\"resourceVersion\":\"kept\"},\"name\":\"n\"},\
         \"data\":{\"a\":\"<é>\"},\"spec\":null}"
    );
    assert_eq!(encode_body(&json!({"x": 1})), b"{\"metadata\":{},\"x\":1}");
    let read = decode(&encode_body(&object)).expect("what was written can be read");
    assert_eq!(encode_body(&read), encode_body(&object));
}

#[test]
fn halves_of_surrogate_pairs_are_replaced() {
    for (body, want) in [
        (r#""\ud800""#, "\u{fffd}"),
        (r#""a\udc00b\ud83d\ude00\ud83d""#, "a\u{fffd}b\u{1f600}\u{fffd}"),
        (r#""\\ud800\ud800\u0061""#, "\\ud800\u{fffd}a"),
    ] {
        assert_eq!(parse(body.as_bytes()).map(|it| it.value), Ok(want.into()), "{body}");
    }
    assert!(parse(br#"{"a":"\ud800",}"#).is_err());
}
