//! EncryptionConfiguration (apiserver.config.k8s.io/v1): read, and refused in upstream's words where it cannot be.
//!
//! Rules go by resource: what names it itself counts before `*.group`, that before `*.*`; several rules for one
//! resource are one list. A rule that an earlier one masks is refused, so nothing that is written counts for nothing.

use super::provider::{Key, Provider};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use skiff_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a file may hold; far more than keys and names take.
pub const BYTES_MOST: u64 = 256 << 10;

/// Which providers which resources have.
#[derive(Default)]
pub struct Config {
    /// By `secrets`, `deployments.apps`, `*.apps`, `*.` or `*.*`.
    rules: BTreeMap<String, Vec<std::sync::Arc<Provider>>>,
}

impl Config {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, all of it.
    pub fn parse(bytes: &[u8]) -> Result<Config, String> {
        if bytes.len() as u64 > BYTES_MOST {
            return Err(format!("it is larger than {BYTES_MOST} bytes"));
        }
        let parsed = skiff_api::yaml::parse(bytes)?;
        if let Some(odd) = parsed.odd.first() {
            return Err(format!("strict decoding error: {odd}"));
        }
        let value = &parsed.value;
        // The second is what both were called before 1.13; upstream still reads it.
        let known =
            [("apiserver.config.k8s.io/v1", "EncryptionConfiguration"), ("v1", "EncryptionConfig")];
        let text = |name: &str| value[name].as_str().unwrap_or("");
        let (version, kind) = (text("apiVersion"), text("kind"));
        if !known.contains(&(version, kind)) {
            return Err(format!(
                "no kind {kind:?} is registered for version {version:?}: \
                 write an EncryptionConfiguration of apiserver.config.k8s.io/v1"
            ));
        }
        let mut read = Reading::default();
        read.only(value, "", &["apiVersion", "kind", "resources"]);
        let entries = read.list(value, "resources", "resources");
        for (at, entry) in entries.iter().enumerate() {
            read.entry(entry, &format!("resources[{at}]"));
        }
        let Reading { rules, unknown, errors } = read;
        if !unknown.is_empty() {
            return Err(format!("strict decoding error: {}", unknown.join(", ")));
        }
        match &errors[..] {
            [] => Ok(Config { rules }),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    /// Who reads what lies under a key, the one who writes first; nobody: it is plain.
    pub fn providers(&self, key: &str) -> &[std::sync::Arc<Provider>] {
        if self.rules.is_empty() {
            return &[];
        }
        let resource = key.split('/').next().unwrap_or("");
        let group = resource.split_once('.').map_or("", |(_, group)| group);
        let named = self.rules.get(resource).or_else(|| self.rules.get(&format!("*.{group}")));
        named.or_else(|| self.rules.get("*.*")).map_or(&[], |list| list)
    }

    /// The names that rules stand under.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.rules.keys().map(String::as_str)
    }
}

#[derive(Default)]
struct Reading {
    rules: BTreeMap<String, Vec<std::sync::Arc<Provider>>>,
    /// Fields that there are not: said alone, before anything else.
    unknown: Vec<String>,
    errors: Vec<String>,
}

impl Reading {
    fn required(&mut self, path: &str, why: &str) {
        self.errors.push(format!("{path}: Required value: {why}"));
    }

    fn invalid(&mut self, path: &str, value: &str, why: &str) {
        self.errors.push(format!("{path}: Invalid value: {value}: {why}"));
    }

    /// Refuses fields that there are not.
    fn only(&mut self, value: &Value, path: &str, fields: &[&str]) {
        for name in value.as_object().into_iter().flat_map(|map| map.keys()) {
            if !fields.contains(&name.as_str()) {
                let dot = if path.is_empty() { "" } else { "." };
                self.unknown.push(format!("unknown field \"{path}{dot}{name}\""));
            }
        }
    }

    /// A list that may not be empty; `what` as it is called when it is.
    fn list<'a>(&mut self, value: &'a Value, name: &str, path: &str) -> &'a [Value] {
        match &value[name] {
            Value::Array(list) if !list.is_empty() => list,
            Value::Null | Value::Array(_) => {
                let what = if name == "keys" { "keys" } else { path };
                self.required(path, &format!("at least one {what} is required"));
                &[]
            }
            _ => {
                self.errors.push(format!("{path}: it has to be a list"));
                &[]
            }
        }
    }

    fn entry(&mut self, entry: &Value, path: &str) {
        self.only(entry, path, &["resources", "providers"]);
        let at = format!("{path}.resources");
        let names: Vec<String> = self
            .list(entry, "resources", &at)
            .iter()
            .map(|name| name.as_str().unwrap_or("").to_owned())
            .collect();
        self.overlap(&names, &at);
        let before = self.errors.len();
        names.iter().enumerate().for_each(|(i, name)| self.name(name, &format!("{at}[{i}]")));
        let at = format!("{path}.providers");
        let listed = self.list(entry, "providers", &at);
        let providers: Vec<_> = listed
            .iter()
            .enumerate()
            .filter_map(|(i, provider)| self.provider(provider, &format!("{at}[{i}]")))
            .map(std::sync::Arc::new)
            .collect();
        if self.errors.len() == before {
            names.iter().for_each(|name| self.rule(name, &providers));
        }
    }

    fn rule(&mut self, name: &str, providers: &[std::sync::Arc<Provider>]) {
        let group = name.split_once('.').map_or("", |(_, group)| group);
        let any = format!("*.{group}");
        for earlier in [any.as_str(), "*.*"] {
            if self.rules.contains_key(earlier) {
                let masked = format!("resource {name:?} is masked by earlier rule {earlier:?}");
                return self.errors.push(format!("error while building transformers: {masked}"));
            }
        }
        self.rules.entry(name.to_owned()).or_default().extend(providers.iter().cloned());
    }

    fn overlap(&mut self, names: &[String], path: &str) {
        let split = |name: &String| -> (String, String) {
            let (resource, group) = name.split_once('.').unwrap_or((name, ""));
            (resource.to_owned(), group.to_owned())
        };
        let all: BTreeSet<(String, String)> = names.iter().map(split).collect();
        let shown = skiff_json::to_string(names).unwrap_or_default();
        if all.len() < names.len() {
            let why = "the same resource cannot be specified multiple times";
            self.invalid(path, &shown, why);
        }
        let mut of_group: BTreeMap<&str, usize> = BTreeMap::new();
        all.iter().for_each(|(_, group)| *of_group.entry(group).or_default() += 1);
        let stars = || all.iter().filter(|(resource, _)| resource == "*");
        let masks = |group: &str| if group == "*" { all.len() > 1 } else { of_group[group] > 1 };
        if stars().any(|(_, group)| masks(group)) {
            let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not \
                       allowed as they will be masked";
            self.invalid(path, &shown, why);
        }
    }

    fn name(&mut self, name: &str, path: &str) {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        let why = if name.chars().any(char::is_uppercase) {
            "resource name should not contain capital letters"
        } else if name == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"]
            .contains(&name)
        {
            "resources which do not have REST API/s cannot be encrypted"
        } else if group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file"
        } else if group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if group == "*" && resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            return;
        };
        self.invalid(path, &format!("{name:?}"), why);
    }

    fn provider(&mut self, provider: &Value, path: &str) -> Option<Provider> {
        const NAMES: [&str; 5] = ["kms", "aesgcm", "aescbc", "secretbox", "identity"];
        self.only(provider, path, &NAMES);
        let found: Vec<&str> = NAMES
            .into_iter()
            .filter(|name| provider.get(name).is_some_and(|it| !it.is_null()))
            .collect();
        match found[..] {
            ["identity"] => Some(Provider::Identity),
            ["kms"] => {
                self.errors.push(format!(
                    "{path}.kms: Forbidden: Skiff asks no KMS yet: use aescbc, aesgcm, secretbox or identity"
                ));
                None
            }
            [name] => self.keys(name, &provider[name], &format!("{path}.{name}")),
            [] => {
                let why = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, \
                           Identity";
                self.invalid(path, "{}", why);
                None
            }
            _ => {
                let why = "more than one provider specified in a single element, should split into different list \
                           elements";
                self.invalid(path, &found.join(", "), why);
                None
            }
        }
    }

    fn keys(&mut self, provider: &str, value: &Value, path: &str) -> Option<Provider> {
        self.only(value, path, &["keys"]);
        let path = format!("{path}.keys");
        let listed = self.list(value, "keys", &path).iter().enumerate();
        let keys: Vec<Option<Key>> =
            listed.map(|(i, key)| self.key(provider, key, &format!("{path}[{i}]"))).collect();
        let keys: Option<Vec<Key>> = keys.into_iter().collect();
        keys.filter(|keys| !keys.is_empty()).map(Provider::Keys)
    }

    fn key(&mut self, provider: &str, key: &Value, path: &str) -> Option<Key> {
        self.only(key, path, &["name", "secret"]);
        let text = |name: &str| key[name].as_str().unwrap_or("");
        let (name, secret) = (text("name"), text("secret"));
        for (field, given) in [("name", name), ("secret", secret)] {
            if given.is_empty() {
                let why = format!("{field} is a mandatory field for a key");
                self.required(&format!("{path}.{field}"), &why);
            }
        }
        if secret.is_empty() {
            return None;
        }
        if name.contains(':') {
            // It ends the name of a key in what is stored.
            let why = "a key's name must not contain ':'";
            self.invalid(&format!("{path}.name"), &format!("{name:?}"), why);
            return None;
        }
        let (path, hidden) = (format!("{path}.secret"), "\"REDACTED\"");
        let Ok(secret) = BASE64_STANDARD.decode(secret) else {
            self.invalid(&path, hidden, "secrets must be base64 encoded");
            return None;
        };
        let made = Key::new(provider, name, &secret);
        if made.is_none() {
            let (length, sizes) = (secret.len(), sizes(provider));
            let why = format!(
                "secret is not of the expected length, got {length}, expected one of {sizes}"
            );
            self.invalid(&path, hidden, &why);
        }
        made
    }
}

/// The lengths of keys, as upstream prints them. AES-192 in Galois mode is not among what is at hand.
fn sizes(provider: &str) -> &'static str {
    match provider {
        "secretbox" => "[32]",
        "aesgcm" => "[16 32]",
        _ => "[16 24 32]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn read(entries: &str) -> Result<Config, String> {
        let head = "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration";
        Config::parse(format!("{head}, resources: [{entries}]}}").as_bytes())
    }

    /// Its words, in lines of a page.
    fn refused(entries: &str, expected: Expect) {
        let said = read(entries).err().unwrap_or_default().replace(KEY, "KEY");
        let mut lines = vec![String::new()];
        for word in said.split(' ') {
            match lines.last_mut() {
                Some(line) if line.len() + word.len() < 90 => *line += &format!("{word} "),
                _ => lines.push(format!("{word} ")),
            }
        }
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    fn with_key(key: &str) -> String {
        format!("{{resources: [secrets], providers: [{{aescbc: {{keys: [{key}]}}}}]}}")
    }

    /// As upstream's kube-apiserver 1.37.1 ends with them, but for what KMS is told and that secrets are not shown.
    #[test]
    fn what_is_wrong_is_named_in_upstreams_words() {
        refused("", expect!["resources: Required value: at least one resources is required"]);
        refused(
            "{resources: [secrets]}",
            expect![
                "resources[0].providers: Required value: at least one resources[0].providers is required"
            ],
        );
        refused(
            &with_key(""),
            expect![
                "resources[0].providers[0].aescbc.keys: Required value: at least one keys is required"
            ],
        );
        refused(
            &with_key("{name: a, secret: c2hvcnQ=}, {secret: x}, {name: b}"),
            expect![[r#"
                [resources[0].providers[0].aescbc.keys[0].secret: Invalid value: "REDACTED": secret is
                not of the expected length, got 5, expected one of [16 24 32],
                resources[0].providers[0].aescbc.keys[1].name: Required value: name is a mandatory field
                for a key, resources[0].providers[0].aescbc.keys[1].secret: Invalid value: "REDACTED":
                secrets must be base64 encoded, resources[0].providers[0].aescbc.keys[2].secret: Required
                value: secret is a mandatory field for a key]"#]],
        );
        refused(
            "{resources: [secrets, secrets], providers: [{identity: {}}]}",
            expect![[r#"
                resources[0].resources: Invalid value: ["secrets","secrets"]: the same resource cannot be
                specified multiple times"#]],
        );
        let any = "{resources: ['*.*'], providers: [{identity: {}}]}";
        refused(
            &format!("{any}, {{resources: [a.b], providers: [{{identity: {{}}}}]}}"),
            expect![[
                r#"error while building transformers: resource "a.b" is masked by earlier rule "*.*""#
            ]],
        );
        let names = "[Secrets, '*', a.events.k8s.io, 'a.*']";
        let providers = "[{identity: {}, kms: {}}, {}, {kms: {}}]";
        refused(
            &format!("{{resources: {names}, providers: {providers}}}"),
            expect![[r#"
                [resources[0].resources: Invalid value: ["Secrets","*","a.events.k8s.io","a.*"]: using
                overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed
                as they will be masked, resources[0].resources[0]: Invalid value: "Secrets": resource
                name should not contain capital letters, resources[0].resources[1]: Invalid value: "*":
                use '*.' to encrypt all the resources from core API group or *.* to encrypt all
                resources, resources[0].resources[2]: Invalid value: "a.events.k8s.io": '*.events.k8s.io'
                objects are stored using the 'events' API group in etcd. Use 'events' instead in the
                config file, resources[0].resources[3]: Invalid value: "a.*": encrypting the same
                resource across groups is not supported, resources[0].providers[0]: Invalid value: kms,
                identity: more than one provider specified in a single element, should split into
                different list elements, resources[0].providers[1]: Invalid value: {}: provider does not
                contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity,
                resources[0].providers[2].kms: Forbidden: Skiff asks no KMS yet: use aescbc, aesgcm,
                secretbox or identity]"#]],
        );
        refused(
            "{resources: [secrets], provider: []}",
            expect![[r#"strict decoding error: unknown field "resources[0].provider""#]],
        );
        assert!(Config::parse(b"kind: Pod\napiVersion: v1\n").is_err());
        assert!(Config::parse(b"{").is_err());
    }

    #[test]
    fn the_rule_that_is_nearest_counts() {
        let rule = |names: &str, key: &str| {
            let keys = format!("[{{name: {key}, secret: {KEY}}}]");
            format!("{{resources: [{names}], providers: [{{secretbox: {{keys: {keys}}}}}]}}")
        };
        let rules = [
            rule("secrets", "a"),
            rule("secrets", "b"),
            rule("deployments.apps", "c"),
            rule("'*.apps'", "d"),
            rule("'*.*'", "e"),
        ];
        let config = read(&rules.join(", ")).unwrap();
        let names = |key: &str| -> String {
            let forms = config.providers(key).iter().map(|provider| provider.form());
            forms.map(|form| form.split(':').nth(4).unwrap_or("").to_owned()).collect()
        };
        let keys =
            ["secrets/n/a", "deployments.apps/n/a", "replicasets.apps/n/a", "pods/n/a", "x.y.z//a"];
        assert_eq!(keys.map(names), ["ab", "c", "d", "e", "e"]);
        assert_eq!(read(&rule("'*.'", "a")).unwrap().providers("pods/n/a").len(), 1);
        assert!(read(&rule("'*.'", "a")).unwrap().providers("pods.x/n/a").is_empty());
    }
}
