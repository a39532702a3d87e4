//! Joins Go types with OpenAPI into the schema table: one line a definition, one line a field.
//!
//! ```text
//! io.k8s.api.apps.v1.DeploymentSpec DeploymentSpec
//!   replicas int32 present 1
//!   strategy io.k8s.api.apps.v1.DeploymentStrategy always 4 go=v1.DeploymentStrategy
//! patch=retainKeys
//! ```
//! A definition says its name, its Go name, `atomic` and `gvk=group/version/Kind`; a field its JSON
//! name, type (`[]` list, `{}` map), how it shows when empty, and its protobuf number, then what is
//! not the default; `via=` lists the embedded Go structs it comes through, with their protobuf
//! numbers (`VolumeSource#2`), for decoding errors and protobuf name them; `enum=` lists the values
//! of an enumeration, which OpenAPI shows, with `~` for a space. The order is that of the
//! names, so that a new release is a readable diff.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::natural::natural;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Definitions that OpenAPI names and that are scalars in our table.
const SCALARS: &[(&str, &str)] = &[
    ("JSON", "any"),
    ("JSONSchemaPropsOrArray", "any"),
    ("JSONSchemaPropsOrBool", "any"),
    ("JSONSchemaPropsOrStringArray", "any"),
    ("FieldsV1", "any"),
    ("Patch", "any"),
    ("RawExtension", "any"),
    ("Quantity", "quantity"),
    ("MicroTime", "microtime"),
    ("Time", "time"),
    ("IntOrString", "intorstring"),
];

/// Types that OpenAPI does not list and that the server needs all the same: options that come as
/// query parameters, renditions, and the bodies of webhooks.
const EXTRA: &[&str] = &[
    "io.k8s.api.apidiscovery.v2.APIGroupDiscovery",
    "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList",
    "io.k8s.api.apidiscovery.v2.APIResourceDiscovery",
    "io.k8s.api.apidiscovery.v2.APISubresourceDiscovery",
    "io.k8s.api.apidiscovery.v2.APIVersionDiscovery",
    "io.k8s.api.core.v1.NodeProxyOptions",
    "io.k8s.api.core.v1.PodAttachOptions",
    "io.k8s.api.core.v1.PodExecOptions",
    "io.k8s.api.core.v1.PodLogOptions",
    "io.k8s.api.core.v1.PodPortForwardOptions",
    "io.k8s.api.core.v1.PodProxyOptions",
    "io.k8s.api.core.v1.RangeAllocation",
    "io.k8s.api.core.v1.SerializedReference",
    "io.k8s.api.core.v1.ServiceProxyOptions",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ConversionRequest",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ConversionResponse",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ConversionReview",
    "io.k8s.apimachinery.pkg.apis.meta.v1.CreateOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.GetOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionKind",
    "io.k8s.apimachinery.pkg.apis.meta.v1.ListOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
    "io.k8s.apimachinery.pkg.apis.meta.v1.PatchOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Table",
    "io.k8s.apimachinery.pkg.apis.meta.v1.TableColumnDefinition",
    "io.k8s.apimachinery.pkg.apis.meta.v1.TableRow",
    "io.k8s.apimachinery.pkg.apis.meta.v1.TableRowCondition",
    "io.k8s.apimachinery.pkg.apis.meta.v1.UpdateOptions",
];

/// The kinds among them that are answers: they are found by their types.
const EXTRA_KINDS: &[(&str, &str)] = &[
    (
        "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList",
        "apidiscovery.k8s.io/v2/APIGroupDiscoveryList",
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
        "meta.k8s.io/v1/PartialObjectMetadata",
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
        "meta.k8s.io/v1beta1/PartialObjectMetadata",
    ),
];

/// DeleteOptions and WatchEvent are listed under every group; such a list finds no kind.
const MOST_GVKS: usize = 3;

#[derive(Deserialize)]
pub struct GoStruct {
    go: String,
    fields: Option<Vec<GoField>>,
}

#[derive(Deserialize)]
struct GoField {
    name: String,
    r#type: String,
    go: String,
    via: String,
    pointer: bool,
    omitempty: bool,
    omitzero: bool,
    strategy: String,
    #[serde(rename = "mergeKey")]
    merge_key: String,
    tag: u32,
    r#enum: Option<Vec<String>>,
}

pub fn table(types: &BTreeMap<String, GoStruct>, swagger: &Value, v3: &[Value]) -> Result<String> {
    let v2 = swagger["definitions"].as_object().context("swagger.json has definitions")?;
    let defaults = defaults(v3);
    let names: BTreeSet<&str> =
        v2.keys().map(String::as_str).chain(EXTRA.iter().copied()).collect();
    let mut out = String::from(
        "# Facts of the Kubernetes v1.37 API. Made by `cargo xtask gen`; never edit.\n\
         # definition Go-name [atomic] [gvk=group/version/Kind]\n\
         #   field type shows-when-empty protobuf-number [go=] [via=] [req] [list=] [map=] \
         [patch=] [key=] [enum=] [default=]\n",
    );
    for name in names {
        let said = v2.get(name).unwrap_or(&Value::Null);
        let Some(it) = types.get(name) else {
            let last = name.rsplit('.').next().unwrap_or(name);
            ensure!(SCALARS.iter().any(|(scalar, _)| *scalar == last), "no Go type for {name}");
            continue;
        };
        definition(&mut out, name, it, said)?;
        let required = strings(&said["required"]);
        for field in it.fields.iter().flatten() {
            let property = &said["properties"][&field.name];
            ensure!(said.is_null() || property.is_object(), "{name}.{} is not in v2", field.name);
            let line = FieldLine {
                field,
                property,
                required: required.contains(&field.name.as_str()),
                default: defaults.get(&(name, field.name.as_str())).copied(),
            };
            line.write(&mut out).with_context(|| format!("{name}.{}", field.name))?;
        }
    }
    Ok(out)
}

fn definition(out: &mut String, name: &str, it: &GoStruct, said: &Value) -> Result<()> {
    write!(out, "{name} {}", it.go)?;
    if said["x-kubernetes-map-type"] == "atomic" {
        out.push_str(" atomic");
    }
    let kinds = said["x-kubernetes-group-version-kind"].as_array();
    let kinds = kinds.filter(|it| it.len() <= MOST_GVKS);
    for gvk in kinds.into_iter().flatten() {
        let part = |key: &str| gvk[key].as_str().unwrap_or_default().to_string();
        write!(out, " gvk={}/{}/{}", part("group"), part("version"), part("kind"))?;
    }
    let extra = EXTRA_KINDS.iter().filter(|(extra, _)| *extra == name);
    for (_, gvk) in extra {
        write!(out, " gvk={gvk}")?;
    }
    out.push('\n');
    Ok(())
}

struct FieldLine<'a> {
    field: &'a GoField,
    property: &'a Value,
    required: bool,
    default: Option<&'a Value>,
}

impl FieldLine<'_> {
    fn write(&self, out: &mut String) -> Result<()> {
        let GoField { name, r#type, go, via, tag, .. } = self.field;
        write!(out, "  {name} {type} {} {tag}", emit(self.field))?;
        if *go != natural(r#type) {
            write!(out, " go={go}")?;
        }
        if !via.is_empty() {
            write!(out, " via={}", via.trim_end_matches('.'))?;
        }
        if self.required {
            out.push_str(" req");
        }
        self.topology(out)?;
        self.strategy(out)?;
        let values = self.field.r#enum.as_deref().unwrap_or_default();
        if !values.is_empty() {
            let odd = values.iter().find(|it| it.contains(['~', ',']));
            ensure!(odd.is_none(), "a value of an enumeration needs another format: {odd:?}");
            write!(out, " enum={}", values.join(",").replace(' ', "~"))?;
        }
        if let Some(default) = self.default.filter(|it| !self.goes_without_saying(it)) {
            let text = default.to_string();
            ensure!(!text.contains(' '), "a default with a space needs another format: {text}");
            write!(out, " default={text}")?;
        }
        out.push('\n');
        Ok(())
    }

    /// OpenAPI v3 repeats Go's zero value for every field by value; only where the value may be
    /// absent has somebody written it down as a default.
    fn goes_without_saying(&self, default: &Value) -> bool {
        let zero = match default {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Number(number) => number.as_f64() == Some(0.0),
            _ => false,
        };
        zero && (default.is_object() || emit(self.field) == "always")
    }

    fn topology(&self, out: &mut String) -> Result<()> {
        if let Some(list) = self.property["x-kubernetes-list-type"].as_str() {
            let keys = strings(&self.property["x-kubernetes-list-map-keys"]).join(",");
            match (list, keys.is_empty()) {
                ("map", false) => write!(out, " list={keys}")?,
                ("map", true) => bail!("a list of type map has no keys"),
                (other, _) => write!(out, " list=~{other}")?,
            }
        }
        if let Some(map) = self.property["x-kubernetes-map-type"].as_str() {
            write!(out, " map={map}")?;
        }
        Ok(())
    }

    fn strategy(&self, out: &mut String) -> Result<()> {
        let GoField { strategy, merge_key, .. } = self.field;
        let said = &self.property["x-kubernetes-patch-strategy"];
        let differs = said.as_str().is_some_and(|said| said != strategy);
        ensure!(!differs, "OpenAPI says {said}, the struct tag {strategy:?}");
        if !strategy.is_empty() {
            write!(out, " patch={strategy}")?;
        }
        if !merge_key.is_empty() {
            write!(out, " key={merge_key}")?;
        }
        Ok(())
    }
}

/// How a field shows when it is empty. A struct by value is never empty to Go's `omitempty`; nor
/// are the types that are structs in Go and scalars in JSON.
fn emit(field: &GoField) -> &'static str {
    let structure = field.r#type.starts_with("io.")
        || matches!(
            field.r#type.as_str(),
            "time" | "microtime" | "duration" | "quantity" | "intorstring" | "any"
        );
    match (field.pointer, field.omitempty || field.omitzero) {
        (true, true) => "present",
        (true, false) => "null",
        (false, true) if structure && !field.omitzero => "always",
        (false, true) => "notempty",
        (false, false) => "always",
    }
}

/// All defaults; only OpenAPI v3 has them.
fn defaults(v3: &[Value]) -> BTreeMap<(&str, &str), &Value> {
    let mut all = BTreeMap::new();
    for document in v3 {
        let schemas = document["components"]["schemas"].as_object();
        for (name, definition) in schemas.into_iter().flatten() {
            let properties = definition["properties"].as_object();
            for (field, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    all.insert((name.as_str(), field.as_str()), default);
                }
            }
        }
    }
    all
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
