//! Makes a schema tree of a CustomResourceDefinition's `openAPIV3Schema`, if it is structural.
//!
//! The tree is the same that built-in kinds have, so that every later step is one code path; value
//! validations become `Rules` beside the shape. The tree is freed with the definition.

use std::borrow::Cow;
use std::sync::Arc;

use skiff_json::Value;

use super::fault::Fault;
use super::{Emit, Field, Node, Ref, Rules, Shape, Strategy, Struct, Topology};
use super::{builtin, pattern, structural};

/// The definition of metadata, the same for every object.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The tree of a custom resource. `path` is where the schema stands in the definition; upstream
/// writes `spec.validation.openAPIV3Schema` where all versions have the same schema, else
/// `spec.versions[0].schema.openAPIV3Schema`.
pub fn from_crd(schema: &Value, path: &str) -> Result<Node, Vec<Fault>> {
    let faults = structural::check(schema, path);
    if faults.is_empty() { Ok(root(schema)) } else { Err(faults) }
}

/// Whether a schema is structural, whatever else it may say wrong: only then its rules can be looked at.
pub fn is_structural(schema: &Value, path: &str) -> bool {
    !structural::has_item_lists(schema) && structural::structure(schema, path).is_empty()
}

/// The tree of a definition without a schema: everything is kept, nothing is checked.
pub fn without_schema() -> Node {
    root(&skiff_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}))
}

/// The tree of a whole object, in which kind, version and metadata need no mention.
pub(super) fn root(schema: &Value) -> Node {
    let mut node = node(schema);
    embed(&mut node, schema);
    node
}

/// The tree of any part of a structural schema.
pub(super) fn node(schema: &Value) -> Node {
    let mut node = Node {
        shape: shape(schema),
        topology: topology(schema),
        default: schema.get("default").filter(|it| !it.is_null()).map(|it| it.to_string().into()),
        rules: Some(Ref::Shared(Arc::new(rules(schema)))),
    };
    if schema["x-kubernetes-embedded-resource"] == true {
        embed(&mut node, schema);
    }
    node
}

fn shape(schema: &Value) -> Shape {
    if schema["x-kubernetes-int-or-string"] == true {
        return Shape::IntOrString;
    }
    let properties = schema["properties"].as_object().is_some_and(|it| !it.is_empty());
    match schema["type"].as_str().unwrap_or_default() {
        "string" => Shape::String,
        "integer" => Shape::Int64,
        "number" => Shape::Float,
        "boolean" => Shape::Bool,
        "array" => Shape::List(Ref::Shared(Arc::new(node(&schema["items"])))),
        "object" if !properties && !schema["additionalProperties"].is_null() => {
            Shape::Map(Ref::Shared(Arc::new(additional(&schema["additionalProperties"]))))
        }
        "" if !properties => Shape::Any,
        _ => Shape::Struct(Ref::Shared(Arc::new(structure(schema)))),
    }
}

/// The elements of a map. Those of `additionalProperties: true` may be anything, but what objects
/// among them hold is pruned, for no schema names it.
fn additional(schema: &Value) -> Node {
    if schema.is_object() {
        return node(schema);
    }
    let rules = Rules { pruned: true, ..Rules::default() };
    Node {
        shape: Shape::Any,
        topology: Topology::Atomic,
        default: None,
        rules: Some(Ref::Shared(Arc::new(rules))),
    }
}

fn structure(schema: &Value) -> Struct {
    let required = strings(&schema["required"]);
    let properties = schema["properties"].as_object();
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| field(name, node(property), required.contains(name)))
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let preserve = schema["x-kubernetes-preserve-unknown-fields"] == true;
    Struct {
        name: Cow::Borrowed(""),
        go: Cow::Borrowed(""),
        fields: Cow::Owned(fields),
        topology: topology(schema),
        open: preserve || schema["additionalProperties"] == true,
        wire: &[],
    }
}

fn field(name: &str, node: Node, required: bool) -> Field {
    Field {
        name: Cow::Owned(name.to_string()),
        go: Cow::Borrowed(""),
        inline: &[],
        topology: node.topology.clone(),
        default: node.default.clone(),
        node,
        required,
        emit: Emit::Present,
        strategy: Strategy::Default,
        values: &[],
        said_atomic: false,
        tag: 0,
    }
}

/// Gives an object its kind, version and metadata, whether its schema mentions them or not.
fn embed(node: &mut Node, schema: &Value) {
    let mut it = structure(schema);
    let string = Node {
        shape: Shape::String,
        topology: Topology::Granular,
        default: None,
        rules: Some(Ref::Shared(Arc::new(Rules::default()))),
    };
    let meta = builtin(OBJECT_META).expect("the table has it");
    let said = schema["properties"]["metadata"].clone();
    let metadata = Node {
        shape: Shape::Struct(Ref::Static(meta)),
        topology: Topology::Granular,
        default: None,
        rules: Some(Ref::Shared(Arc::new(Rules { properties: nested(&said), ..rules(&said) }))),
    };
    let mut fields = it.fields.into_owned();
    for name in ["apiVersion", "kind"] {
        if !fields.iter().any(|it| it.name == name) {
            fields.push(field(name, string.clone(), false));
        }
    }
    fields.retain(|it| it.name != "metadata");
    fields.push(field("metadata", metadata, false));
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    it.fields = Cow::Owned(fields);
    node.shape = Shape::Struct(Ref::Shared(Arc::new(it)));
}

fn topology(schema: &Value) -> Topology {
    match schema["type"].as_str().unwrap_or_default() {
        "array" => match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Topology::Set,
            Some("map") => {
                let keys = strings(&schema["x-kubernetes-list-map-keys"]);
                Topology::Keyed(keys.into_iter().map(Cow::Owned).collect())
            }
            _ => Topology::Atomic,
        },
        _ if schema["x-kubernetes-map-type"] == "atomic" => Topology::Atomic,
        _ => Topology::Granular,
    }
}

/// The value validations of a schema, nested ones included.
fn rules(schema: &Value) -> Rules {
    let number = |key: &str| schema[key].as_f64();
    let count = |key: &str| schema[key].as_u64();
    let list = |key: &str| -> Vec<Rules> {
        schema[key].as_array().into_iter().flatten().map(logical).collect()
    };
    let mut rules = Rules {
        nullable: schema["nullable"] == true,
        embedded_resource: schema["x-kubernetes-embedded-resource"] == true,
        minimum: number("minimum"),
        exclusive_minimum: schema["exclusiveMinimum"] == true,
        maximum: number("maximum"),
        exclusive_maximum: schema["exclusiveMaximum"] == true,
        multiple_of: number("multipleOf").filter(|it| *it > 0.0),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: schema["pattern"].as_str().and_then(|it| pattern::machine(it).ok()),
        format: schema["format"].as_str().map(str::to_string),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: schema["uniqueItems"] == true,
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        required: strings(&schema["required"]),
        allowed: schema["enum"].as_array().cloned(),
        all_of: list("allOf"),
        any_of: list("anyOf"),
        exactly_one_of: list("oneOf"),
        not: schema["not"].is_object().then(|| Box::new(logical(&schema["not"]))),
        properties: Vec::new(),
        items: None,
        pruned: false,
        closed: schema["additionalProperties"] == false,
    };
    if schema["x-kubernetes-int-or-string"] == true {
        // The two ways to spell "integer or string" say what the shape says already.
        rules.any_of.retain(|_| !structural::is_int_or_string(&schema["anyOf"]));
        if structural::is_int_or_string(&schema["allOf"][0]["anyOf"]) {
            rules.all_of.remove(0);
        }
    }
    rules
}

/// Rules inside `allOf`, `anyOf`, `oneOf` and `not`: they reach below by themselves.
fn logical(schema: &Value) -> Rules {
    Rules {
        properties: nested(schema),
        items: schema["items"].is_object().then(|| Box::new(logical(&schema["items"]))),
        ..rules(schema)
    }
}

fn nested(schema: &Value) -> Vec<(String, Rules)> {
    let properties = schema["properties"].as_object();
    properties.into_iter().flatten().map(|(name, it)| (name.clone(), logical(it))).collect()
}

pub(super) fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|it| Some(it.as_str()?.into())).collect()
}
