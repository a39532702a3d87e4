//! When two values are equal and which is less (CEL language definition, equality and ordering), and
//! how lists of a schema are compared and joined (x-kubernetes-list-type).

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::decl::{Compared, Decl, Shape};
use crate::run::RunError;
use crate::value::{List, Map, Value};

/// Values of different types are unequal; numbers are compared as numbers.
pub fn equal(a: &Value, b: &Value) -> Result<bool, RunError> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a.as_str() == b.as_str(),
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists_equal(a, b)?,
        (Value::Map(a), Value::Map(b)) => maps_equal(a, b)?,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b)?,
        (Value::Optional(a), Value::Optional(b)) => a.is_none() && b.is_none(),
        (Value::Raw(a), Value::Raw(b)) => a == b,
        (Value::Quantity(a), Value::Quantity(b)) => a == b,
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a, long), Value::Cidr(b, other)) => a == b && long == other,
        (Value::Url(a), Value::Url(b)) => a.text == b.text,
        (Value::Semver(a), Value::Semver(b)) => a.compare(b) == Ordering::Equal,
        (Value::Format(a), Value::Format(b)) => a.name == b.name,
        (Value::Message(a), Value::Message(b)) => {
            a.name == b.name
                && a.fields.len() == b.fields.len()
                && a.fields.iter().try_fold(true, |same, (name, it)| match b.fields.get(name) {
                    Some(other) => Ok(same && equal(it, other)?),
                    None => Ok::<_, RunError>(false),
                })?
        }
        (Value::Host(a), Value::Host(b)) => Arc::ptr_eq(a, b),
        _ => numbers(a, b) == Some(Ordering::Equal),
    })
}

/// The order of two values, if theirs is a type that has one.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.as_str().cmp(b.as_str())),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        _ => numbers(a, b),
    }
}

/// Numbers of whatever type in one order.
fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    let whole = |it: &Value| match it {
        Value::Int(it) => Some(i128::from(*it)),
        Value::Uint(it) => Some(i128::from(*it)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => with_whole(*a, whole(b)?),
        (a, Value::Double(b)) => with_whole(*b, whole(a)?).map(Ordering::reverse),
        _ => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn with_whole(a: f64, b: i128) -> Option<Ordering> {
    match a {
        _ if a.is_nan() => None,
        _ if a >= 2f64.powi(64) => Some(Ordering::Greater),
        _ if a < -(2f64.powi(63)) => Some(Ordering::Less),
        _ => match (a.trunc() as i128).cmp(&b) {
            Ordering::Equal => a.fract().partial_cmp(&0.0),
            other => Some(other),
        },
    }
}

fn lists_equal(a: &List, b: &List) -> Result<bool, RunError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match a.compared() {
        Compared::InOrder => in_order(a, b),
        Compared::AsSet => {
            let (ours, theirs) = (names(a)?, names(b)?);
            Ok(ours == theirs)
        }
        Compared::ByKeys(keys) => by_keys(a, b, keys),
    }
}

fn in_order(a: &List, b: &List) -> Result<bool, RunError> {
    if let (List::Json(a, one), List::Json(b, other)) = (a, b)
        && std::ptr::eq(*a, *b)
        && std::ptr::eq(*one, *other)
    {
        return Ok(true);
    }
    let (mut index, mut same) = (0, true);
    a.each(|it| {
        let other = b.get(index).expect("both are as long")?;
        index += 1;
        same = equal(&it, &other)?;
        Ok(same)
    })?;
    Ok(same)
}

/// What an element of a set is known by.
fn names(list: &List) -> Result<HashSet<String>, RunError> {
    let mut found = HashSet::new();
    list.each(|it| {
        found.insert(name_of(&it)?);
        Ok(true)
    })?;
    Ok(found)
}

fn name_of(it: &Value) -> Result<String, RunError> {
    Ok(match it {
        Value::Double(it) => format!("{it}"),
        other => other.to_json()?.to_string(),
    })
}

fn key_of(it: &Value, keys: &[String]) -> Result<String, RunError> {
    let Value::Map(it) = it else { return Err(RunError::no_overload()) };
    let mut name = String::new();
    for key in keys {
        if let Some(part) = it.get_text(key) {
            name.push_str(&name_of(&part?)?);
        }
        name.push('\n');
    }
    Ok(name)
}

fn by_keys(a: &List, b: &List, keys: &[String]) -> Result<bool, RunError> {
    let mut ours = HashMap::new();
    a.each(|it| {
        ours.insert(key_of(&it, keys)?, it);
        Ok(true)
    })?;
    let (mut seen, mut same) = (HashSet::new(), true);
    b.each(|it| {
        let key = key_of(&it, keys)?;
        same = match ours.get(&key) {
            Some(own) => equal(own, &it)?,
            None => false,
        };
        seen.insert(key);
        Ok(same)
    })?;
    Ok(same && seen.len() == ours.len())
}

fn maps_equal(a: &Map, b: &Map) -> Result<bool, RunError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let (Map::Json(ours, Decl { shape: Shape::Object(of), .. }), Map::Json(theirs, _)) = (a, b) {
        if std::ptr::eq(*ours, *theirs) {
            return Ok(true);
        }
        let unknown = |name: &String| !of.known.contains_key(name);
        let differs = ours
            .iter()
            .any(|(name, it)| unknown(name) && theirs.get(name).is_some_and(|other| other != it));
        if differs {
            return Ok(false);
        }
    }
    for (key, value) in a.entries()? {
        let Some(other) = b.get(&key.into_value()) else { return Ok(false) };
        if !equal(&value?, &other?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Below this, two lists become one; above, they are joined as they lie.
const SMALL: usize = 16;

/// `a + b`: joined, united, or merged by key, as the schema of the first says.
pub fn joined<'a>(a: &List<'a>, b: &List<'a>) -> Result<List<'a>, RunError> {
    match a.compared() {
        Compared::InOrder if a.is_empty() => Ok(b.clone()),
        Compared::InOrder if b.is_empty() => Ok(a.clone()),
        Compared::InOrder if a.len().saturating_add(b.len()) > SMALL => {
            let length = a.len().saturating_add(b.len());
            Ok(List::Joined(Arc::new((a.clone(), b.clone(), length))))
        }
        Compared::InOrder => {
            let mut all = a.to_vec()?;
            all.extend(b.to_vec()?);
            Ok(List::Owned(Arc::new(all)))
        }
        Compared::AsSet => {
            let (mut all, mut seen) = (a.to_vec()?, names(a)?);
            b.each(|it| {
                if seen.insert(name_of(&it)?) {
                    all.push(it);
                }
                Ok(true)
            })?;
            Ok(List::Owned(Arc::new(all)))
        }
        Compared::ByKeys(keys) => {
            let (mut all, mut places) = (a.to_vec()?, HashMap::new());
            for (index, it) in all.iter().enumerate() {
                places.insert(key_of(it, keys)?, index);
            }
            b.each(|it| {
                match places.get(&key_of(&it, keys)?) {
                    Some(index) => all[*index] = it,
                    None => {
                        places.insert(key_of(&it, keys)?, all.len());
                        all.push(it);
                    }
                }
                Ok(true)
            })?;
            Ok(List::Owned(Arc::new(all)))
        }
    }
}
