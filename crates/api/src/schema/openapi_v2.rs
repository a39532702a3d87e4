//! OpenAPI v2: one document of everything, as JSON and as protobuf (gnostic's `openapi.v2.Document`).
//!
//! kubectl asks for it where v3 does not tell enough (a `List` to validate, for one). It is made of
//! the definitions and paths of v3, brought down to what v2 can say, one at a time: the document
//! never stands expanded. In protobuf a field of a message may come in pieces, which readers merge;
//! so definitions and paths are written one by one there too.

use std::collections::BTreeSet;

use skiff_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::openapi::{KindRef, Source, definition, definition_name, path};

mod encode;

/// How the document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Protobuf,
}

impl Form {
    /// The form that an `Accept` header wants first; JSON when it names none that is known.
    pub fn wanted(accept: &str) -> Option<Form> {
        let entry = |text: &str| match text.split(';').next().unwrap_or("").trim() {
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
            | "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" => Some(Form::Protobuf),
            "application/json" | "application/*" | "*/*" => Some(Form::Json),
            _ => None,
        };
        if accept.trim().is_empty() { Some(Form::Json) } else { accept.split(',').find_map(entry) }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Protobuf => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        }
    }
}

/// The document of all these kinds.
pub fn document(kinds: &[KindRef<'_>], form: Form) -> Vec<u8> {
    let mut out = Document { form, bytes: Vec::new() };
    let mut needed = BTreeSet::new();
    out.begin();
    let mut items = Vec::new();
    for kind in kinds {
        items.extend(path::of_group(kind, &mut needed));
        items.extend(path::of_version(kind, &mut needed));
        items.extend(path::of(kind, &mut needed));
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    items.dedup_by(|(a, _), (b, _)| a == b);
    out.section("paths", items.into_iter().map(|(name, item)| (name, path_item(&item))));
    let custom: BTreeSet<String> = kinds
        .iter()
        .filter(|kind| matches!(kind.source, Source::Custom(_)))
        .map(definition_name)
        .collect();
    let mut first = true;
    out.open("definitions");
    definition::write(kinds, needed, &mut Descriptions::default(), &mut |name, it| {
        let mut it = it.clone();
        down(&mut it);
        if custom.contains(name) {
            loosen_all(&mut it);
        }
        out.entry("definitions", std::mem::take(&mut first), name, &it);
        Ok(())
    })
    .expect("memory takes it");
    out.end();
    out.bytes
}

/// The document while it is written.
struct Document {
    form: Form,
    bytes: Vec<u8>,
}

impl Document {
    fn begin(&mut self) {
        let head = json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "1.37"}});
        match self.form {
            Form::Json => {
                self.bytes.extend_from_slice(head.to_string().as_bytes());
                self.bytes.pop();
            }
            Form::Protobuf => encode::message(&mut self.bytes, &encode::DOCUMENT, &head),
        }
    }

    fn section(&mut self, name: &str, entries: impl Iterator<Item = (String, Value)>) {
        self.open(name);
        for (at, (key, value)) in entries.enumerate() {
            self.entry(name, at == 0, &key, &value);
        }
        if self.form == Form::Json {
            self.bytes.push(b'}');
        }
    }

    fn open(&mut self, name: &str) {
        if self.form == Form::Json {
            self.bytes.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
        }
    }

    fn entry(&mut self, section: &str, first: bool, key: &str, value: &Value) {
        match self.form {
            Form::Json => {
                let comma = if first { "" } else { "," };
                self.bytes.extend_from_slice(format!("{comma}{}:{value}", json!(key)).as_bytes());
            }
            Form::Protobuf => {
                let part = json!({section: {key: value}});
                encode::message(&mut self.bytes, &encode::DOCUMENT, &part);
            }
        }
    }

    fn end(&mut self) {
        if self.form == Form::Json {
            self.bytes.extend_from_slice(b"},\"securityDefinitions\":{\"BearerToken\":{");
            self.bytes.extend_from_slice(b"\"description\":\"Bearer Token authentication\",");
            self.bytes.extend_from_slice(b"\"type\":\"apiKey\",\"name\":\"authorization\",");
            self.bytes
                .extend_from_slice(b"\"in\":\"header\"}},\"security\":[{\"BearerToken\":[]}]}");
        }
    }
}

/// Calls `change` with a schema and every schema below it.
fn below(schema: &mut Value, change: fn(&mut Map)) {
    let Value::Object(map) = schema else { return };
    change(map);
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(|it| below(it, change));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(it) = map.get_mut(key) {
            below(it, change);
        }
    }
}

/// A schema of v3 as v2 has it: no defaults, no alternatives, references of its own.
fn down(schema: &mut Value) {
    below(schema, |map| {
        if let Some(Value::Array(all)) = map.remove("allOf")
            && let Some(Value::String(to)) = all.first().and_then(|it| it.get("$ref")).cloned()
        {
            map.insert("$ref".into(), to.into());
        }
        if let Some(Value::String(to)) = map.get_mut("$ref") {
            *to = to.replace("#/components/schemas/", "#/definitions/");
        }
        if map.contains_key("oneOf") && !map.contains_key("type") {
            map.insert("type".into(), "string".into());
        }
        for key in ["default", "oneOf", "anyOf", "not"] {
            map.remove(key);
        }
    });
}

/// Of a custom resource that may hold anything only its type is said.
fn loosen_all(schema: &mut Value) {
    const TYPE: &str = "x-kubernetes-group-version-kind";
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        *schema = json!({"type": "object", TYPE: schema[TYPE]});
    }
    below(schema, loosen);
}

/// What v2 cannot say of a custom resource's schema is left open, so that no client refuses it.
fn loosen(map: &mut Map) {
    let says = |key: &str| map.get(key) == Some(&Value::Bool(true));
    let nullable = says("nullable");
    let unknown = says("x-kubernetes-preserve-unknown-fields");
    let either = says("x-kubernetes-int-or-string");
    map.remove("nullable");
    if nullable || unknown || either {
        map.remove("type");
        map.remove("properties");
        map.remove("items");
        map.remove("additionalProperties");
        map.remove("required");
    }
}

/// The operations of a path: parameters lose their `schema`, bodies become parameters.
fn path_item(item: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in item.as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "parameters" => parameters(value),
            _ => operation(value),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

fn parameters(of: &Value) -> Value {
    let one = |it: &Value| {
        let mut it = it.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(schema)) = it.remove("schema") {
            it.extend(schema);
        }
        Value::Object(it)
    };
    of.as_array().into_iter().flatten().map(one).collect()
}

fn operation(of: &Value) -> Value {
    let mut out = Map::new();
    let types = |content: &Value| -> Value {
        content.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    };
    let schema = |content: &Value| {
        let of =
            content.as_object().and_then(|it| it.values().next()).and_then(|it| it.get("schema"));
        let mut of = of.cloned().unwrap_or_else(|| json!({"type": "object"}));
        down(&mut of);
        of
    };
    let mut given = of.get("parameters").map_or_else(|| json!([]), parameters);
    for (key, value) in of.as_object().into_iter().flatten() {
        match key.as_str() {
            "parameters" => {}
            "requestBody" => {
                out.insert("consumes".into(), types(&value["content"]));
                let mut body =
                    json!({"name": "body", "in": "body", "schema": schema(&value["content"])});
                if value.get("required") == Some(&json!(true)) {
                    body["required"] = json!(true);
                }
                if let Value::Array(list) = &mut given {
                    list.insert(0, body);
                }
            }
            "responses" => {
                let mut answers = Map::new();
                for (code, answer) in value.as_object().into_iter().flatten() {
                    let mut it = json!({"description": answer["description"]});
                    if let Some(content) = answer.get("content") {
                        it["schema"] = schema(content);
                        out.insert("produces".into(), types(content));
                    }
                    answers.insert(code.clone(), it);
                }
                out.insert("responses".into(), Value::Object(answers));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    if given.as_array().is_some_and(|list| !list.is_empty()) {
        out.insert("parameters".into(), given);
    }
    // What tells what there is takes no body of any type; all else would take any.
    let about = out.contains_key("x-kubernetes-action");
    let produces = out.get("produces").cloned().unwrap_or_default();
    out.entry("consumes").or_insert_with(|| if about { json!(["*/*"]) } else { produces });
    out.insert("schemes".into(), json!(["https"]));
    Value::Object(out)
}

#[cfg(test)]
mod tests;
