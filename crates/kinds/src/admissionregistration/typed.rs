//! Type checking of validating policies: their expressions are compiled once more for each kind that their rules name,
//! with the types of its schema. What does not fit is said in the status, and changes nothing (KEP-3488, "Type
//! Checking").

use super::expression::{Purpose, Scope, Types};
use skiff_api::check::{list, text};
use skiff_api::kind::Kind;
use skiff_api::object::at;
use skiff_api::registry::Registry;
use skiff_api::schema::{Node, Shape, Struct};
use skiff_cel::decl::{Compared, Decl, Object, Shape as Of, escape};
use skiff_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Upstream's bound of kinds that one rule makes a policy checked for.
const KINDS_MOST: usize = 10;
/// Schemas are deeper only where they hold themselves; what is below is of any type.
const DEPTH_MOST: usize = 24;

/// The warnings of a policy, as its status has them: a list of `{fieldRef, warning}`.
pub fn warnings(policy: &Value, kinds: &Registry) -> Vec<Value> {
    let spec = at(policy, "spec").unwrap_or(&Value::Null);
    let params = at(spec, "paramKind").map(|kind| {
        let version = text(kind, "apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        kinds.find_kind(group, version, text(kind, "kind")).map(|kind| of_kind(kind))
    });
    let mut scopes: Vec<(String, Scope)> = meant(spec, kinds)
        .into_iter()
        .map(|((group, version, name), kind)| {
            let types = Types { object: Some(of_kind(&kind)), params: params.clone() };
            let mut scope = Scope::new(types);
            for variable in list(spec, "variables") {
                // What is wrong with a variable shows where it is used.
                drop(scope.variable(text(variable, "name"), text(variable, "expression")));
            }
            (format!("{group}/{version}, Kind={name}"), scope)
        })
        .collect();
    let mut found = Vec::new();
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let expression = text(validation, field);
            if field == "messageExpression" && expression.is_empty() {
                continue;
            }
            let wrong: Vec<String> = scopes
                .iter_mut()
                .filter_map(|(name, scope)| {
                    let why = scope.compile(expression, Purpose::Any).err()?;
                    let issues = why.strip_prefix("compilation failed: ")?;
                    Some(format!("{name}: {issues}\n"))
                })
                .collect();
            if !wrong.is_empty() {
                let field = format!("spec.validations[{index}].{field}");
                found.push(json!({"fieldRef": field, "warning": wrong.join("\n")}));
            }
        }
    }
    found
}

type Names = (String, String, String);

/// The kinds that the rules name one by one, in order.
fn meant(spec: &Value, kinds: &Registry) -> BTreeMap<Names, Arc<Kind>> {
    let mut found = BTreeMap::new();
    for rule in list(spec, "matchConstraints.resourceRules") {
        let given = |field: &str| {
            let mut all: Vec<&str> = list(rule, field).iter().filter_map(Value::as_str).collect();
            all.sort_unstable();
            all
        };
        let (groups, versions) = (given("apiGroups"), given("apiVersions"));
        if groups.iter().chain(&versions).any(|it| it.contains('*')) {
            continue;
        }
        let (resources, mut count) = (given("resources"), 0);
        let resources = resources.iter().filter(|it| !it.contains(['*', '/']));
        let resources: Vec<&&str> = resources.collect();
        for (group, version) in groups.iter().flat_map(|it| versions.iter().map(move |of| (it, of)))
        {
            for kind in resources.iter().filter_map(|it| kinds.find(group, version, it)) {
                let names =
                    (kind.group.to_string(), kind.version.to_string(), kind.kind.to_string());
                found.insert(names, kind.clone());
                count += 1;
                if count == KINDS_MOST {
                    return found;
                }
            }
        }
    }
    found
}

/// How objects of a built-in type are read: times as times, bytes as bytes, all else as its JSON says.
pub fn of_schema(schema: &Struct) -> Arc<Decl> {
    of_struct(schema, &schema.name, 0)
}

/// The type of a kind's objects; its name is told from that of another by a number, as upstream has it.
fn of_kind(kind: &Kind) -> Arc<Decl> {
    of_struct(&kind.schema, &format!("{}0", kind.kind), 0)
}

fn plain(shape: Of) -> Arc<Decl> {
    Arc::new(Decl { shape, nullable: true, max: 0, min_bytes: 1 })
}

fn of_struct(of: &Struct, name: &str, depth: usize) -> Arc<Decl> {
    if depth > DEPTH_MOST || (of.fields.is_empty() && of.open) {
        return Decl::dynamic().clone();
    }
    let mut object =
        Object { name: name.into(), fields: Default::default(), known: Default::default() };
    for field in of.fields.iter() {
        let escaped = escape(&field.name);
        let type_name = format!("{name}.{}", escaped.as_deref().unwrap_or(&field.name));
        let decl = of_node(&field.node, &type_name, depth + 1);
        if let Some(escaped) = escaped {
            object.fields.insert(escaped, decl.clone());
        }
        object.known.insert(field.name.to_string(), decl);
    }
    plain(Of::Object(object))
}

fn of_node(node: &Node, name: &str, depth: usize) -> Arc<Decl> {
    match &node.shape {
        Shape::Any | Shape::IntOrString => Decl::dynamic().clone(),
        Shape::Bool => plain(Of::Bool),
        Shape::Int32 | Shape::Int64 => plain(Of::Int),
        Shape::Float => plain(Of::Double),
        Shape::String | Shape::Duration | Shape::Quantity => plain(Of::String),
        Shape::Bytes => plain(Of::Bytes),
        Shape::Time | Shape::MicroTime => plain(Of::Timestamp),
        // A schema that holds itself does so some levels down: it is followed to where nobody writes.
        Shape::Struct(of) if of.name.ends_with("JSONSchemaProps") => Decl::dynamic().clone(),
        Shape::Struct(of) => of_struct(of, name, depth),
        Shape::Map(of) => plain(Of::Map(of_node(of, &format!("{name}.@elem"), depth + 1))),
        Shape::List(of) => {
            let of = of_node(of, &format!("{name}.@idx"), depth + 1);
            plain(Of::List(of, Compared::InOrder))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_api::registry::Kinds;

    #[test]
    fn what_does_not_fit_the_schema_is_said() {
        let kinds = Kinds::builtin(crate::KINDS).now();
        let policy = json!({"spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "resources": ["deployments", "deployments/scale", "nothings"]}]},
            "variables": [{"name": "r", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.spec.replicas > 1 && variables.r < 3", "messageExpression": "object.nothing"},
                {"expression": "variables.r == 'a'"},
                {"expression": "object.metadata.labels['a'] == 1"}]}});
        let found = warnings(&policy, &kinds);
        let fields: Vec<_> = found.iter().map(|it| text(it, "fieldRef")).collect();
        assert_eq!(
            fields,
            [
                "spec.validations[0].messageExpression",
                "spec.validations[1].expression",
                "spec.validations[2].expression"
            ]
        );
        assert_eq!(
            text(&found[0], "warning"),
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'nothing'\n | object.nothing\n | ......^\n"
        );
    }
}
