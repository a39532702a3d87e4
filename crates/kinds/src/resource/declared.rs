//! What the API's own declarations demand of these kinds (the `k8s:` markers of its types): a pass over the object by a
//! table of facts, `declared.txt`. Its faults are said after all that is checked by hand, and what an update leaves as
//! it was is not looked at.

use super::formats;
use skiff_api::check::at_most;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_api::schema::{Shape, Struct, builtin};
use skiff_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

struct Declared {
    fields: Vec<Field>,
    /// Of these, one is set.
    one: Vec<&'static str>,
}

struct Field {
    name: &'static str,
    /// The structure of its value, or of its items.
    of: &'static str,
    demands: Vec<(&'static str, &'static str)>,
}

static TABLE: LazyLock<HashMap<&'static str, Declared>> = LazyLock::new(|| {
    let mut table: HashMap<&str, Declared> = HashMap::new();
    let mut current = "";
    for line in include_str!("declared.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, of, ref demands @ ..] if line.starts_with(' ') => {
                let demands = demands.iter().map(|it| it.split_once('=').unwrap_or((it, "")));
                let field = Field { name, of, demands: demands.collect() };
                table.get_mut(current).expect("a structure comes first").fields.push(field);
            }
            [name, ref rest @ ..] => {
                current = name;
                let one = rest
                    .iter()
                    .filter_map(|it| it.strip_prefix("one="))
                    .flat_map(|it| it.split(','));
                table.insert(name, Declared { fields: Vec::new(), one: one.collect() });
            }
            [] => {}
        }
    }
    table
});

/// Looks at a whole object of this kind.
pub fn validate(kind: &str, new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let mut walk = Walk { errors };
    walk.structure(kind, new.value(), old.map(Object::value), None);
}

struct Walk<'e> {
    errors: &'e mut Errors,
}

impl Walk<'_> {
    fn structure(&mut self, name: &str, new: &Value, old: Option<&Value>, path: Option<&Path>) {
        let Some(declared) = TABLE.get(name) else { return };
        if let (false, Some(path)) = (declared.one.is_empty(), path) {
            self.one_of(&declared.one, new, path);
        }
        for field in &declared.fields {
            let here = match path {
                Some(path) => path.child(field.name),
                None => Path::new(field.name),
            };
            let before = old.map(|old| &old[field.name]);
            let value = &new[field.name];
            if before != Some(value) {
                self.field(field, name, value, before, &here);
            }
        }
    }

    fn one_of(&mut self, members: &[&str], value: &Value, path: &Path) {
        let set: Vec<&str> = members.iter().copied().filter(|it| !empty(&value[*it])).collect();
        let known = members.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        match set.len() {
            0 => self.errors.invalid(path, "", &format!("must specify one of: {known}")),
            1 => {}
            _ => {
                let shown = format!("{{{}}}", set.join(", "));
                let why = format!("must specify exactly one of: {known}");
                self.errors.invalid(path, shown, &why);
            }
        }
    }

    fn field(
        &mut self,
        field: &Field,
        owner: &str,
        value: &Value,
        old: Option<&Value>,
        path: &Path,
    ) {
        for (demand, argument) in &field.demands {
            let known = || argument.split(',').collect::<Vec<_>>();
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            match *demand {
                "immutable" if old.is_some() => {
                    return self.errors.invalid(path, Value::Null, "field is immutable");
                }
                "kept" if old.is_some_and(|old| !old.is_null()) && !value.is_null() => {
                    let why = "field cannot be modified once set";
                    return self.errors.invalid(path, Value::Null, why);
                }
                "required" if empty(value) => return self.errors.required(path, ""),
                "most" => {
                    let most = argument.parse().expect("the table has numbers");
                    if !at_most(path, items.len(), most, self.errors) {
                        return;
                    }
                }
                "key" => self.unique(items, &known(), (owner, field.name), path),
                "bytes" => {
                    let most = argument.parse().expect("the table has numbers");
                    if value.as_str().is_some_and(|text| text.len() > most) {
                        self.errors.too_long(path, most);
                    }
                }
                "enum" => {
                    let text = value.as_str().unwrap_or("");
                    if !text.is_empty() && !known().contains(&text) {
                        self.errors.not_supported(path, text, &known());
                    }
                }
                "format" if !empty(value) => {
                    formats::check(argument, path, value.as_str().unwrap_or(""), self.errors);
                }
                "keys" => {
                    for key in value.as_object().into_iter().flat_map(|map| map.keys()) {
                        formats::check(argument, path, key, self.errors);
                    }
                }
                _ => {}
            }
        }
        self.inside(field, value, old, path);
    }

    fn inside(&mut self, field: &Field, value: &Value, old: Option<&Value>, path: &Path) {
        match value {
            Value::Array(items) => {
                let key = field.demands.iter().find(|(demand, _)| *demand == "key").map(|it| it.1);
                for (index, item) in items.iter().enumerate() {
                    let before = old.and_then(Value::as_array).into_iter().flatten();
                    let before = before.into_iter().find(|it| match key {
                        Some(key) => key.split(',').all(|part| it[part] == item[part]),
                        None => false,
                    });
                    if before != Some(item) {
                        self.structure(field.of, item, before, Some(&path.index(index)));
                    }
                }
            }
            Value::Object(map) if field.name == "attributes" => {
                for (key, item) in map {
                    let before = old.and_then(|old| old.get(key));
                    if before != Some(item) {
                        self.structure(field.of, item, before, Some(&path.key(key)));
                    }
                }
            }
            Value::Object(_) => self.structure(field.of, value, old, Some(path)),
            _ => {}
        }
    }

    fn unique(
        &mut self,
        items: &[Value],
        keys: &[&str],
        (owner, field): (&str, &str),
        path: &Path,
    ) {
        let key = |item: &Value| match keys {
            ["."] => item.clone(),
            keys => keys.iter().map(|key| item[*key].clone()).collect(),
        };
        // Lists were bounded before they come here, by the table or by hand.
        let all: Vec<Value> = items.iter().map(key).collect();
        for (index, item) in items.iter().enumerate() {
            if all[..index].contains(&all[index]) {
                let body = format!("Duplicate value: {}", shown(item, owner, field));
                self.errors.push(skiff_api::errors::ErrorType::Duplicate, &path.index(index), body);
            }
        }
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// An item as its Go type prints it: fields in the order of their numbers.
fn shown(item: &Value, owner: &str, field: &str) -> String {
    let structure = builtin(&format!("io.k8s.api.resource.v1.{owner}"));
    let shape = structure.and_then(|it| it.field(field)).map(|it| &it.node.shape);
    match shape {
        Some(Shape::List(of)) => print(item, &of.shape),
        _ => item.to_string(),
    }
}

fn print(value: &Value, shape: &Shape) -> String {
    match (value, shape) {
        (Value::Object(map), Shape::Struct(of)) => {
            let of: &Struct = of;
            let mut fields: Vec<_> =
                of.fields.iter().filter_map(|field| Some((field, map.get(&field.name)?))).collect();
            fields.sort_by_key(|(field, _)| field.tag);
            let one = |(field, value): &(&skiff_api::schema::Field, &Value)| {
                format!("{:?}:{}", field.name, print(value, &field.node.shape))
            };
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","))
        }
        (Value::Array(items), Shape::List(of)) => {
            let items: Vec<String> = items.iter().map(|item| print(item, &of.shape)).collect();
            format!("[{}]", items.join(","))
        }
        (Value::Object(map), Shape::Map(of)) => {
            let one =
                |(key, value): (&String, &Value)| format!("{key:?}:{}", print(value, &of.shape));
            format!("{{{}}}", map.iter().map(one).collect::<Vec<_>>().join(","))
        }
        (value, _) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn the_table_is_of_the_schema() {
        for (name, declared) in &*TABLE {
            let name =
                if *name == "DeviceConfiguration" { "DeviceClaimConfiguration" } else { name };
            let structure = builtin(&format!("io.k8s.api.resource.v1.{name}"));
            let structure = structure.unwrap_or_else(|| panic!("{name} is a structure"));
            let names =
                declared.fields.iter().map(|it| it.name).chain(declared.one.iter().copied());
            for field in names {
                assert!(structure.field(field).is_some(), "{name} has {field}");
            }
            for field in declared.fields.iter().filter(|it| it.of != "-") {
                assert!(TABLE.contains_key(field.of), "{} of {name}", field.of);
            }
        }
    }

    #[test]
    fn faults_come_in_the_order_of_the_fields() {
        let claim = json!({"spec": {"devices": {"requests": [{"name": "a"}, {"name": "a", "exactly":
            {"allocationMode": "Foo", "deviceClassName": "c", "tolerations": [{"operator": "Foo"}]}}],
            "config": [{"opaque": {}}]}}});
        let mut errors = Errors::new();
        validate("ResourceClaim", &Object::new(claim.clone()), None, &mut errors);
        assert_eq!(
            errors.text(),
            "[spec.devices.requests[1]: Duplicate value: {\"name\":\"a\",\"exactly\":{\"deviceClassName\":\"c\",\
             \"allocationMode\":\"Foo\",\"tolerations\":[{\"operator\":\"Foo\"}]}}, \
             spec.devices.requests[1].exactly.allocationMode: Unsupported value: \"Foo\": supported values: \
             \"All\", \"ExactCount\", \
             spec.devices.requests[1].exactly.tolerations[0].operator: Unsupported value: \"Foo\": supported values: \
             \"Equal\", \"Exists\", spec.devices.config[0].opaque.driver: Required value]"
        );
        let mut errors = Errors::new();
        let mut other = claim.clone();
        other["spec"]["devices"]["config"] = json!([]);
        validate("ResourceClaim", &Object::new(other), Some(&Object::new(claim)), &mut errors);
        assert_eq!(errors.text(), "spec: Invalid value: null: field is immutable");
    }
}
