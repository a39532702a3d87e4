//! What a mutation's expression gives, as a change of the object: a part that is merged into it, or the operations of a
//! JSON patch (KEP-3962).

use super::configuration::{Mutation, Policy};
use crate::authorize::expression::Asker;
use crate::write::admission::Admit;
use crate::write::admission::expressions::Subject;
use crate::write::admission::made::{Unfit, fitted};
use crate::write::admission::matching::{Face, is_whole};
use skiff_api::Status;
use skiff_api::apply::overlay;
use skiff_api::object::Object;
use skiff_api::patch::{self, json_patch};
use skiff_api::schema::decode::{Mode, decode};
use skiff_api::schema::{self, Struct};
use skiff_cel::run::{Budget, RUNTIME_BUDGET};
use skiff_cel::value::{List, Map as CelMap, Value as Cel};
use skiff_json::{Map, Value, json};

const UNFIT: &str = "error applying patch: failed to convert patch object to typed object: ";

/// Why there is no change.
pub enum Failure {
    /// The failure policy decides.
    Policy(String),
    /// The request is refused.
    Final(Status),
}

/// The object as a mutation makes it.
pub async fn made(
    (policy, mutation): (&Policy, &Mutation),
    (subject, asker): (&Subject<'_>, &Asker),
    face: &Face,
    at: &Admit<'_>,
    object: &Object,
) -> Result<Object, Failure> {
    if let Err(why) = &mutation.expression.program {
        return Err(Failure::Policy(why.clone()));
    }
    let evaluate = || {
        let (mut budget, mut made) = (Budget { left: RUNTIME_BUDGET }, Ok(Value::Null));
        let all = [(0, &mutation.expression)];
        let shared = policy.shared();
        let ended = subject.evaluate(&shared, Some(asker), (&all, &mut budget), &mut |_, found| {
            made = found.and_then(|value| match mutation.patches {
                true => operations(value),
                false => part(value),
            });
        });
        ended.and(made)
    };
    let given = asker.settled(evaluate).await.map_err(Failure::Policy)?;
    let changed = match mutation.patches {
        true => patched(&given, face, at, object)?,
        false => merged(given, face, at, object)?,
    };
    fitted(face, at, changed).map_err(|unfit| match unfit {
        Unfit::Type(why) => Failure::Final(Status::internal(why)),
        Unfit::TooLarge(why) => Failure::Final(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {why}"),
        )),
    })
}

/// The schema of what the request is about.
fn schema_of<'a>(face: &'a Face, at: &'a Admit<'_>) -> Result<&'a Struct, Failure> {
    if is_whole(at) {
        return Ok(&face.kind(at).schema);
    }
    let (group, version, kind) = at.asked;
    schema::gvk(group, version, kind).ok_or_else(|| {
        let why = format!(
            "Resource kind {group}/{version}, Kind={kind} not found. There can be a delay between when \
             CustomResourceDefinitions are created and when they are available."
        );
        Failure::Final(Status::new(503, "ServiceUnavailable", why))
    })
}

fn merged(mut part: Value, face: &Face, at: &Admit<'_>, object: &Object) -> Result<Value, Failure> {
    for field in ["apiVersion", "kind"] {
        match object.at(field) {
            Some(own) => part[field] = own.clone(),
            None => drop(part.as_object_mut().map(|part| part.remove(field))),
        }
    }
    let (group, version, kind) = at.asked;
    if !is_whole(at) && (group, version) != (&*at.kind.group, &*at.kind.version) {
        // Upstream looks a type up among those of its own group and version.
        let why = format!("{UNFIT}no corresponding type for {group}/{version}, Kind={kind}");
        return Err(Failure::Policy(why));
    }
    overlay(schema_of(face, at)?, object.value(), &part)
        .map_err(|why| Failure::Policy(format!("error applying patch: {why}")))
}

fn patched(
    operations: &Value,
    face: &Face,
    at: &Admit<'_>,
    object: &Object,
) -> Result<Value, Failure> {
    let bytes = operations.to_string();
    let mut made = match json_patch::apply(object.value().clone(), bytes.as_bytes()) {
        Ok(made) => made.object,
        // What is tested decides whether there is a change at all.
        Err(patch::Error::Untrue(_)) => return Ok(object.value().clone()),
        Err(patch::Error::Unfit(why)) => return Err(Failure::Policy(format!("JSON Patch: {why}"))),
        Err(other) => return Err(Failure::Policy(format!("JSON Patch: {other}"))),
    };
    let kept = ["apiVersion", "kind"].iter().all(|field| made.get(field) == object.at(field));
    if !kept {
        let why = "JSON Patch: it must not change apiVersion or kind";
        return Err(Failure::Policy(why.into()));
    }
    if is_whole(at) && face.kind(at).manner.prunes {
        return Ok(made);
    }
    match decode(&mut made, schema_of(face, at)?, Mode::Strict) {
        Ok(_) => Ok(made),
        Err(error) => Err(Failure::Final(Status::internal(error))),
    }
}

/// The part of an object that an expression makes.
fn part(value: &Cel<'_>) -> Result<Value, String> {
    let mut wrong = Vec::new();
    check_names(value, "Object", &mut wrong);
    if !wrong.is_empty() {
        return Err(format!("type mismatch: {}", wrong.join("\n")));
    }
    let Cel::Message(object) = value else {
        return value.to_json().map_err(|error| format!("invalid return type: {error}"));
    };
    let mut made = Map::new();
    for (field, value) in &object.fields {
        let value = value
            .to_json()
            .map_err(|error| format!("{UNFIT}.{field}: expected map, got &{{{error}}}"))?;
        made.insert(field.clone(), value);
    }
    Ok(made.into())
}

/// The operations of a patch that an expression makes.
fn operations(value: &Cel<'_>) -> Result<Value, String> {
    const WRONG: &str = "type mismatch: JSONPatchType.expression should evaluate to array";
    let Cel::List(list) = value else { return Err(WRONG.into()) };
    let mut made = Vec::new();
    for operation in elements(list) {
        let Cel::Message(operation) = &operation else {
            return Err(format!("{WRONG} of JSONPatch"));
        };
        let mut one = Map::new();
        for (field, value) in &operation.fields {
            if field != "value" {
                one.insert(field.clone(), json!(value.as_text().unwrap_or_default()));
                continue;
            }
            if let Cel::Message(inner) = value {
                let mut wrong = Vec::new();
                // Any part may stand there: its own name is where names begin.
                check_names(value, &inner.name, &mut wrong);
                if !wrong.is_empty() {
                    return Err(format!("type mismatch: {}", wrong.join("\n")));
                }
            }
            let value = value.to_json().map_err(|error| {
                format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}")
            })?;
            one.insert(field.clone(), value);
        }
        if one.get("from").is_some_and(|from| from == "") {
            one.remove("from");
        }
        made.push(Value::Object(one));
    }
    Ok(made.into())
}

fn elements<'a>(list: &List<'a>) -> Vec<Cel<'a>> {
    // A list that cannot be walked was not made by an expression of this type.
    list.to_vec().unwrap_or_default()
}

/// Parts of an object are named by where they stand: `Object.spec` in the field `spec` of an `Object`.
fn check_names(value: &Cel<'_>, expected: &str, wrong: &mut Vec<String>) {
    match value {
        Cel::Message(message) => {
            if *message.name != *expected {
                wrong.push(format!(
                    "unexpected type name {:?}, expected {expected:?}, which matches field name path from root Object type",
                    &*message.name
                ));
            }
            for (field, value) in &message.fields {
                check_names(value, &format!("{expected}.{field}"), wrong);
            }
        }
        Cel::List(list @ (List::Owned(_) | List::Joined(_))) => {
            elements(list).iter().for_each(|it| check_names(it, expected, wrong));
        }
        Cel::Map(CelMap::Owned(map)) => {
            map.values().for_each(|it| check_names(it, expected, wrong))
        }
        _ => {}
    }
}
