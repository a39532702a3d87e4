//! The environment of a container: envFrom, env and services, in the order and with the references
//! that the API reference describes (Container.env, envFrom; PodSpec.enableServiceLinks).

use super::expand::{ALL_MOST, ONE_MOST, expand};
use super::fields::{self, Addresses, Capacity};
use crate::sources::Sources;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, EnvVarSource, KeySelector};
use std::collections::BTreeMap;

/// Everything that values come from.
pub struct Given<'a> {
    pub pod: &'a Pod,
    pub sources: &'a Sources,
    pub services: &'a BTreeMap<String, String>,
    pub addresses: &'a Addresses,
    pub node: Capacity,
}

/// Names and values in the order of their first mention, or why there is none.
pub fn environment(
    container: &Container,
    given: &Given<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Env::default();
    for from in &container.env_from {
        let data = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => given.sources.config_map(&map.name, map.optional)?,
            (_, Some(secret)) => given.sources.secret(&secret.name, secret.optional)?,
            (None, None) => continue,
        };
        for (key, value) in data.into_iter().flatten() {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            env.put(format!("{}{key}", from.prefix), value.to_owned())?;
        }
    }
    for variable in &container.env {
        let value = match &variable.value_from {
            None => {
                let known = |name: &str| env.get(name).or_else(|| given.services.get(name));
                let value = expand(&variable.value, &|name| known(name).map(String::as_str));
                Some(value.map_err(|_| too_long(&variable.name))?)
            }
            Some(source) => from_source(container, source, given)?,
        };
        if let Some(value) = value {
            env.put(variable.name.clone(), value)?;
        }
    }
    for (name, value) in given.services {
        if env.get(name).is_none() {
            env.put(name.clone(), value.clone())?;
        }
    }
    Ok(env.list)
}

#[derive(Default)]
struct Env {
    list: Vec<(String, String)>,
    letters: usize,
    at: BTreeMap<String, usize>,
}

impl Env {
    fn get(&self, name: &str) -> Option<&String> {
        self.at.get(name).map(|at| &self.list[*at].1)
    }

    fn put(&mut self, name: String, value: String) -> Result<(), String> {
        let added = name.len() + value.len();
        self.letters += added;
        if added > ONE_MOST || self.letters > ALL_MOST {
            return Err(too_long(&name));
        }
        match self.at.get(&name) {
            Some(at) => self.list[*at].1 = value,
            None => {
                self.at.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
        Ok(())
    }
}

fn too_long(name: &str) -> String {
    format!("the environment grows longer than a program can be given at variable {name:?}")
}

/// None: an optional source is not there.
fn from_source(
    container: &Container,
    source: &EnvVarSource,
    given: &Given<'_>,
) -> Result<Option<String>, String> {
    let namespace = &given.pod.metadata.namespace;
    if let Some(field) = &source.field_ref {
        return fields::field(given.pod, &field.field_path, given.addresses).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return fields::resource(given.pod, Some(container), resource, given.node).map(Some);
    }
    let (data, key, kind) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(key), _) => (given.sources.config_map(&key.name, key.optional)?, key, "ConfigMap"),
        (_, Some(key)) => (given.sources.secret(&key.name, key.optional)?, key, "Secret"),
        (None, None) => return Err("env.valueFrom.fileKeyRef is not supported".into()),
    };
    let KeySelector { name, key, optional } = key;
    match data.and_then(|data| data.get(key)) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if *optional => Ok(None),
        None => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
    }
}
