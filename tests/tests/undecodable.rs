//! A record of each kind that nobody can decode: it is named, it stops nobody, and it can be taken away.

use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::damage;

/// A kind that is stored, as `kubectl api-resources` tells it.
struct Stored {
    plural: String,
    group_version: String,
    namespaced: bool,
}

impl Stored {
    fn group(&self) -> &str {
        self.group_version.split_once('/').map_or("", |(group, _)| group)
    }

    fn key(&self) -> String {
        let dot = if self.group().is_empty() { "" } else { "." };
        let namespace = if self.namespaced { "default" } else { "" };
        format!("{}{dot}{}/{namespace}/bad", self.plural, self.group())
    }

    fn path(&self) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        let namespace = if self.namespaced { "/namespaces/default" } else { "" };
        format!("{root}/{}{namespace}/{}/bad", self.group_version, self.plural)
    }
}

fn stored(c: &Cluster) -> Vec<Stored> {
    let listed = c.k.ok("api-resources --verbs=list,delete,create --no-headers");
    let kinds = listed.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [plural, .., group_version, namespaced, _] = words[..] else { panic!("{line}") };
        Stored {
            plural: plural.into(),
            group_version: group_version.into(),
            namespaced: namespaced == "true",
        }
    });
    // Events of the other group are the same records.
    kinds.filter(|kind| kind.group() != "events.k8s.io").collect()
}

fn web(namespace: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web","namespace":"{namespace}"}},"spec":
        {{"selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":
        {{"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"{BUSYBOX}","command":["sleep","1d"]}}]
        }}}}}}}}"#
    )
}

#[test]
fn a_record_of_each_kind_that_cannot_be_decoded_stops_nobody() {
    let c = Cluster::start("undecodable");
    c.load_busybox();
    c.k.ok("create namespace beside");
    let kinds = stored(&c);
    assert!(kinds.len() > 15, "{}", kinds.len());
    let keys: Vec<String> = kinds.iter().map(Stored::key).collect();
    c.skiff(&["down"]);
    damage::add(&c, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    c.skiff(&["up"]);
    let status = c.skiff(&["status"]);
    let lost: Vec<_> =
        keys.iter().filter(|key| !status.contains(&format!("unreadable: {key}"))).collect();
    assert!(lost.is_empty(), "not told of: {lost:?}\n{status}");
    for kind in &kinds {
        let name = match kind.group() {
            "" => kind.plural.clone(),
            group => format!("{}.{group}", kind.plural),
        };
        let listed = c.k.exits(0, &["get", &name, "-A"], "");
        assert!(listed.err.contains("Warning"), "{name}: {}", listed.err);
    }
    // Controllers, scheduler, node and services do their work in a namespace where all can be read.
    c.k.apply(&web("beside"));
    c.k.wait("-n beside --for=condition=Available deployment/web");
    c.k.ok("-n beside delete deployment web");
    c.k.wait("-n beside --for=delete pod -l app=web");
    for kind in &kinds {
        let path = format!("{}?ignoreStoreReadErrorWithClusterBreakingPotential=true", kind.path());
        let said = c.k.args(&["delete", "--raw", &path]);
        assert!(said.contains("\"Success\""), "{path}: {said}");
    }
    let status = c.skiff(&["status"]);
    assert!(!status.contains("unreadable"), "{status}");
    c.k.apply(&web("default"));
    c.k.wait("--for=condition=Available deployment/web");
}
