//! Chain: which authorizers are asked, in which order, as a file of the machine's owner says it
//! (`AuthorizationConfiguration`, KEP-3221). It reads and checks; the deciding is done elsewhere.

use super::webhook::{Conditions, OnError, Webhook};
use crate::configured::{self, kubeconfig};
use serde::Deserialize;
use skiff_api::errors::{Errors, Path};
use skiff_api::{duration, names};
use skiff_base::World;
use skiff_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Authorizers with their names, in the order in which they are asked.
pub struct Chain(pub Vec<(String, Link)>);

/// One authorizer.
pub enum Link {
    Node,
    Rbac,
    AlwaysAllow,
    AlwaysDeny,
    Webhook(Arc<Webhook>),
}

impl Default for Chain {
    /// As kubeadm configures it.
    fn default() -> Chain {
        Chain(vec![("node".into(), Link::Node), ("rbac".into(), Link::Rbac)])
    }
}

/// All types that the file may name.
const TYPES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const POLICIES: [&str; 2] = ["NoOpinion", "Deny"];
const CONNECTIONS: [&str; 2] = ["InClusterConfig", "KubeConfigFile"];
const WITHIN_MOST: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    authorizers: Vec<Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "type")]
    sort: String,
    name: String,
    webhook: Option<Hook>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Hook {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: String,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: String,
    cache_unauthorized_requests: Option<bool>,
    timeout: String,
    subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: Connection,
    match_conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Connection {
    #[serde(rename = "type")]
    sort: String,
    kube_config_file: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    expression: String,
}

fn form() -> Value {
    json!({"#": "AuthorizationConfiguration", "authorizers": [{
        "#": "AuthorizerConfiguration", "type": "", "name": "", "webhook": {
            "#": "WebhookConfiguration", "authorizedTTL": "0s", "cacheAuthorizedRequests": true,
            "unauthorizedTTL": "0s", "cacheUnauthorizedRequests": true, "timeout": "0s",
            "subjectAccessReviewVersion": "", "matchConditionSubjectAccessReviewVersion": "",
            "failurePolicy": "",
            "connectionInfo": {"#": "WebhookConnectionInfo", "type": "", "kubeConfigFile": ""},
            "matchConditions": [{"#": "WebhookMatchCondition", "expression": ""}],
        },
    }]})
}

impl Chain {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &[u8], world: &World) -> Result<Chain, String> {
        let file: File =
            configured::read(text, configured::OF_SERVER, "AuthorizationConfiguration", &form())
                .map_err(|why| {
                    format!("failed to load AuthorizationConfiguration from file: {why}")
                })?;
        let (checked, errors) = check(&file);
        if !errors.is_empty() {
            return Err(errors.text());
        }
        let mut chain = Vec::new();
        let mut misnamed = Vec::new();
        for (entry, conditions) in file.authorizers.iter().zip(checked) {
            let sort = &*entry.sort;
            let name = sort.to_lowercase();
            if sort != "Webhook" && entry.name != name {
                let own = &entry.name;
                misnamed
                    .push(format!("expected name {name} for authorizer {sort} instead of {own}"));
            }
            let link = match (sort, &entry.webhook) {
                ("Node", _) => Link::Node,
                ("RBAC", _) => Link::Rbac,
                ("AlwaysAllow", _) => Link::AlwaysAllow,
                ("AlwaysDeny", _) => Link::AlwaysDeny,
                ("Webhook", Some(hook)) => Link::Webhook(webhook(hook, conditions, world)?),
                _ => return Err(format!("authorizer type {sort} is not supported here")),
            };
            chain.push((entry.name.clone(), link));
        }
        match &misnamed[..] {
            [] => Ok(Chain(chain)),
            wrong => Err(super::aggregate(wrong)),
        }
    }

    /// Whether this chain may follow one of these types while the server runs: what is built in has to be the same.
    ///
    /// # Errors
    /// What came or went.
    pub fn may_follow(&self, then: &BTreeSet<&'static str>) -> Result<(), String> {
        let now = self.built_in();
        if let Some(new) = now.difference(then).next() {
            return Err(format!(
                "authorizer type {new} is not allowed if it was not enabled at initial server startup"
            ));
        }
        let missing: Vec<&str> = then.difference(&now).copied().collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("missing required types: [{}]", missing.join(" ")))
        }
    }

    /// The types of what is built in.
    pub fn built_in(&self) -> BTreeSet<&'static str> {
        let sort = |link: &Link| match link {
            Link::Node => Some("Node"),
            Link::Rbac => Some("RBAC"),
            Link::AlwaysAllow => Some("AlwaysAllow"),
            Link::AlwaysDeny => Some("AlwaysDeny"),
            Link::Webhook(_) => None,
        };
        self.0.iter().filter_map(|(_, link)| sort(link)).collect()
    }
}

fn webhook(hook: &Hook, conditions: Conditions, world: &World) -> Result<Arc<Webhook>, String> {
    let path = std::path::Path::new(&hook.connection_info.kube_config_file);
    let reviewer = kubeconfig::load(path, span(&hook.timeout, Duration::ZERO), world)?;
    let life = |text: &str, otherwise: u64, cached: Option<bool>| match cached {
        Some(false) => Duration::ZERO,
        _ => span(text, Duration::from_secs(otherwise)),
    };
    let (yes, no) = (hook.cache_authorized_requests, hook.cache_unauthorized_requests);
    Ok(Arc::new(Webhook::new(
        reviewer,
        &hook.subject_access_review_version,
        [life(&hook.authorized_ttl, 5 * 60, yes), life(&hook.unauthorized_ttl, 30, no)],
        if hook.failure_policy == "Deny" { OnError::Deny } else { OnError::NoOpinion },
        conditions,
        world,
    )))
}

/// A span that was checked; what is not said, or said to be nothing, is the default.
fn span(text: &str, otherwise: Duration) -> Duration {
    let nanos = duration::parse(text).ok().and_then(|nanos| u64::try_from(nanos).ok());
    nanos.filter(|nanos| *nanos > 0).map_or(otherwise, Duration::from_nanos)
}

/// All that is wrong, and the conditions of each authorizer.
fn check(file: &File) -> (Vec<Conditions>, Errors) {
    let mut errors = Errors::new();
    let all = Path::new("authorizers");
    if file.authorizers.is_empty() {
        errors.required(&all, "at least one authorization mode must be defined");
    }
    let (mut sorts, mut known) = (BTreeSet::new(), BTreeSet::new());
    let mut conditions = Vec::new();
    for (index, entry) in file.authorizers.iter().enumerate() {
        let path = all.index(index);
        conditions.push(Conditions::default());
        let sort = &*entry.sort;
        if sort.is_empty() {
            errors.required(&path.child("type"), "");
            continue;
        }
        if !TYPES.contains(&sort) {
            errors.not_supported(&path.child("type"), sort, &TYPES);
            continue;
        }
        if sort != "Webhook" && !sorts.insert(sort) {
            errors.duplicate(&path.child("type"), sort);
            continue;
        }
        let name = path.child("name");
        if entry.name.is_empty() {
            errors.required(&name, "");
        } else if !known.insert(&*entry.name) {
            errors.duplicate(&name, &*entry.name);
        } else if let wrong @ [_, ..] = &names::subdomain(&entry.name)[..] {
            let why = format!("authorizer name is invalid: {}", wrong.join(", "));
            errors.invalid(&name, &*entry.name, &why);
        }
        match &entry.webhook {
            Some(_) if sort != "Webhook" => errors.invalid(
                &path.child("webhook"),
                "non-null",
                "may only be specified when type=Webhook",
            ),
            None if sort == "Webhook" => {
                errors.required(&path.child("webhook"), "required when type=Webhook");
            }
            Some(hook) => conditions[index] = check_hook(hook, &path, &mut errors),
            None => {}
        }
    }
    (conditions, errors)
}

fn check_hook(hook: &Hook, path: &Path, errors: &mut Errors) -> Conditions {
    let nanos = |text: &str| duration::parse(text).unwrap_or(0);
    let timeout = path.child("timeout");
    match nanos(&hook.timeout) {
        0 => errors.required(&timeout, ""),
        given if given < 0 || given > WITHIN_MOST.as_nanos().try_into().unwrap_or(i64::MAX) => {
            errors.invalid(&timeout, &*hook.timeout, "must be > 0s and <= 30s");
        }
        _ => {}
    }
    let lives =
        [("authorizedTTL", &hook.authorized_ttl), ("unauthorizedTTL", &hook.unauthorized_ttl)];
    for (field, given) in lives {
        if nanos(given) < 0 {
            errors.invalid(&path.child(field), &**given, "must be > 0s");
        }
    }
    one_of(
        &path.child("subjectAccessReviewVersion"),
        &hook.subject_access_review_version,
        &VERSIONS,
        errors,
    );
    let of_conditions = path.child("matchConditionSubjectAccessReviewVersion");
    match &*hook.match_condition_subject_access_review_version {
        "" if !hook.match_conditions.is_empty() => {
            errors.required(&of_conditions, "required if match conditions are specified");
        }
        "" | "v1" => {}
        other => errors.not_supported(&of_conditions, other, &VERSIONS[..1]),
    }
    one_of(&path.child("failurePolicy"), &hook.failure_policy, &POLICIES, errors);
    check_connection(&hook.connection_info, &path.child("connectionInfo"), errors);
    let texts = hook.match_conditions.iter().map(|condition| &*condition.expression);
    Conditions::check(&texts.collect::<Vec<_>>(), path, errors)
}

fn one_of(path: &Path, given: &str, supported: &[&str], errors: &mut Errors) {
    match given {
        "" => errors.required(path, ""),
        given if !supported.contains(&given) => errors.not_supported(path, given, supported),
        _ => {}
    }
}

fn check_connection(connection: &Connection, path: &Path, errors: &mut Errors) {
    let (kind, file) = (path.child("type"), path.child("kubeConfigFile"));
    let given = &*connection.kube_config_file;
    match &*connection.sort {
        "" => errors.required(&kind, ""),
        "InClusterConfig" => {
            let why = "Skiff runs in no pod: type=KubeConfigFile is supported here";
            errors.invalid(&kind, "InClusterConfig", why);
        }
        "KubeConfigFile" if given.is_empty() => errors.required(&file, ""),
        "KubeConfigFile" if !given.starts_with('/') => {
            errors.invalid(&file, given, "must be an absolute path");
        }
        "KubeConfigFile" => match std::fs::metadata(given) {
            Err(error) => {
                let why =
                    format!("error loading file: stat {given}: {}", configured::known(&error));
                errors.invalid(&file, given, &why);
            }
            Ok(found) if !found.is_file() => errors.invalid(&file, given, "must be a regular file"),
            Ok(_) => {}
        },
        other => errors.not_supported(&kind, other, &CONNECTIONS),
    }
}
