//! Policy: how much is told of which request (`audit.k8s.io/v1`: Policy; documentation page "Auditing"). Pure: a file's
//! text becomes rules, and the attributes of a request a verdict; the first rule that fits decides.

use crate::authorize::Attributes;
use crate::configured;
use serde::Deserialize;
use skiff_api::errors::{Errors, Path as Field};
use skiff_api::names;
use skiff_api::wire::User;
use skiff_json::{Value, json};
use std::path::Path;

const GROUP: &str = "audit.k8s.io";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    #[default]
    None,
    /// Who, what, when, and what came of it.
    Metadata,
    /// The object that was sent as well.
    Request,
    /// The answer as well.
    RequestResponse,
}

impl Level {
    pub const ALL: [Level; 4] =
        [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];
    pub const NAMES: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];

    pub fn name(self) -> &'static str {
        Level::NAMES[self as usize]
    }
}

/// When something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    /// The head of an answer that goes on for long.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    const ALL: [Stage; 4] =
        [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];
    const NAMES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

    pub fn name(self) -> &'static str {
        Stage::NAMES[self as usize]
    }
}

/// Some of the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages(u8);

impl Stages {
    pub fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    fn named(names: &[String]) -> Stages {
        let of = |stage: &Stage| names.iter().any(|name| name == stage.name());
        let found = Stage::ALL.into_iter().filter(of);
        Stages(found.fold(0, |all, stage| all | 1 << stage as u8))
    }
}

/// Whether the bodies that are told show who owns which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Managed {
    #[default]
    Kept,
    Omitted,
}

/// What a policy says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    pub level: Level,
    pub omitted: Stages,
    pub managed: Managed,
}

/// A policy as its file says it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
    #[serde(skip)]
    verdict: Verdict,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// The fields of a policy, for the strict reader of configuration files.
fn form() -> Value {
    json!({
        "#": "Policy", "metadata": {"#": "ObjectMeta", "name": "", "creationTimestamp": ""},
        "omitStages": [""], "omitManagedFields": true,
        "rules": [{
            "#": "PolicyRule", "level": "", "users": [""], "userGroups": [""], "verbs": [""],
            "resources": [{"#": "GroupResources", "group": "", "resources": [""], "resourceNames": [""]}],
            "namespaces": [""], "nonResourceURLs": [""], "omitStages": [""], "omitManagedFields": true,
        }],
    })
}

impl Policy {
    /// Reads the file of a policy.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words, with its path.
    pub fn load(path: &Path) -> Result<Policy, String> {
        let file = path.display();
        let text = std::fs::read(path).map_err(|error| {
            let why = configured::known(&error);
            format!(
                "loading audit policy file: failed to read file path \"{file}\": open {file}: {why}"
            )
        })?;
        Policy::parse(&text)
            .map_err(|why| format!("loading audit policy file: {why}: from file {file}"))
    }

    /// # Errors
    /// What is wrong, in upstream's words. A field that upstream passes over with a warning is an error here.
    pub fn parse(text: &[u8]) -> Result<Policy, String> {
        let read = configured::read(text, (GROUP, &["v1"]), "Policy", &form());
        let mut policy: Policy = read.map_err(|why| match why.starts_with("strict") {
            true => why,
            false => format!("failed decoding: {why}"),
        })?;
        let errors = policy.wrong();
        if !errors.is_empty() {
            return Err(errors.text());
        }
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".into());
        }
        let (stages, managed) = (Stages::named(&policy.omit_stages), policy.omit_managed_fields);
        for rule in &mut policy.rules {
            let omits = rule.omit_managed_fields.unwrap_or(managed);
            let level = Level::ALL.into_iter().find(|level| level.name() == rule.level);
            rule.verdict = Verdict {
                level: level.unwrap_or_default(),
                omitted: Stages(stages.0 | Stages::named(&rule.omit_stages).0),
                managed: if omits { Managed::Omitted } else { Managed::Kept },
            };
        }
        Ok(policy)
    }

    fn wrong(&self) -> Errors {
        let mut errors = Errors::new();
        wrong_stages(&self.omit_stages, &Field::new("omitStages"), &mut errors);
        for (at, rule) in self.rules.iter().enumerate() {
            rule.wrong(&Field::new("rules").index(at), &mut errors);
        }
        errors
    }

    /// What is to be told of a request; there is no user behind one that could not prove who sent it.
    pub fn judge(&self, user: Option<&User>, asked: &Attributes) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.fits(user, asked));
        rule.map_or_else(Verdict::default, |rule| rule.verdict)
    }
}

impl Rule {
    fn wrong(&self, path: &Field, errors: &mut Errors) {
        match &*self.level {
            "" => errors.required(&path.child("level"), ""),
            level if Level::NAMES.contains(&level) => {}
            level => errors.not_supported(&path.child("level"), level, &Level::NAMES),
        }
        for (at, url) in self.urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let urls = path.child("nonResourceURLs");
            let path = urls.index(at);
            if !url.starts_with('/') {
                let why = "non-resource URL rules must begin with a '/' character";
                errors.invalid(&path, &**url, why);
            }
            if star_within(url) {
                let why = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.invalid(&path, &**url, why);
            }
        }
        for of in &self.resources {
            let (path, group) = (path.child("resources"), &*of.group);
            let wrong = names::subdomain(group);
            if !group.is_empty() && group != "*" && !wrong.is_empty() {
                errors.invalid(&path.child("group"), group, &wrong.join(","));
            }
            if !of.resource_names.is_empty() && of.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                errors.invalid(&path.child("resourceNames"), of.resource_names.clone(), why);
            }
        }
        wrong_stages(&self.omit_stages, &path.child("omitStages"), errors);
        let for_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if for_resources && !self.urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&path.child("nonResourceURLs"), self.urls.clone(), why);
        }
    }

    fn fits(&self, user: Option<&User>, asked: &Attributes) -> bool {
        let name = user.map(|user| &user.name);
        let groups = user.map_or(&[][..], |user| &user.groups);
        if !self.users.is_empty() && !name.is_some_and(|name| self.users.contains(name))
            || !self.user_groups.is_empty()
                && !groups.iter().any(|it| self.user_groups.contains(it))
            || !self.verbs.is_empty() && !self.verbs.contains(&asked.verb)
        {
            return false;
        }
        match &asked.path {
            None if !self.resources.is_empty() || !self.namespaces.is_empty() => {
                self.fits_resource(asked)
            }
            Some(path) if !self.urls.is_empty() => {
                self.urls.iter().any(|url| match url.strip_suffix('*') {
                    Some(start) => path.starts_with(start.trim_end_matches('*')),
                    None => url == path,
                })
            }
            None => self.urls.is_empty(),
            Some(_) => self.resources.is_empty() && self.namespaces.is_empty(),
        }
    }

    fn fits_resource(&self, asked: &Attributes) -> bool {
        if !self.namespaces.is_empty() && !self.namespaces.contains(&asked.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|it| it.fits(asked))
    }
}

impl Resources {
    fn fits(&self, asked: &Attributes) -> bool {
        let (resource, part) = (&*asked.resource, &*asked.subresource);
        let fits = |pattern: &String| match pattern.split_once('/') {
            None => pattern == "*" || (pattern == resource && part.is_empty()),
            Some(("*", of)) if !part.is_empty() && of == part => true,
            Some((of, "*")) => of == resource,
            Some((of, entry)) => of == resource && entry == part && !part.is_empty(),
        };
        if self.group != asked.group && self.group != "*" {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&asked.name);
        self.resources.is_empty() || (named && self.resources.iter().any(fits))
    }
}

/// Whether a star stands before the last character.
fn star_within(url: &str) -> bool {
    let mut chars = url.chars();
    chars.next_back();
    chars.as_str().contains('*')
}

fn wrong_stages(stages: &[String], path: &Field, errors: &mut Errors) {
    for (at, stage) in stages.iter().enumerate() {
        if !Stage::NAMES.contains(&&**stage) {
            let why = format!("allowed stages are {}", Stage::NAMES.join(","));
            errors.invalid(&path.index(at), &**stage, &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::url::{Query, Target, parse};
    use expect_test::expect;

    const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let mut out = String::new();
        for rest in [
            "",
            "foo: 1\nrules:\n- level: None\n  bar: 1\n",
            "rules:\n- level: None\n  level: Metadata\n",
            "rules:\n- level: none\n- users: [a]\n",
            "omitStages: [Nothing]\nrules:\n- level: None\n  omitStages: [X]\n",
            "rules:\n- level: None\n  nonResourceURLs: [a, /b*c, '', '*', '/d*']\n- level: None\n  nonResourceURLs: [/a]\n  \
             resources: [{group: ''}]\n",
            "rules:\n- level: None\n  resources: [{group: 'A/b', resourceNames: [x]}]\n",
            "rules: x\n",
        ] {
            let said = Policy::parse(format!("{HEAD}{rest}").as_bytes());
            out += &said.map_or_else(|why| why, |_| "fine".into());
            out += "\n";
        }
        for text in ["{", "", "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\n"] {
            out += &(Policy::parse(text.as_bytes()).expect_err("it is none") + "\n");
        }
        expect![[r#"
            loaded illegal policy with 0 rules
            strict decoding error: unknown field "foo", unknown field "rules[0].bar"
            strict decoding error: yaml: unmarshal errors:
              line 5: key "level" already set in map
            [rules[0].level: Unsupported value: "none": supported values: "None", "Metadata", "Request", "RequestResponse", rules[1].level: Required value]
            [omitStages[0]: Invalid value: "Nothing": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic, rules[0].omitStages[0]: Invalid value: "X": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic]
            [rules[0].nonResourceURLs[0]: Invalid value: "a": non-resource URL rules must begin with a '/' character, rules[0].nonResourceURLs[1]: Invalid value: "/b*c": non-resource URL wildcards '*' must be the final character of the rule, rules[0].nonResourceURLs[2]: Invalid value: "": non-resource URL rules must begin with a '/' character, rules[1].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs]
            [rules[0].resources.group: Invalid value: "A/b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), rules[0].resources.resourceNames: Invalid value: ["x"]: using resourceNames requires at least one resource]
            failed decoding: json: cannot unmarshal string into Go struct field Policy.rules of type []v1.PolicyRule
            failed decoding: yaml: line 1: did not find expected ',' or '}'
            failed decoding: empty config data
            failed decoding: no kind "Policy" is registered for version "audit.k8s.io/v1beta1": Policy of audit.k8s.io/v1 is expected
        "#]].assert_eq(&out);
        let none = Policy::load(Path::new("/none")).expect_err("it is not there");
        expect![[r#"loading audit policy file: failed to read file path "/none": open /none: no such file or directory"#]].assert_eq(&none);
    }

    fn policy(rules: &str) -> Policy {
        Policy::parse(format!("{HEAD}{rules}").as_bytes()).expect("a policy")
    }

    fn level(policy: &Policy, user: &str, verb: &str, path: &str) -> Verdict {
        let user = User::system(user, &["group"]);
        let asked = match parse(path) {
            Target::Path(path) => Attributes::of_path(verb, &path),
            Target::Resource(of) => Attributes::of(verb, &of, &Query::default()),
        };
        policy.judge(Some(&user), &asked)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let patterns = ["*", "pods", "pods/log", "pods/*", "*/log"];
        let mut out = String::new();
        for path in
            ["/api/v1/namespaces/n/pods/p", "/api/v1/namespaces/n/pods/p/log", "/api/v1/nodes/n"]
        {
            for pattern in patterns {
                let rule = format!(
                    "rules: [{{level: Metadata, resources: [{{group: '', resources: ['{pattern}']}}]}}]"
                );
                let fits = level(&policy(&rule), "u", "get", path).level == Level::Metadata;
                out += &format!("{path} {pattern} {fits}\n");
            }
        }
        for rule in [
            "nonResourceURLs: ['*']",
            "nonResourceURLs: ['/healthz*']",
            "nonResourceURLs: ['/healthz']",
            "nonResourceURLs: ['/healthz/']",
            "namespaces: ['']",
            "verbs: [get]",
            "users: [u]",
            "users: [v]",
            "userGroups: [group]",
            "userGroups: [other]",
            "resources: [{group: ''}]",
            "resources: [{group: '*', resources: ['*'], resourceNames: [p]}]",
        ] {
            let policy = policy(&format!("rules: [{{level: Metadata, {rule}}}]"));
            let told =
                ["/healthz/etcd", "/healthz", "/api/v1/nodes", "/api/v1/namespaces/n/pods/p"].map(
                    |path| u8::from(level(&policy, "u", "get", path).level == Level::Metadata),
                );
            out += &format!("{rule} {told:?}\n");
        }
        expect![[r#"
            /api/v1/namespaces/n/pods/p * true
            /api/v1/namespaces/n/pods/p pods true
            /api/v1/namespaces/n/pods/p pods/log false
            /api/v1/namespaces/n/pods/p pods/* true
            /api/v1/namespaces/n/pods/p */log false
            /api/v1/namespaces/n/pods/p/log * true
            /api/v1/namespaces/n/pods/p/log pods false
            /api/v1/namespaces/n/pods/p/log pods/log true
            /api/v1/namespaces/n/pods/p/log pods/* true
            /api/v1/namespaces/n/pods/p/log */log true
            /api/v1/nodes/n * true
            /api/v1/nodes/n pods false
            /api/v1/nodes/n pods/log false
            /api/v1/nodes/n pods/* false
            /api/v1/nodes/n */log false
            nonResourceURLs: ['*'] [1, 1, 0, 0]
            nonResourceURLs: ['/healthz*'] [1, 1, 0, 0]
            nonResourceURLs: ['/healthz'] [0, 1, 0, 0]
            nonResourceURLs: ['/healthz/'] [0, 0, 0, 0]
            namespaces: [''] [0, 0, 1, 0]
            verbs: [get] [1, 1, 1, 1]
            users: [u] [1, 1, 1, 1]
            users: [v] [0, 0, 0, 0]
            userGroups: [group] [1, 1, 1, 1]
            userGroups: [other] [0, 0, 0, 0]
            resources: [{group: ''}] [0, 0, 1, 1]
            resources: [{group: '*', resources: ['*'], resourceNames: [p]}] [0, 0, 0, 1]
        "#]]
        .assert_eq(&out);
        let all = policy("rules: [{level: Metadata, users: [v]}, {level: Request}]");
        assert_eq!(all.judge(None, &Attributes::default()).level, Level::Request);
        assert_eq!(level(&all, "v", "get", "/x").level, Level::Metadata);
    }

    #[test]
    fn stages_and_owners_are_left_out_by_rule_and_for_all() {
        let policy = policy(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n- {level: Request, verbs: [get], \
             omitStages: [Panic], omitManagedFields: false}\n- {level: Request}\n",
        );
        let first = level(&policy, "u", "get", "/x");
        let left_out = |verdict: Verdict| Stage::ALL.map(|stage| verdict.omitted.has(stage));
        assert_eq!((left_out(first), first.managed), ([true, false, false, true], Managed::Kept));
        let other = level(&policy, "u", "put", "/x");
        assert_eq!(
            (left_out(other), other.managed),
            ([true, false, false, false], Managed::Omitted)
        );
    }
}
