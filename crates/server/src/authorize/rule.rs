//! Rules: what one rule of a role allows, and whether some rules cover others (API reference:
//! PolicyRule). Pure.

use super::Attributes;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One rule, of resources or of paths.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "list")]
    pub verbs: Vec<String>,
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub paths: Vec<String>,
}

/// A list that may be null.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_else(Vec::new))
}

impl Rule {
    /// The two rules that allow everything.
    pub fn everything() -> [Rule; 2] {
        let all = || vec!["*".to_owned()];
        [
            Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), paths: all(), ..Rule::default() },
        ]
    }

    /// Whether this rule alone allows it.
    pub fn allows(&self, asked: &Attributes) -> bool {
        if !has_or_all(&self.verbs, &asked.verb) {
            return false;
        }
        if let Some(path) = &asked.path {
            return self.paths.iter().any(|own| path_matches(own, path));
        }
        has_or_all(&self.api_groups, &asked.group)
            && self.resources.iter().any(|own| resource_matches(own, asked))
            && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
    }

    /// The rule in parts of one verb, group, resource and name (or path) each.
    fn parts(&self) -> Vec<Rule> {
        let one = |text: &String| vec![text.clone()];
        let mut parts = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part = Rule {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Rule::default()
                    };
                    let named = |name| Rule { resource_names: one(name), ..part.clone() };
                    match &self.resource_names[..] {
                        [] => parts.push(part),
                        names => parts.extend(names.iter().map(named)),
                    }
                }
            }
        }
        for path in &self.paths {
            let part = |verb| Rule { verbs: one(verb), paths: one(path), ..Rule::default() };
            parts.extend(self.verbs.iter().map(part));
        }
        parts
    }

    /// Whether this rule covers a part.
    fn covers(&self, part: &Rule) -> bool {
        let all = |own: &[String], of: &[String]| {
            own.iter().any(|o| o == "*") || of.iter().all(|o| own.contains(o))
        };
        let resource = |path: &String| {
            let below = path.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            let has = |text: &str| self.resources.iter().any(|own| own == text);
            has("*") || has(path) || below.is_some_and(|below| has(&below))
        };
        let names = match (&self.resource_names[..], &part.resource_names[..]) {
            ([], _) => true,
            (_, []) => false,
            (own, names) => names.iter().all(|name| own.contains(name)),
        };
        all(&self.verbs, &part.verbs)
            && all(&self.api_groups, &part.api_groups)
            && part.resources.iter().all(resource)
            && part.paths.iter().all(|path| self.paths.iter().any(|own| path_matches(own, path)))
            && names
    }
}

/// What of `wanted` no rule of `own` covers, in parts.
pub fn missing(own: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let parts = wanted.iter().flat_map(Rule::parts);
    parts.filter(|part| !own.iter().any(|rule| rule.covers(part))).collect()
}

/// Joins parts that differ in nothing but their verbs.
pub fn joined(parts: Vec<Rule>) -> Vec<Rule> {
    let mut whole = Vec::new();
    let mut by_resource: BTreeMap<[Vec<String>; 3], Rule> = BTreeMap::new();
    for part in parts {
        if !part.paths.is_empty() {
            whole.push(part);
            continue;
        }
        let key = [&part.api_groups, &part.resources, &part.resource_names].map(Vec::clone);
        by_resource
            .entry(key)
            .and_modify(|rule| rule.verbs.extend(part.verbs.iter().cloned()))
            .or_insert(part);
    }
    whole.extend(by_resource.into_values());
    whole
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let field = |(name, list): &(&str, &Vec<String>)| format!("{name}:{}", quoted(list));
        let shown: Vec<String> = fields.iter().filter(|f| !f.1.is_empty()).map(field).collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list of texts as messages show it: `["a" "b"]`.
pub fn quoted(texts: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{:?}", text.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == "*" || own == wanted)
}

/// `*`, `pods`, `pods/log` or `*/scale`.
fn resource_matches(own: &str, asked: &Attributes) -> bool {
    let (resource, sub) = match own.split_once('/') {
        None => return own == "*" || (asked.subresource.is_empty() && own == asked.resource),
        Some(parts) => parts,
    };
    !asked.subresource.is_empty()
        && sub == asked.subresource
        && (resource == "*" || resource == asked.resource)
}

/// `/version`, `/api/*` or `*`.
fn path_matches(own: &str, path: &str) -> bool {
    own == path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `VERBS GROUPS RESOURCES [NAMES]` or `VERBS PATHS`.
    fn rule(text: &str) -> Rule {
        super::super::policy::rule(text).expect("a rule")
    }

    /// `VERB GROUP RESOURCE[/SUB] [NAME]` or `VERB PATH`.
    fn asked(text: &str) -> Attributes {
        let words: Vec<&str> = text.split(' ').collect();
        let mut asked = Attributes { verb: words[0].into(), ..Attributes::default() };
        if words[1].starts_with('/') {
            asked.path = Some(words[1].into());
            return asked;
        }
        let (resource, sub) = words[2].split_once('/').unwrap_or((words[2], ""));
        asked.group = words[1].replace('-', "");
        (asked.resource, asked.subresource) = (resource.into(), sub.into());
        asked.name = words.get(3).copied().unwrap_or("").into();
        asked
    }

    #[test]
    fn rules_allow_what_they_name() {
        for (own, ask, expected) in [
            ("get,list - pods", "get - pods", true),
            ("get,list - pods", "get - pods/log", false),
            ("get - pods/log", "get - pods/log a", true),
            ("get - pods/log", "get - pods", false),
            ("get apps */scale", "get apps deployments/scale", true),
            ("get apps */scale", "get apps deployments", false),
            ("* * *", "delete apps deployments/scale x", true),
            ("* * *", "get /metrics", false),
            ("get - pods a,b", "get - pods b", true),
            ("get - pods a,b", "get - pods", false),
            ("get - pods", "get apps pods", false),
            ("get /healthz,/api/*", "get /api/v1", true),
            ("get /healthz,/api/*", "get /api", false),
            ("* *", "post /x", true),
        ] {
            assert_eq!(rule(own).allows(&asked(ask)), expected, "{own} for {ask}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |own: &[&str], wanted: &[&str]| {
            let rules = |texts: &[&str]| texts.iter().map(|t| rule(t)).collect::<Vec<_>>();
            let missing = joined(missing(&rules(own), &rules(wanted)));
            missing.iter().map(Rule::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(check(&["* * *", "* *"], &["get - pods", "get /x"]), "");
        assert_eq!(check(&["get - */log"], &["get - pods/log"]), "");
        assert_eq!(check(&["get - pods a"], &["get - pods a"]), "");
        assert_eq!(
            check(&["get - pods"], &["get,list - pods,secrets"]),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
        );
        assert_eq!(
            check(&["get - pods a"], &["get - pods", "get /x"]),
            "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}"
        );
    }
}
