//! What is ours in the documents of kubeconfigs, and how it goes in and comes out. Pure.
//!
//! A cluster's entries carry its name in all three lists. A cluster entry is ours if it names our authority, or was
//! written for the same data folder (an earlier cluster there, whose end nobody saw). Of several files the first that
//! names a thing counts; new things go into the first.

use skiff_json::{Map, Value, json};

/// The lists of a kubeconfig whose entries have names, and what each entry holds.
const LISTS: [(&str, &str); 3] =
    [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];
/// The name of our extension in a cluster entry.
const EXTENSION: &str = "skiff";
/// So many foreign entries with our name are stepped over.
const NAMES_MOST: u32 = 100;

/// Whether the files know a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    Current(String),
    Yes(String),
    No,
}

/// Puts our entries in, under a name that nobody else has, and makes their context current; the name.
pub fn merge(documents: &mut [Value], own: &Value, data: &str) -> String {
    let own_name = own["current-context"].as_str().unwrap_or(EXTENSION);
    let authority = own["clusters"][0]["cluster"]["certificate-authority-data"].as_str();
    let authority = authority.unwrap_or_default();
    let name = free_name(documents, own_name, authority, data);
    for (list, inner) in LISTS {
        let mut body = own[list][0][inner].clone();
        match list {
            "clusters" => {
                body["extensions"] = json!([{"name": EXTENSION, "extension": {"data": data}}]);
            }
            "contexts" => body = json!({"cluster": name, "user": name}),
            _ => {}
        }
        let at = documents.iter().position(|d| entry(d, list, &name).is_some());
        put(&mut documents[at.unwrap_or(0)], list, inner, &name, body);
    }
    let current = &mut documents[0];
    for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        if current[key].is_null() {
            current[key] = json!(value);
        }
    }
    current["current-context"] = json!(name);
    name
}

fn free_name(documents: &[Value], own: &str, authority: &str, data: &str) -> String {
    let numbered = (2..NAMES_MOST).map(|number| format!("{own}-{number}"));
    let names = std::iter::once(own.to_owned()).chain(numbered);
    let free = |name: &String| {
        let mut lists = LISTS.iter().map(|(list, _)| find(documents, list, name));
        match find(documents, "clusters", name) {
            Some(cluster) => is_of(cluster, authority) || is_for(cluster, data),
            None => lists.all(|entry| entry.is_none()),
        }
    };
    names.into_iter().find(free).unwrap_or_else(|| own.to_owned())
}

/// Takes out the entries that were made for the cluster of this authority.
pub fn remove(documents: &mut [Value], authority: &str) {
    for name in names(documents, authority) {
        for config in documents.iter_mut() {
            for (list, _) in LISTS {
                if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
                    entries.retain(|entry| entry["name"] != name.as_str());
                }
            }
            if config["current-context"] == name.as_str() {
                config["current-context"] = json!("");
            }
        }
    }
}

/// Whether kubectl, given these files, finds the cluster.
pub fn known(documents: &[Value], authority: &str) -> Known {
    let current = documents.iter().filter_map(|d| d["current-context"].as_str());
    let current = current.into_iter().find(|name| !name.is_empty());
    let names = names(documents, authority);
    match names.iter().find(|name| current == Some(name)).or(names.first()) {
        None => Known::No,
        Some(name) if current == Some(name) => Known::Current(name.clone()),
        Some(name) => Known::Yes(name.clone()),
    }
}

/// Whether entries can go into it.
pub fn is_sound(config: &Value) -> bool {
    let lists = LISTS.iter().map(|(list, _)| &config[list]);
    config.is_object() && lists.into_iter().all(|list| list.is_null() || list.is_array())
}

/// Whether nothing is in it any more but what every kubeconfig begins with.
pub fn is_empty(config: &Value) -> bool {
    let nothing = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        value => value.is_null() || value == "",
    };
    let begins = |key: &str| matches!(key, "apiVersion" | "kind");
    config.as_object().is_none_or(|map| map.iter().all(|(key, v)| begins(key) || nothing(v)))
}

/// Names of cluster entries with this authority that a context of the same name leads to.
fn names(documents: &[Value], authority: &str) -> Vec<String> {
    let clusters = documents.iter().flat_map(|d| d["clusters"].as_array());
    let ours = clusters.flatten().filter(|entry| is_of(entry, authority));
    let names = ours.filter_map(|entry| entry["name"].as_str());
    let leads = |name: &&str| {
        find(documents, "contexts", name).is_some_and(|c| c["context"]["cluster"] == *name)
    };
    names.filter(leads).map(str::to_owned).collect()
}

fn is_of(cluster: &Value, authority: &str) -> bool {
    cluster["cluster"]["certificate-authority-data"] == authority
}

fn is_for(cluster: &Value, data: &str) -> bool {
    let extensions = cluster["cluster"]["extensions"].as_array();
    extensions
        .into_iter()
        .flatten()
        .any(|e| e["name"] == EXTENSION && e["extension"]["data"] == data)
}

fn find<'a>(documents: &'a [Value], list: &str, name: &str) -> Option<&'a Value> {
    documents.iter().find_map(|d| entry(d, list, name))
}

fn entry<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config[list].as_array()?.iter().find(|entry| entry["name"] == name)
}

/// What the user added to an entry (a namespace, a proxy) stays in it.
fn put(config: &mut Value, list: &str, inner: &str, name: &str, body: Value) {
    let Some(map) = config.as_object_mut() else { return };
    let entries = map.entry(list).or_insert_with(|| json!([]));
    if entries.is_null() {
        *entries = json!([]);
    }
    let Some(entries) = entries.as_array_mut() else { return };
    let known = entries.iter_mut().find(|known| known["name"] == name);
    match known.map(|known| &mut known[inner]) {
        Some(Value::Object(known)) => {
            known.extend(body.as_object().cloned().unwrap_or_else(Map::new));
        }
        Some(known) => *known = body,
        None => entries.push(json!({"name": name, inner: body})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Value {
        json!({
            "current-context": "skiff",
            "clusters": [{"name": "skiff", "cluster": {
                "certificate-authority-data": "ours", "server": "https://a"}}],
            "contexts": [{"name": "skiff", "context": {"cluster": "skiff", "user": "skiff"}}],
            "users": [{"name": "skiff", "user": {"client-key-data": "k"}}],
        })
    }

    #[test]
    fn somebody_elses_name_is_left_alone() {
        for (list, inner) in LISTS {
            let foreign = json!({list: [{"name": "skiff", inner: {"x": "theirs"}}]});
            let mut documents = [json!({}), foreign.clone()];
            assert_eq!(merge(&mut documents, &own(), "/d"), "skiff-2", "{list}");
            assert_eq!(documents[1], foreign, "{list}");
            assert_eq!(documents[0]["contexts"][0]["context"]["cluster"], "skiff-2");
            assert_eq!(merge(&mut documents, &own(), "/d"), "skiff-2", "again");
            assert_eq!(known(&documents, "ours"), Known::Current("skiff-2".to_owned()));
            remove(&mut documents, "ours");
            assert_eq!(documents[1], foreign, "{list}");
            assert_eq!(known(&documents, "ours"), Known::No);
        }
    }

    #[test]
    fn what_the_user_added_stays_and_a_dead_cluster_of_the_folder_is_replaced() {
        let mut documents = [json!({})];
        merge(&mut documents, &own(), "/d");
        documents[0]["contexts"][0]["context"]["namespace"] = json!("dev");
        documents[0]["clusters"][0]["cluster"]["proxy-url"] = json!("http://p");
        let mut next = own();
        next["clusters"][0]["cluster"]["certificate-authority-data"] = json!("new");
        assert_eq!(merge(&mut documents, &next, "/d"), "skiff");
        assert_eq!(documents[0]["contexts"][0]["context"]["namespace"], "dev");
        assert_eq!(documents[0]["clusters"][0]["cluster"]["proxy-url"], "http://p");
        assert_eq!(known(&documents, "ours"), Known::No);
        assert_eq!(merge(&mut documents, &own(), "/elsewhere"), "skiff-2");
    }

    #[test]
    fn entries_are_changed_where_they_are() {
        let theirs =
            json!({"contexts": [{"name": "other", "context": {}}], "current-context": "other"});
        let mut documents = [theirs.clone(), json!({})];
        merge(&mut documents[1..], &own(), "/d");
        merge(&mut documents, &own(), "/d");
        assert_eq!(documents[0]["contexts"], theirs["contexts"]);
        assert_eq!(documents[0]["current-context"], "skiff");
        assert_eq!(documents[1]["users"][0]["name"], "skiff");
        remove(&mut documents, "ours");
        assert!(is_empty(&documents[1]));
        assert_eq!(documents[0]["contexts"], theirs["contexts"]);
    }
}
