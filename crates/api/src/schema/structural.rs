//! Says why an `openAPIV3Schema` is not a structural schema (KEP-95), in upstream's words.
//!
//! A structural schema gives every place one type outside of logical junctors, so that a tree can
//! be
//! made of it. Checks come in upstream's groups: structure first, then defaults if that is sound,
//! then what OpenAPI v3 may say at all.

use skiff_json::Value;

use super::crd::{node, root, strings};
use super::fault::Fault;
use super::{prune, validate};

/// All faults of a schema that stands at `path`.
pub fn check(schema: &Value, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if schema["nullable"] == true {
        faults
            .push(Fault::forbidden(child(path, "nullable"), "nullable cannot be true at the root"));
    }
    if !has_item_lists(schema) {
        faults.extend(structure(schema, path));
    }
    let allowed = Allowed { defaults: Ok(()), in_metadata: false };
    openapi(schema, path, Level::Root, &allowed, &mut faults);
    faults
}

/// The faults of its structure, and of its defaults if that is sound.
pub fn structure(schema: &Value, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    invariants(schema, Level::Root, path, &mut faults);
    completeness(schema, schema, path, path, &mut faults);
    faults.sort_by_key(Fault::to_string);
    if faults.is_empty() {
        defaults(schema, path, Inside::Root, &mut faults);
    }
    faults
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

fn child(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

fn property(path: &str, name: &str) -> String {
    format!("{path}.properties[{name}]")
}

fn each<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[key].as_object().into_iter().flatten()
}

fn is(schema: &Value, key: &str) -> bool {
    schema[key] == true
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

fn present(schema: &Value, key: &str) -> bool {
    !schema[key].is_null()
}

/// `items` with a list of schemas makes no structural schema; the OpenAPI check says so.
pub fn has_item_lists(schema: &Value) -> bool {
    schema["items"].is_array()
        || each(schema, "properties").any(|(_, it)| has_item_lists(it))
        || ["items", "additionalProperties"]
            .iter()
            .any(|it| schema[*it].is_object() && has_item_lists(&schema[*it]))
}

/// Both spellings of "integer or string" in upstream's own definitions.
pub fn is_int_or_string(any_of: &Value) -> bool {
    *any_of == skiff_json::json!([{"type": "integer"}, {"type": "string"}])
}

fn invariants(schema: &Value, level: Level, path: &str, faults: &mut Vec<Fault>) {
    let kind = text(schema, "type");
    if kind == "array" && !present(schema, "items") {
        faults.push(Fault::required(child(path, "items"), "must be specified"));
    }
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &child(path, "items"), faults);
    }
    for (name, it) in each(schema, "properties") {
        invariants(it, Level::Field, &property(path, name), faults);
    }
    let additional = child(path, "additionalProperties");
    if present(schema, "additionalProperties") {
        if level == Level::Root {
            faults.push(Fault::forbidden(&additional, "must not be used at the root"));
        }
        if schema["additionalProperties"].is_object() {
            invariants(&schema["additionalProperties"], Level::Field, &additional, faults);
        }
    }
    extensions(schema, path, faults);
    junctors(schema, path, faults);
    types(schema, level, path, faults);
    if is(schema, "x-kubernetes-embedded-resource") && present(schema, "additionalProperties") {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        faults.push(Fault::forbidden(&additional, detail));
    }
    metadata(schema, level, path, faults);
}

fn extensions(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    if !is(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if is(schema, name) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            faults.push(Fault::invalid(child(path, name), &true.into(), detail));
        }
    }
}

fn types(schema: &Value, level: Level, path: &str, faults: &mut Vec<Fault>) {
    let kind = text(schema, "type");
    let at = child(path, "type");
    let untyped = kind.is_empty()
        && !is(schema, "x-kubernetes-int-or-string")
        && !is(schema, "x-kubernetes-preserve-unknown-fields");
    if is(schema, "x-kubernetes-embedded-resource") && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        faults.push(match kind {
            "" => Fault::required(&at, detail),
            kind => Fault::invalid(&at, &kind.into(), detail),
        });
    } else if untyped && !present(schema, "$ref") {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        faults.push(Fault::required(&at, detail));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        faults.push(Fault::invalid(&at, &kind.into(), "must be object at the root"));
    }
}

/// Kind, version and metadata of an object may be restricted only a little.
fn metadata(schema: &Value, level: Level, path: &str, faults: &mut Vec<Fault>) {
    let embedded = is(schema, "x-kubernetes-embedded-resource");
    let whole = level == Level::Root || embedded;
    for (name, it) in each(schema, "properties").filter(|_| whole) {
        let kind = text(it, "type");
        if ["kind", "apiVersion"].contains(&name.as_str()) && kind != "string" {
            let at = child(&property(path, name), "type");
            faults.push(Fault::invalid(at, &kind.into(), "must be string"));
        }
    }
    let said = &schema["properties"]["metadata"];
    if said.is_object() && whole && text(said, "type") != "object" {
        let at = child(&property(path, "metadata"), "type");
        faults.push(Fault::invalid(at, &text(said, "type").into(), "must be object"));
    }
    if said.is_object() && level == Level::Root {
        let names = each(said, "properties").all(|(it, _)| it == "name" || it == "generateName");
        let allowed = |key: &String| ["type", "properties", "default"].contains(&key.as_str());
        let only = said.as_object().is_some_and(|it| it.keys().all(allowed));
        if !names || !only {
            let detail = "must not specify anything other than name and generateName, but \
                          metadata is implicitly specified";
            faults.push(Fault::forbidden(property(path, "metadata"), detail));
        }
    }
    let open = is(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && !open && each(schema, "properties").next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        faults.push(Fault::required(child(path, "properties"), detail));
    }
}

/// What stands below `anyOf`, `allOf`, `oneOf` and `not`, and the pattern.
fn junctors(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    let any = &schema["anyOf"];
    for junctor in ["anyOf", "allOf", "oneOf"] {
        if junctor == "anyOf" && is_int_or_string(any) {
            continue;
        }
        for (index, it) in schema[junctor].as_array().into_iter().flatten().enumerate() {
            let at = format!("{path}.{junctor}[{index}]");
            if junctor == "allOf" && index == 0 && is_int_or_string(&it["anyOf"]) {
                let mut rest = it.clone();
                rest["anyOf"] = Value::Null;
                nested(&rest, &at, faults);
            } else {
                nested(it, &at, faults);
            }
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], &child(path, "not"), faults);
    }
    let pattern = text(schema, "pattern");
    if let Err(error) = super::pattern::machine(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        faults.push(Fault::invalid(child(path, "pattern"), &pattern.into(), &detail));
    }
}

fn nested(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    junctors(schema, path, faults);
    if schema["items"].is_object() {
        nested(&schema["items"], &child(path, "items"), faults);
    }
    for (name, it) in each(schema, "properties") {
        nested(it, &property(path, name), faults);
    }
    let forbidden = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (key, detail) in forbidden {
        if present(schema, key) && schema[key] != false {
            faults.push(Fault::forbidden(child(path, key), detail));
        }
    }
    if schema["properties"]["metadata"].is_object() {
        let detail = "must not be specified in a nested context";
        faults.push(Fault::forbidden(property(path, "metadata"), detail));
    }
}

/// The root's junctors may speak only of places that have a type outside of them.
fn completeness(rules: &Value, schema: &Value, at: &str, from: &str, faults: &mut Vec<Fault>) {
    let missing =
        |at: String, from: &str| Fault::required(at, &format!("because it is defined in {from}"));
    let mut below = |it: &Value, from: &str| {
        if it["items"].is_object() {
            let (at, from) = (child(at, "items"), child(from, "items"));
            match schema["items"].is_object() {
                true => completeness(&it["items"], &schema["items"], &at, &from, faults),
                false => faults.push(missing(at, &from)),
            }
        }
        for (name, property_rules) in each(it, "properties") {
            let (at, from) = (property(at, name), property(from, name));
            match schema["properties"].get(name) {
                Some(found) => completeness(property_rules, found, &at, &from, faults),
                None => faults.push(missing(at, &from)),
            }
        }
        completeness(it, schema, at, from, faults);
    };
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, it) in rules[junctor].as_array().into_iter().flatten().enumerate() {
            below(it, &format!("{from}.{junctor}[{index}]"));
        }
    }
    if rules["not"].is_object() {
        below(&rules["not"], &child(from, "not"));
    }
}

/// Where a default stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Root,
    Object,
    /// Kind, version or metadata: their defaults are refused or checked with the metadata.
    Metadata,
}

/// Defaults must be pruned and valid themselves.
fn defaults(schema: &Value, path: &str, inside: Inside, faults: &mut Vec<Fault>) {
    let whole = inside == Inside::Root || is(schema, "x-kubernetes-embedded-resource");
    if present(schema, "default") && inside != Inside::Metadata {
        let at = child(path, "default");
        let mut schema = schema.clone();
        schema["x-kubernetes-embedded-resource"] = whole.into();
        let tree = if whole { root(&schema) } else { node(&schema) };
        if !prune::is_pruned(&schema["default"], &tree) {
            let detail = "must not have unknown fields";
            faults.push(Fault::invalid(&at, &schema["default"], detail));
        }
        faults.extend(validate::validate(&schema["default"], &tree, &at));
    }
    if schema["items"].is_object() {
        defaults(&schema["items"], &child(path, "items"), Inside::Object, faults);
    }
    for (name, it) in each(schema, "properties") {
        let meta = whole && ["metadata", "apiVersion", "kind"].contains(&name.as_str());
        let inside = if meta { Inside::Metadata } else { Inside::Object };
        defaults(it, &property(path, name), inside, faults);
    }
}

/// What the place of a schema allows in it.
#[derive(Clone)]
struct Allowed {
    /// Or the reason why not.
    defaults: Result<(), String>,
    in_metadata: bool,
}

/// What OpenAPI v3 may say at all in a definition, wherever it says it.
fn openapi(schema: &Value, path: &str, level: Level, allowed: &Allowed, faults: &mut Vec<Fault>) {
    keywords(schema, path, allowed, faults);
    if is(schema, "uniqueItems") {
        let detail =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        faults.push(Fault::forbidden(child(path, "uniqueItems"), detail));
    }
    let additional = child(path, "additionalProperties");
    if present(schema, "additionalProperties") {
        let named = each(schema, "properties").next().is_some();
        if named && schema["additionalProperties"] != true {
            let detail = "additionalProperties and properties are mutual exclusive";
            faults.push(Fault::forbidden(&additional, detail));
        }
        if schema["additionalProperties"].is_object() {
            let mut below = allowed.clone();
            if allowed.in_metadata {
                let reason = "inside additionalProperties applying to object metadata";
                below.defaults = Err(reason.into());
            }
            openapi(&schema["additionalProperties"], &additional, Level::Field, &below, faults);
        }
    }
    let whole = level == Level::Root || is(schema, "x-kubernetes-embedded-resource");
    for (name, it) in each(schema, "properties") {
        let mut below = allowed.clone();
        if whole && ["metadata", "kind", "apiVersion"].contains(&name.as_str()) {
            below.in_metadata = true;
            if level == Level::Root {
                below.defaults = Err(format!("in top-level {name}"));
            }
        }
        openapi(it, &property(path, name), Level::Field, &below, faults);
    }
    if schema["not"].is_object() {
        openapi(&schema["not"], &child(path, "not"), Level::Field, allowed, faults);
    }
    for junctor in ["allOf", "oneOf", "anyOf"] {
        for (index, it) in schema[junctor].as_array().into_iter().flatten().enumerate() {
            openapi(it, &format!("{path}.{junctor}[{index}]"), Level::Field, allowed, faults);
        }
    }
    if schema["items"].is_object() {
        openapi(&schema["items"], &child(path, "items"), Level::Item, allowed, faults);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = child(path, "x-kubernetes-preserve-unknown-fields");
        faults.push(Fault::invalid(at, &false.into(), "must be true or undefined"));
    }
    map_type(schema, path, faults);
    list_type(schema, path, faults);
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

fn keywords(schema: &Value, path: &str, allowed: &Allowed, faults: &mut Vec<Fault>) {
    let kind = text(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        let types = TYPES.map(str::to_string);
        faults.push(Fault::not_supported(child(path, "type"), &kind.into(), &types));
    }
    if let Err(reason) = &allowed.defaults
        && present(schema, "default")
    {
        let detail = format!("must not be set {reason}");
        faults.push(Fault::forbidden(child(path, "default"), &detail));
    }
    let unsupported =
        ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
    for key in unsupported.into_iter().filter(|it| present(schema, it)) {
        faults.push(Fault::forbidden(child(path, key), &format!("{key} is not supported")));
    }
    if present(schema, "$schema") {
        faults.push(Fault::invalid(path, &"".into(), "OpenAPIV3Schema 'schema' is not supported"));
    }
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        faults.push(Fault::forbidden(child(path, "type"), detail));
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        faults.push(Fault::forbidden(child(path, "items"), detail));
    }
    if allowed.in_metadata && is(schema, "x-kubernetes-embedded-resource") {
        let at = child(path, "x-kubernetes-embedded-resource");
        faults.push(Fault::forbidden(at, "must not be used inside of resource meta"));
    }
}

fn map_type(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    let Some(said) = schema["x-kubernetes-map-type"].as_str() else { return };
    wrong_type(schema, path, "object", "x-kubernetes-map-type", faults);
    if !["atomic", "granular"].contains(&said) {
        let allowed = ["atomic", "granular"].map(str::to_string);
        let at = child(path, "x-kubernetes-map-type");
        faults.push(Fault::not_supported(at, &said.into(), &allowed));
    }
}

fn wrong_type(schema: &Value, path: &str, wanted: &str, by: &str, faults: &mut Vec<Fault>) {
    let kind = text(schema, "type");
    let detail = format!("must be {wanted} if {by} is specified");
    if kind.is_empty() {
        faults.push(Fault::required(child(path, "type"), &detail));
    } else if kind != wanted {
        faults.push(Fault::invalid(child(path, "type"), &kind.into(), &detail));
    }
}

fn list_type(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    let said = schema["x-kubernetes-list-type"].as_str();
    let at = child(path, "x-kubernetes-list-type");
    if said.is_some() && text(schema, "type") != "array" {
        wrong_type(schema, path, "array", "x-kubernetes-list-type", faults);
    } else if said == Some("set") && schema["items"].is_object() {
        set_items(&schema["items"], &child(path, "items"), faults);
    }
    if let Some(said) = said.filter(|it| !["atomic", "set", "map"].contains(it)) {
        let allowed = ["atomic", "set", "map"].map(str::to_string);
        faults.push(Fault::not_supported(&at, &said.into(), &allowed));
    }
    let keys = strings(&schema["x-kubernetes-list-map-keys"]);
    if !keys.is_empty() && said != Some("map") {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        faults.push(match said {
            None => Fault::required(&at, detail),
            Some(said) => Fault::invalid(&at, &said.into(), detail),
        });
    }
    if said == Some("map") {
        map_keys(schema, &keys, path, faults);
    }
    if !matches!(said, Some("set" | "map")) || !schema["items"].is_object() {
        return;
    }
    let (items, at) = (&schema["items"], child(path, "items"));
    if is(items, "nullable") {
        let kind = said.unwrap_or_default();
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        faults.push(Fault::forbidden(child(&at, "nullable"), &detail));
    }
    for key in keys.iter().filter(|_| said == Some("map")) {
        let Some(found) = items["properties"].get(key) else { continue };
        let at = property(&at, key);
        let why = "this property is in x-kubernetes-list-map-keys, so it";
        if !strings(&items["required"]).contains(key) && !present(found, "default") {
            let detail = format!("{why} must have a default or be a required property");
            faults.push(Fault::required(child(&at, "default"), &detail));
        }
        if is(found, "nullable") {
            let detail = format!("{why} cannot be nullable");
            faults.push(Fault::forbidden(child(&at, "nullable"), &detail));
        }
    }
}

fn set_items(items: &Value, path: &str, faults: &mut Vec<Fault>) {
    let list = &items["x-kubernetes-list-type"];
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match text(items, "type") {
        "array" if !list.is_null() && list != "atomic" => {
            faults.push(Fault::invalid(child(path, "x-kubernetes-list-type"), list, detail));
        }
        "object" if items["x-kubernetes-map-type"] != "atomic" => {
            // Upstream prints the list type here.
            faults.push(Fault::invalid(child(path, "x-kubernetes-map-type"), list, detail));
        }
        _ => {}
    }
}

fn map_keys(schema: &Value, keys: &[String], path: &str, faults: &mut Vec<Fault>) {
    let at = child(path, "x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        faults.push(Fault::required(&at, detail));
    }
    let items = &schema["items"];
    if !items.is_object() {
        if items.is_null() {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            faults.push(Fault::required(child(path, "items"), detail));
        }
        return;
    }
    let kind = text(items, "type");
    if kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        let at = child(&child(path, "items"), "type");
        faults.push(Fault::invalid(at, &kind.into(), detail));
        return;
    }
    let all = &schema["x-kubernetes-list-map-keys"];
    for (index, key) in keys.iter().enumerate() {
        match items["properties"].get(key).map(|it| text(it, "type")) {
            Some("array" | "object") => {
                let detail =
                    "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let at = child(&property(&child(path, "items"), key), "type");
                // Upstream prints the type of the items.
                faults.push(Fault::invalid(at, &kind.into(), detail));
            }
            Some(_) => {}
            None => {
                let detail = "entries must all be names of item properties";
                faults.push(Fault::invalid(&at, all, detail));
            }
        }
        if keys[..index].contains(key) {
            faults.push(Fault::invalid(&at, all, "must not contain duplicate entries"));
        }
    }
}
