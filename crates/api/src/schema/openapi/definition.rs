//! The definitions of a document: those that its paths name and all that these reach.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

use skiff_json::{Map, Value, json};

use super::{KindRef, Source, definition_name, reference};
use crate::schema::descriptions::Descriptions;
use crate::schema::{Emit, Field, Node, Shape, Strategy, Struct, Topology, builtin, kinds_of};

/// The kind whose fields lend their sentences to what every object has.
const EXAMPLE: &str = "io.k8s.api.apps.v1.Deployment";

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Writes the definitions in the order of names, which is also the order of descriptions.
pub fn write(
    kinds: &[KindRef<'_>],
    mut needed: BTreeSet<String>,
    sentences: &mut Descriptions,
    out: &mut dyn FnMut(&str, &Value) -> io::Result<()>,
) -> io::Result<()> {
    reach(&mut needed);
    for name in &needed {
        let custom = kinds.iter().find_map(|kind| match kind.source {
            Source::Custom(schema) => {
                let own = definition_name(kind);
                let list = name.strip_prefix(own.as_str()) == Some("List");
                (list || *name == own).then_some((kind, schema, list))
            }
            Source::BuiltIn(_) => None,
        });
        let written = match (custom, builtin(name)) {
            (Some((kind, _, true)), _) => custom_list(kind, sentences),
            (Some((kind, schema, false)), _) => custom_object(kind, schema, sentences),
            (None, Some(of)) => structure(of, sentences),
            (None, None) => scalar(name, sentences),
        };
        out(name, &written)?;
    }
    Ok(())
}

/// Adds every definition that the needed ones refer to.
fn reach(needed: &mut BTreeSet<String>) {
    let mut open: Vec<String> = needed.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let Some(of) = builtin(&name) else { continue };
        for field in of.fields.iter() {
            if let Some(found) = target(&field.node, &field.go)
                && needed.insert(found.to_string())
            {
                open.push(found.to_string());
            }
        }
    }
}

/// The definition that a place refers to, directly or as a list or map of it.
fn target<'a>(node: &'a Node, go: &str) -> Option<&'a str> {
    match &node.shape {
        Shape::Struct(of) => Some(&of.name),
        Shape::List(element) | Shape::Map(element) => target(element, inner(go)),
        shape => scalar_name(shape, go),
    }
}

fn inner(go: &str) -> &str {
    if go == "v1.JSONSchemaDependencies" {
        return "v1.JSONSchemaPropsOrStringArray";
    }
    go.strip_prefix("[]").or_else(|| go.strip_prefix("map[string]")).unwrap_or(go)
}

fn scalar_name(shape: &Shape, go: &str) -> Option<&'static str> {
    Some(match (shape, go) {
        (Shape::Time, _) => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        (Shape::MicroTime, _) => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        (Shape::Quantity, _) => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        (Shape::IntOrString, _) => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        (Shape::Any, "runtime.RawExtension") => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        (Shape::Any, "v1.FieldsV1") => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        (Shape::Any, "v1.JSON") => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        (Shape::Any, "v1.JSONSchemaPropsOrArray") => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        (Shape::Any, "v1.JSONSchemaPropsOrBool") => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        (Shape::Any, "v1.JSONSchemaPropsOrStringArray") => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        _ => return None,
    })
}

/// The definitions that are scalars in the tree and have a name in OpenAPI.
fn scalar(name: &str, sentences: &mut Descriptions) -> Value {
    let mut out = match name.rsplit('.').next().unwrap_or(name) {
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Quantity" => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "IntOrString" => json!({
            "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}],
        }),
        "RawExtension" | "FieldsV1" | "Patch" => json!({"type": "object"}),
        _ => json!({}),
    };
    describe(&mut out, sentences.of(name));
    out
}

fn structure(of: &Struct, sentences: &mut Descriptions) -> Value {
    let mut properties = Map::new();
    for field in of.fields.iter() {
        properties.insert(field.name.to_string(), property(of, field, sentences));
    }
    let mut out = json!({"type": "object"});
    if !properties.is_empty() {
        out["properties"] = Value::Object(properties);
    }
    let mut required: Vec<&Field> = of.fields.iter().filter(|it| it.required).collect();
    // In the order of Go, which numbers of fields follow.
    required.sort_by_key(|it| it.tag);
    if !required.is_empty() {
        out["required"] = required.iter().map(|it| &*it.name).collect();
    }
    let kinds: Vec<Value> = kinds_of(&of.name)
        .map(|it| json!({"group": it.group, "kind": it.kind, "version": it.version}))
        .collect();
    if !kinds.is_empty() {
        out["x-kubernetes-group-version-kind"] = json!(kinds);
    }
    if of.topology == Topology::Atomic {
        out["x-kubernetes-map-type"] = json!("atomic");
    }
    describe(&mut out, sentences.of(&of.name));
    out
}

fn property(of: &Struct, field: &Field, sentences: &mut Descriptions) -> Value {
    let pointer = matches!(field.emit, Emit::Present | Emit::Null);
    let mut out = place(&field.node, &field.go);
    if let Some(default) = &field.default {
        out["default"] = skiff_json::from_str(default).expect("the table holds JSON");
    } else if !pointer && field.emit == Emit::Always {
        zero(&mut out, &field.node.shape);
    }
    extensions(&mut out, field);
    enumerate(&mut out, field.values);
    if let Some(text) = sentences.field(&of.name, &field.name) {
        describe(&mut out, Some(&with_values(text, &field.node, field.values)));
    } else if matches!(field.name.as_ref(), "apiVersion" | "kind") {
        describe(&mut out, sentences.field(EXAMPLE, &field.name));
    }
    if out.as_object().is_some_and(|it| it.len() > 1 && it.contains_key("$ref")) {
        // Beside a reference nothing counts, so it is wrapped.
        let target = out["$ref"].take();
        let it = out.as_object_mut().expect("it is one");
        it.remove("$ref");
        it.insert("allOf".into(), json!([{ "$ref": target }]));
    }
    out
}

/// The values of an enumeration, at the text that is one of them.
fn enumerate(out: &mut Value, values: &[&str]) {
    let place = match out["type"].as_str() {
        Some("array") => &mut out["items"],
        Some("object") => &mut out["additionalProperties"],
        _ => out,
    };
    if !values.is_empty() {
        place["enum"] = json!(values);
    }
}

/// `kubectl explain` shows the values below the sentence as well.
fn with_values<'a>(text: &'a str, node: &Node, values: &[&str]) -> Cow<'a, str> {
    if values.is_empty() || matches!(node.shape, Shape::List(_) | Shape::Map(_)) {
        return text.into();
    }
    let lines: Vec<String> = values.iter().map(|value| format!(" - `{value:?}`")).collect();
    format!("{text}\n\nPossible enum values:\n{}", lines.join("\n")).into()
}

fn place(node: &Node, go: &str) -> Value {
    if let Shape::List(element) | Shape::Map(element) = &node.shape {
        let below = place(element, inner(go));
        return match &node.shape {
            Shape::List(_) => json!({"type": "array", "items": below}),
            _ => json!({"type": "object", "additionalProperties": below}),
        };
    }
    match target(node, go) {
        Some(name) => reference(name),
        None => match &node.shape {
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Int32 => json!({"type": "integer", "format": "int32"}),
            Shape::Int64 => json!({"type": "integer", "format": "int64"}),
            Shape::Float => json!({"type": "number", "format": "double"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Any => json!({}),
            _ => json!({"type": "string"}),
        },
    }
}

/// OpenAPI v3 names Go's zero value as the default of what is no pointer.
fn zero(out: &mut Value, shape: &Shape) {
    match shape {
        Shape::Struct(_) => out["default"] = json!({}),
        Shape::Bool => out["default"] = json!(false),
        Shape::Int32 | Shape::Int64 | Shape::Float => out["default"] = json!(0),
        Shape::String => out["default"] = json!(""),
        _ => {}
    }
}

fn extensions(out: &mut Value, field: &Field) {
    match (&field.topology, &field.node.shape) {
        _ if field.said_atomic => out["x-kubernetes-list-type"] = json!("atomic"),
        (Topology::Set, _) => out["x-kubernetes-list-type"] = json!("set"),
        (Topology::Keyed(keys), _) => {
            out["x-kubernetes-list-type"] = json!("map");
            out["x-kubernetes-list-map-keys"] = json!(keys);
        }
        (Topology::Atomic, Shape::Map(_)) => out["x-kubernetes-map-type"] = json!("atomic"),
        _ => {}
    }
    let strategy = match &field.strategy {
        Strategy::Default => return,
        Strategy::MergeSet => "merge",
        Strategy::Merge { key, retain_keys } => {
            out["x-kubernetes-patch-merge-key"] = json!(key);
            if *retain_keys { "merge,retainKeys" } else { "merge" }
        }
        Strategy::RetainKeys => "retainKeys",
        Strategy::Replace => "replace",
    };
    out["x-kubernetes-patch-strategy"] = json!(strategy);
}

fn describe(out: &mut Value, text: Option<&str>) {
    if let Some(text) = text {
        out["description"] = json!(text);
    }
}

/// A custom resource as its definition says, and what every object has.
fn custom_object(kind: &KindRef<'_>, schema: &Value, sentences: &mut Descriptions) -> Value {
    let mut out = match schema {
        Value::Object(_) => schema.clone(),
        _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    say_either(&mut out);
    common(&mut out, kind.kind, kind, "ObjectMeta", sentences);
    out
}

/// What may be a number or a text has no type; OpenAPI v3 can say it in its own words.
fn say_either(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let either = fields.get("x-kubernetes-int-or-string") == Some(&true.into());
            if either && !fields.contains_key("anyOf") {
                fields.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
            }
            // A default is no schema.
            let below = fields.iter_mut().filter(|(key, _)| *key != "default" && *key != "enum");
            below.for_each(|(_, it)| say_either(it));
        }
        Value::Array(items) => items.iter_mut().for_each(say_either),
        _ => {}
    }
}

fn custom_list(kind: &KindRef<'_>, sentences: &mut Descriptions) -> Value {
    let mut out = json!({
        "description": format!("{}List is a list of {}", kind.kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {"items": {
            "description": format!("The {} of the list", kind.plural),
            "type": "array",
            "items": reference(&definition_name(kind)),
        }},
    });
    common(&mut out, &format!("{}List", kind.kind), kind, "ListMeta", sentences);
    out
}

fn common(
    out: &mut Value,
    name: &str,
    kind: &KindRef<'_>,
    metadata: &str,
    sentences: &mut Descriptions,
) {
    for field in ["apiVersion", "kind"] {
        let mut it = json!({"type": "string"});
        describe(&mut it, sentences.field(EXAMPLE, field));
        out["properties"][field] = it;
    }
    let mut it = json!({"allOf": [reference(&format!("{META}.{metadata}"))]});
    describe(&mut it, sentences.field(EXAMPLE, "metadata"));
    out["properties"]["metadata"] = it;
    out["x-kubernetes-group-version-kind"] =
        json!([{"group": kind.group, "kind": name, "version": kind.version}]);
}

/// The definitions of every object's metadata, which custom resources bring in.
pub fn metadata_names() -> [String; 2] {
    ["ObjectMeta", "ListMeta"].map(|it| format!("{META}.{it}"))
}
