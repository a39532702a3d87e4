//! Check: what is wrong with a file of issuers, in upstream's words and order; and its expressions, compiled on
//! the way.

use super::file::{ClaimRule, File, Issuer, Jwt, Mappings, Prefixed, UserRule};
use crate::configured::expression::{Expression, Over, Wanted};
use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_json::json;
use std::collections::BTreeSet;

/// Issuers of one file (API reference: AuthenticationConfiguration).
const ISSUERS_MOST: usize = 64;
const MATCH_ANY: &str = "MatchAny";

/// The compiled expressions of one issuer.
#[derive(Default)]
pub struct Compiled {
    pub username: Option<Expression>,
    pub groups: Option<Expression>,
    pub uid: Option<Expression>,
    /// With their keys.
    pub extra: Vec<(String, Expression)>,
    /// With what to say when they do not hold.
    pub claim_rules: Vec<(Expression, String)>,
    pub user_rules: Vec<(Expression, String)>,
}

/// Checks a file; `taken` are issuers that nobody else may be: the cluster's own.
///
/// # Errors
/// All that is wrong.
pub fn check_file(file: &File, taken: &[String]) -> Result<Vec<Compiled>, String> {
    let mut errors = Errors::new();
    let all = Path::new("jwt");
    if file.jwt.len() > ISSUERS_MOST {
        errors.too_many(&all, file.jwt.len(), ISSUERS_MOST);
        return Err(errors.text());
    }
    let (mut urls, mut discovered) = (BTreeSet::new(), BTreeSet::new());
    let mut compiled = Vec::new();
    for (index, jwt) in file.jwt.iter().enumerate() {
        let path = all.index(index);
        compiled.push(check_jwt(jwt, taken, &path, &mut errors));
        let path = path.child("issuer");
        let issuer = &jwt.issuer;
        if !urls.insert(&issuer.url) {
            errors.duplicate(&path.child("url"), &*issuer.url);
        }
        if !issuer.discovery_url.is_empty() && !discovered.insert(&issuer.discovery_url) {
            errors.duplicate(&path.child("discoveryURL"), &*issuer.discovery_url);
        }
    }
    if let Some(anonymous) = &file.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let given: Vec<_> =
            anonymous.conditions.iter().map(|it| json!({"Path": it.path})).collect();
        let why = "enabled should be set to true when conditions are defined";
        errors.invalid(&Path::new("anonymous").child("conditions"), given, why);
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors.text()) }
}

fn check_jwt(jwt: &Jwt, taken: &[String], path: &Path, errors: &mut Errors) -> Compiled {
    let mut compiled = Compiled::default();
    check_issuer(&jwt.issuer, taken, &path.child("issuer"), errors);
    let rules = path.child("claimValidationRules");
    compiled.claim_rules = check_claims(&jwt.claim_validation_rules, &rules, errors);
    check_mappings(&jwt.claim_mappings, &path.child("claimMappings"), &mut compiled, errors);
    let rules = path.child("userValidationRules");
    compiled.user_rules = check_users(&jwt.user_validation_rules, &rules, errors);
    compiled
}

fn check_issuer(issuer: &Issuer, taken: &[String], path: &Path, errors: &mut Errors) {
    let (url, discovery) = (path.child("url"), path.child("discoveryURL"));
    match &*issuer.url {
        "" => errors.required(&url, ""),
        given => check_url(given, taken, &url, errors),
    }
    if !issuer.discovery_url.is_empty() {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        if !issuer.url.is_empty() && bare(&issuer.url) == bare(&issuer.discovery_url) {
            let why = "discoveryURL must be different from URL";
            errors.invalid(&discovery, &*issuer.discovery_url, why);
        }
        check_url(&issuer.discovery_url, &[], &discovery, errors);
    }
    check_audiences(issuer, path, errors);
    let authority = &issuer.certificate_authority;
    if !authority.is_empty()
        && let Err(why) = crate::identity::keys::tls::check_authorities(authority)
    {
        errors.invalid(&path.child("certificateAuthority"), "<omitted>", &why);
    }
    if !issuer.egress_selector_type.is_empty() {
        let why = "egress selectors are not supported here";
        errors.invalid(&path.child("egressSelectorType"), &*issuer.egress_selector_type, why);
    }
}

fn check_url(url: &str, taken: &[String], path: &Path, errors: &mut Errors) {
    if taken.iter().any(|own| own == url) {
        let why = format!("URL must not overlap with disallowed issuers: [{}]", taken.join(" "));
        errors.invalid(path, url, &why);
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    if let Err(error) = url.parse::<http::Uri>() {
        errors.invalid(path, url, &format!("parse {url:?}: {error}"));
        return;
    }
    for (wrong, why) in [
        (scheme != "https", "URL scheme must be https"),
        (authority.contains('@'), "URL must not contain a username or password"),
        (!query.is_empty(), "URL must not contain a query"),
        (!fragment.is_empty(), "URL must not contain a fragment"),
    ] {
        if wrong {
            errors.invalid(path, url, why);
        }
    }
}

fn check_audiences(issuer: &Issuer, path: &Path, errors: &mut Errors) {
    let (audiences, policy) = (path.child("audiences"), path.child("audienceMatchPolicy"));
    if issuer.audiences.is_empty() {
        errors.required(&audiences, &format!("at least one {audiences} is required"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        let path = audiences.index(index);
        if audience.is_empty() {
            errors.required(&path, "");
        }
        if !seen.insert(audience) {
            errors.duplicate(&path, &**audience);
        }
    }
    let given = &*issuer.audience_match_policy;
    if issuer.audiences.len() > 1 && given != MATCH_ANY {
        errors.invalid(
            &policy,
            given,
            "audienceMatchPolicy must be MatchAny for multiple audiences",
        );
    }
    if issuer.audiences.len() == 1 && !["", MATCH_ANY].contains(&given) {
        let why = "audienceMatchPolicy must be empty or MatchAny for single audience";
        errors.invalid(&policy, given, why);
    }
}

fn check_claims(
    rules: &[ClaimRule],
    path: &Path,
    errors: &mut Errors,
) -> Vec<(Expression, String)> {
    let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
    let mut compiled = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        match (&*rule.claim, &*rule.expression) {
            ("", "") => errors.required(&path, "claim or expression is required"),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.invalid(&path.child("message"), &*rule.message, why);
                }
                if !claims.insert(claim) {
                    errors.duplicate(&path.child("claim"), claim);
                }
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    errors.invalid(&path.child("requiredValue"), &*rule.required_value, why);
                }
                let path = path.child("expression");
                if !expressions.insert(expression) {
                    errors.duplicate(&path, expression);
                } else if let Some(it) =
                    compile(Over::Claims, Wanted::Bool, expression, &path, errors)
                {
                    compiled.push((it, rule.message.clone()));
                }
            }
            (claim, _) => errors.invalid(&path, claim, "claim and expression can't both be set"),
        }
    }
    compiled
}

fn check_users(rules: &[UserRule], path: &Path, errors: &mut Errors) -> Vec<(Expression, String)> {
    let mut seen = BTreeSet::new();
    let mut compiled = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let (path, text) = (path.child("expression"), &*rule.expression);
        if text.is_empty() {
            errors.required(&path, "");
        } else if !seen.insert(text) {
            errors.duplicate(&path, text);
        } else if let Some(it) = compile(Over::User, Wanted::Bool, text, &path, errors) {
            compiled.push((it, rule.message.clone()));
        }
    }
    compiled
}

fn check_mappings(maps: &Mappings, path: &Path, compiled: &mut Compiled, errors: &mut Errors) {
    let username = path.child("username");
    if maps.username.claim.is_empty() && maps.username.expression.is_empty() {
        errors.required(&username, "claim or expression is required");
    } else {
        compiled.username = check_prefixed(&maps.username, &username, errors);
    }
    compiled.groups = check_prefixed(&maps.groups, &path.child("groups"), errors);
    let uid = path.child("uid");
    match (&*maps.uid.claim, &*maps.uid.expression) {
        (_, "") => {}
        ("", text) => {
            let path = uid.child("expression");
            compiled.uid = compile(Over::Claims, Wanted::Any, text, &path, errors);
        }
        _ => errors.invalid(&uid, "", "claim and expression can't both be set"),
    }
    check_extra(maps, &path.child("extra"), compiled, errors);
    let says = |field: &str, expression: &Expression| expression.looks_at(field);
    let username_says = |field| compiled.username.as_ref().is_some_and(|it| says(field, it));
    let verified = username_says("email_verified")
        || compiled.extra.iter().any(|(_, it)| says("email_verified", it))
        || compiled.claim_rules.iter().any(|(it, _)| says("email_verified", it));
    if username_says("email") && !verified {
        let why = "claims.email_verified must be used in claimMappings.username.expression or \
                   claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                   used in claimMappings.username.expression";
        errors.invalid(&username.child("expression"), &*maps.username.expression, why);
    }
}

fn check_prefixed(map: &Prefixed, path: &Path, errors: &mut Errors) -> Option<Expression> {
    match (&*map.claim, &*map.expression) {
        ("", "") => {}
        (_, "") if map.prefix.is_none() => errors.required(
            &path.child("prefix"),
            "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ),
        (_, "") => {}
        ("", text) => {
            if let Some(prefix) = &map.prefix {
                let why = "may not be specified when expression is set";
                errors.invalid(&path.child("prefix"), &**prefix, why);
            }
            return compile(Over::Claims, Wanted::Any, text, &path.child("expression"), errors);
        }
        _ => errors.invalid(path, "", "claim and expression can't both be set"),
    }
    None
}

fn check_extra(maps: &Mappings, path: &Path, compiled: &mut Compiled, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, extra) in maps.extra.iter().enumerate() {
        let path = path.index(index);
        let (at, key) = (path.child("key"), &*extra.key);
        check::domain_prefixed(&at, key, errors);
        if key != key.to_lowercase() {
            errors.invalid(&at, key, "must be lowercase");
        }
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        if ["kubernetes.io", "k8s.io"].iter().any(|own| {
            domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }) {
            let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            errors.invalid(&at, key, why);
        }
        if !seen.insert(key) {
            errors.duplicate(&at, key);
            continue;
        }
        let path = path.child("valueExpression");
        if extra.value_expression.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let text = &extra.value_expression;
        if let Some(it) = compile(Over::Claims, Wanted::Any, text, &path, errors) {
            compiled.extra.push((key.to_owned(), it));
        }
    }
}

fn compile(
    over: Over,
    wanted: Wanted,
    text: &str,
    path: &Path,
    errors: &mut Errors,
) -> Option<Expression> {
    match Expression::compile(over, wanted, text) {
        Ok(expression) => Some(expression),
        Err(why) => {
            errors.invalid(path, text, &why);
            None
        }
    }
}
