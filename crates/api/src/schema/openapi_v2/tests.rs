use super::*;
use expect_test::expect;

fn kind<'a>(source: Source<'a>, verbs: &'a [&'a str]) -> KindRef<'a> {
    KindRef {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        namespaced: true,
        verbs,
        shows_deleted: false,
        source,
        subresources: &[],
    }
}

#[test]
fn a_definition_has_no_defaults_and_its_own_references() {
    let kinds = [kind(Source::BuiltIn("io.k8s.api.core.v1.ConfigMap"), &["get", "patch"])];
    let document: Value =
        skiff_json::from_slice(&document(&kinds, Form::Json)).expect("it is JSON");
    let metadata =
        &document["definitions"]["io.k8s.api.core.v1.ConfigMap"]["properties"]["metadata"];
    assert_eq!(metadata["$ref"], "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    assert_eq!(metadata.get("allOf"), None);
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str())
        .collect();
    expect![[r#"body dryRun fieldManager fieldValidation force"#]].assert_eq(&names.join(" "));
}

#[test]
fn what_v2_cannot_say_is_left_open() {
    let mut schema = json!({"type": "object", "properties": {
        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}]},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "none": {"type": "string", "nullable": true, "default": "a"},
        "list": {"type": "array", "items": {"type": "object", "oneOf": []}},
    }});
    down(&mut schema);
    loosen_all(&mut schema);
    expect![[r#"{"any":{"x-kubernetes-preserve-unknown-fields":true},"list":{"items":{"type":"object"},"type":"array"},"none":{},"port":{"x-kubernetes-int-or-string":true}}"#]]
        .assert_eq(&schema["properties"].to_string());
    let mut anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"kind": {"type": "string"}}, "x-kubernetes-group-version-kind": []});
    loosen_all(&mut anything);
    assert_eq!(anything, json!({"type": "object", "x-kubernetes-group-version-kind": []}));
}

#[test]
fn messages_are_encoded_by_number() {
    let mut out = Vec::new();
    let document = json!({"swagger": "2.0", "definitions": {"a": {
        "type": "object", "x-b": [1], "maxLength": 300, "properties": {"c": {"$ref": "d"}}}}});
    encode::message(&mut out, &encode::DOCUMENT, &document);
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    expect![[r#"0a03322e304a310a2f0a0161122a58ac02b201080a066f626a656374ca010a0a080a016312030a0164fa010c0a03782d62120512035b315d"#]].assert_eq(&hex);
}
