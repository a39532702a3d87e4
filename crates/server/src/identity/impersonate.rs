//! Impersonate: a caller who may do so acts as somebody else, named by headers (documentation page
//! "Authenticating", user impersonation; KEP-5284). What follows sees only that somebody else.
//!
//! There are two ways to be allowed. The constrained one needs two rights: `impersonate:MODE` on
//! who is impersonated, and `impersonate-on:MODE:VERB` on what is asked; the mode says what sort of
//! user it is. The old way needs the verb `impersonate` alone and then allows everything that user
//! may do. The constrained modes are tried first, and their refusal is the one that is told.

use crate::authorize::{Attributes, Authorizer, MASTERS};
use crate::identity::authenticate::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use http::HeaderMap;
use skiff_api::Status;
use skiff_api::names;
use skiff_api::wire::User;
use std::collections::BTreeMap;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_EXTRA: &str = "authentication.kubernetes.io/node-name";

/// Groups and extra values that one request may name: each costs a decision.
const NAMED_MOST: usize = 256;

/// Whom a request is served as.
pub struct Acting {
    pub user: Arc<User>,
    /// Of one who acts as somebody else: the verb of the constrained mode, empty in the old way.
    pub constraint: Option<&'static str>,
}

/// The user that the request is to be served as: the caller, or whom the caller impersonates.
pub async fn impersonate(
    authorizer: &Authorizer,
    caller: Arc<User>,
    headers: &HeaderMap,
    asked: &Attributes,
) -> Result<Acting, Status> {
    let Some(wanted) = Wanted::read(headers)? else {
        return Ok(Acting { user: caller, constraint: None });
    };
    let attempt = Attempt { authorizer, caller: &caller, wanted: &wanted, asked };
    let mut first = None;
    for mode in [
        Mode::AssociatedNode,
        Mode::ArbitraryNode,
        Mode::ServiceAccount,
        Mode::UserInfo,
        Mode::Legacy,
    ] {
        if !mode.fits(&caller, &wanted) {
            continue;
        }
        match Box::pin(attempt.check(mode)).await {
            Ok(user) => {
                return Ok(Acting { user: Arc::new(user), constraint: Some(mode.constraint()) });
            }
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// Who is to be impersonated, as the headers say it.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    fn read(headers: &HeaderMap) -> Result<Option<Wanted>, Status> {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let one = |name: &str| headers.get(name).map(text).unwrap_or_else(String::new);
        let mut wanted = Wanted { name: one(USER), uid: one(UID), ..Wanted::default() };
        wanted.groups = headers.get_all(GROUP).iter().map(text).collect();
        for (header, value) in headers {
            if let Some(key) = header.as_str().strip_prefix(EXTRA) {
                let key = crate::request::url::decode(key).to_lowercase();
                wanted.extra.entry(key).or_default().push(text(value));
            }
        }
        let named = wanted.groups.len() + wanted.extra.values().map(Vec::len).sum::<usize>();
        if named > NAMED_MOST {
            return Err(Status::bad_request(format!(
                "requested {named} groups and extra values to impersonate, the most is {NAMED_MOST}"
            )));
        }
        if !wanted.name.is_empty() {
            return Ok(Some(wanted));
        }
        if wanted == Wanted::default() {
            return Ok(None);
        }
        let message = format!("requested {} without impersonating a user name", wanted.in_go());
        Err(Status::bad_request(message))
    }

    fn only_name(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    /// As Go prints it, which is how the message is known.
    fn in_go(&self) -> String {
        let list = |texts: &[String]| {
            let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        };
        let groups = match &self.groups[..] {
            [] => "[]string(nil)".to_owned(),
            groups => list(groups),
        };
        let entry = |(key, values): (&String, &Vec<String>)| format!("{key:?}:{}", list(values));
        let extra = match self.extra.is_empty() {
            true => "map[string][]string(nil)".to_owned(),
            false => {
                let entries: Vec<String> = self.extra.iter().map(entry).collect();
                format!("map[string][]string{{{}}}", entries.join(", "))
            }
        };
        format!(
            "&user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{groups}, Extra:{extra}}}",
            self.uid
        )
    }
}

/// What sort of user is impersonated, and how narrowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The node that the calling service account's pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Everybody else.
    UserInfo,
    /// The verb `impersonate` alone.
    Legacy,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "",
        }
    }

    /// The verb on who is impersonated.
    fn verb(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "impersonate:associated-node",
            Mode::ArbitraryNode => "impersonate:arbitrary-node",
            Mode::ServiceAccount => "impersonate:serviceaccount",
            Mode::UserInfo => "impersonate:user-info",
            Mode::Legacy => "impersonate",
        }
    }

    fn constraint(self) -> &'static str {
        if self == Mode::Legacy { "" } else { self.verb() }
    }

    fn fits(self, caller: &User, wanted: &Wanted) -> bool {
        let (node, account) = (node(&wanted.name), service_account(&wanted.name));
        // As upstream answers them: who may do everything is a node in the old way, without its group.
        if node.is_some() && caller.groups.iter().any(|group| group == MASTERS) {
            return self == Mode::Legacy;
        }
        match self {
            Mode::AssociatedNode => {
                let own = caller.extra.iter().find(|(key, _)| key == NODE_EXTRA);
                let own = own.and_then(|(_, values)| values.first()).map(String::as_str);
                let from_pod = service_account(&caller.name).is_some();
                wanted.only_name() && from_pod && node.is_some() && node == own
            }
            Mode::ArbitraryNode => wanted.only_name() && node.is_some(),
            Mode::ServiceAccount => wanted.only_name() && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Legacy => true,
        }
    }
}

/// The node of a node's user name.
fn node(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|node| names::subdomain(node).is_empty())
}

/// Namespace and name of a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = names::label(namespace).is_empty() && names::subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

struct Attempt<'a> {
    authorizer: &'a Authorizer,
    caller: &'a User,
    wanted: &'a Wanted,
    asked: &'a Attributes,
}

impl Attempt<'_> {
    /// Asks for all rights that the mode demands.
    async fn check(&self, mode: Mode) -> Result<User, Status> {
        if mode != Mode::Legacy {
            let verb = format!("impersonate-on:{}:{}", mode.name(), self.asked.verb);
            self.need(&Attributes { verb, ..self.asked.clone() }).await?;
        }
        let mut user = User {
            name: self.wanted.name.clone(),
            uid: self.wanted.uid.clone(),
            groups: self.wanted.groups.clone(),
            extra: self.wanted.extra.clone().into_iter().collect(),
        };
        self.check_name(mode, &mut user).await?;
        if !user.uid.is_empty() {
            self.need(&self.right(mode, AUTHENTICATION, "uids", &user.uid)).await?;
        }
        self.check_groups(mode).await?;
        self.check_extra(mode).await?;
        let has = |group: &str| user.groups.iter().any(|own| own == group);
        let missing = match user.name == ANONYMOUS {
            true => (!has(UNAUTHENTICATED)).then_some(UNAUTHENTICATED),
            false => (!has(UNAUTHENTICATED) && !has(AUTHENTICATED)).then_some(AUTHENTICATED),
        };
        user.groups.extend(missing.map(str::to_owned));
        Ok(user)
    }

    async fn check_name(&self, mode: Mode, user: &mut User) -> Result<(), Status> {
        let name = self.wanted.name.clone();
        let mut right = self.right(mode, own_group(mode), "users", &name);
        if let Some(node) = node(&name).filter(|_| mode != Mode::Legacy) {
            right.resource = "nodes".into();
            right.name = if mode == Mode::AssociatedNode { "*".into() } else { node.into() };
            user.groups = vec!["system:nodes".into()];
        }
        if let Some((namespace, account)) = service_account(&name) {
            (right.resource, right.name) = ("serviceaccounts".into(), account.into());
            right.namespace = namespace.into();
            if self.wanted.groups.is_empty() {
                user.groups = User::service_account(namespace, account).groups;
                user.groups.retain(|group| group != AUTHENTICATED);
            }
        }
        self.need(&right).await
    }

    async fn check_groups(&self, mode: Mode) -> Result<(), Status> {
        let right = |name: &str| self.right(mode, own_group(mode), "groups", name);
        let groups = &self.wanted.groups;
        if mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                let why = "impersonating the empty string group is not allowed";
                return Err(right("").refusal(self.caller, why));
            }
            if groups.iter().any(|group| group == MASTERS) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(right(MASTERS).refusal(self.caller, why));
            }
        }
        for group in groups {
            self.need(&right(group)).await?;
        }
        Ok(())
    }

    async fn check_extra(&self, mode: Mode) -> Result<(), Status> {
        let right = |key: &str, value: &str| Attributes {
            subresource: key.into(),
            ..self.right(mode, AUTHENTICATION, "userextras", value)
        };
        for (key, values) in &self.wanted.extra {
            if mode != Mode::Legacy
                && let Some(why) = wrong_extra(key, values)
            {
                return Err(right("", "").refusal(self.caller, &why));
            }
            for value in values {
                self.need(&right(key, value)).await?;
            }
        }
        Ok(())
    }

    fn right(&self, mode: Mode, group: &str, resource: &str, name: &str) -> Attributes {
        Attributes {
            verb: mode.verb().into(),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    async fn need(&self, right: &Attributes) -> Result<(), Status> {
        self.authorizer.check(self.caller, right).await
    }
}

/// Users and groups are of the core group in the old way.
fn own_group(mode: Mode) -> &'static str {
    if mode == Mode::Legacy { "" } else { AUTHENTICATION }
}

/// What the constrained modes do not take as extra.
fn wrong_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".into());
    }
    let path = "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: ";
    let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    match key.split_once('/') {
        None => return Some(format!("{path}{key:?}: {why}")),
        Some((domain, rest)) => {
            if let Some(why) = names::subdomain(domain).into_iter().next() {
                return Some(format!("{path}{domain:?}: {why}"));
            }
            if rest.is_empty() || rest.contains(['%', ' ', '?', '#', '\\']) {
                return Some(format!("{path}{rest:?}: Invalid path"));
            }
        }
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".into())
}

#[cfg(test)]
mod tests;
