//! A token of one issuer: checked, and its claims made into a user (OpenID Connect Core 1.0, section 3.1.3.7).

use super::check::Compiled;
use super::file;
use super::keys::Keys;
use crate::authorize::rule::quoted;
use crate::configured::expression::Expression;
use crate::configured::remote::{Client, Manner};
use crate::identity::jws::{ALGORITHMS, Token};
use crate::identity::keys::tls::Trusted;
use crate::identity::token::CREDENTIAL_ID;
use skiff_api::json::type_name;
use skiff_api::wire::User;
use skiff_base::{Time, World};
use skiff_json::{Map, Value, json};

/// How far `nbf` may lie ahead.
const LEEWAY_S: i64 = 60;
/// Google's issuer says its name without the scheme.
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

pub struct Jwt {
    world: World,
    config: file::Jwt,
    compiled: Compiled,
    pub keys: Keys,
}

type Claims = Map;

impl Jwt {
    pub fn new(config: file::Jwt, compiled: Compiled, world: &World) -> Result<Jwt, String> {
        let issuer = &config.issuer;
        let trusted = match &*issuer.certificate_authority {
            "" => Trusted::system(),
            authority => Trusted::Of(authority.to_owned()),
        };
        let manner = Manner { trusted, pair: None, name: None, authorization: None };
        let client = Client::new(manner, world)?;
        let keys = Keys::new(client, &issuer.url, &issuer.discovery_url, world);
        Ok(Jwt { world: world.clone(), config, compiled, keys })
    }

    pub fn issuer(&self) -> &str {
        &self.config.issuer.url
    }

    /// Whether a token that says this of its issuer is one of this issuer.
    pub fn is(&self, issuer: &str) -> bool {
        issuer == self.issuer() || (issuer, self.issuer()) == GOOGLE
    }

    /// # Errors
    /// What is wrong with the token.
    pub async fn user(&self, token: &str) -> Result<User, String> {
        if self.keys.unready().is_some() {
            return Err("oidc: authenticator not initialized".to_owned());
        }
        let claims = self.verified(token).await;
        let claims = claims.map_err(|why| format!("oidc: verify token: {why}"))?;
        self.check_distributed(&claims)?;
        let over = Value::Object(claims);
        let claims = over.as_object().expect("it was made of a map");
        let user = User {
            name: self.username(claims, &over)?,
            groups: self.groups(claims, &over)?,
            uid: self.uid(claims, &over)?,
            extra: self.extra(claims, &over)?,
        };
        self.check_claims(claims, &over)?;
        let as_data = json!({
            "username": user.name, "uid": user.uid, "groups": user.groups,
            "extra": user.extra.iter().cloned().collect::<Value>(),
        });
        let rules = hold(&self.compiled.user_rules, &as_data);
        rules.map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
        Ok(user)
    }

    /// The claims of a token that the issuer made for one of the audiences, and whose time it is.
    async fn verified(&self, token: &str) -> Result<Claims, String> {
        let token = Token::parse(token).map_err(|why| format!("oidc: malformed jwt: {why}"))?;
        if !ALGORITHMS.contains(&&*token.algorithm) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {} got {:?}",
                quoted(&ALGORITHMS),
                token.algorithm
            ));
        }
        let signed = self.keys.check(&token).await;
        signed.map_err(|why| format!("failed to verify signature: {why}"))?;
        let wrong = |why: String| format!("oidc: failed to unmarshal claims: {why}");
        let claims: Claims =
            skiff_json::from_slice(&token.claims).map_err(|error| wrong(error.to_string()))?;
        self.check_audience(&texts(claims.get("aud")).map_err(wrong)?)?;
        let time = |name| time(claims.get(name)).map_err(wrong);
        let now = self.world.now();
        let shown = |second: i64| {
            let time = Time::from_second(second).unwrap_or(Time::UNIX_EPOCH);
            time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
        };
        match time("exp")? {
            Some(end) if end >= now.as_second() => {}
            end => {
                let end = end.map_or("0001-01-01 00:00:00 +0000 UTC".to_owned(), shown);
                return Err(format!("oidc: token is expired (Token Expiry: {end})"));
            }
        }
        if let Some(begin) = time("nbf")?
            && now.as_second().saturating_add(LEEWAY_S) < begin
        {
            let (now, begin) = (shown(now.as_second()), shown(begin));
            return Err(format!(
                "oidc: current time {now} before the nbf (not before) time: {begin}"
            ));
        }
        Ok(claims)
    }

    fn check_audience(&self, given: &[String]) -> Result<(), String> {
        let wanted = &self.config.issuer.audiences;
        if wanted.iter().any(|audience| given.contains(audience)) {
            return Ok(());
        }
        Err(match &wanted[..] {
            [one] => format!("oidc: expected audience {one:?} got {}", quoted(given)),
            _ => {
                let mut sorted = wanted.clone();
                sorted.sort();
                format!("oidc: expected audience in {} got {}", quoted(&sorted), quoted(given))
            }
        })
    }

    /// Groups that are to be had elsewhere (OpenID Connect Core 1.0, section 5.6.2) are not fetched: a token would say
    /// where this server turns to.
    fn check_distributed(&self, claims: &Claims) -> Result<(), String> {
        let groups = &*self.config.claim_mappings.groups.claim;
        let elsewhere = claims.get("_claim_names").and_then(|names| names.get(groups)).is_some();
        if groups.is_empty() || claims.contains_key(groups) || !elsewhere {
            return Ok(());
        }
        Err(format!(
            "oidc: could not expand distributed claims: claim {groups:?} is at another endpoint, which is not asked here"
        ))
    }

    fn username(&self, claims: &Claims, over: &Value) -> Result<String, String> {
        if let Some(expression) = &self.compiled.username {
            let wrong = |why| format!("oidc: error evaluating username claim expression: {why}");
            return match value(expression, over).map_err(wrong)? {
                Value::String(name) if name.is_empty() => {
                    Err("oidc: empty username via CEL expression is not allowed".to_owned())
                }
                Value::String(name) => Ok(name),
                _ => Err(wrong("username claim expression must return a string".to_owned())),
            };
        }
        let map = &self.config.claim_mappings.username;
        let name = text(claims, &map.claim)
            .map_err(|why| format!("oidc: parse username claims {:?}: {why}", map.claim))?;
        if map.claim == "email" {
            match claims.get("email_verified") {
                None | Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => return Err("oidc: email not verified".to_owned()),
                Some(other) => {
                    let why = mismatch(other, "bool");
                    return Err(format!("oidc: parse 'email_verified' claim: {why}"));
                }
            }
        }
        Ok(map.prefix.clone().unwrap_or_default() + &name)
    }

    fn groups(&self, claims: &Claims, over: &Value) -> Result<Vec<String>, String> {
        let map = &self.config.claim_mappings.groups;
        if let Some(given) = claims.get(&map.claim).filter(|_| !map.claim.is_empty()) {
            let groups = texts(Some(given))
                .map_err(|why| format!("oidc: parse groups claim {:?}: {why}", map.claim))?;
            let prefix = map.prefix.as_deref().unwrap_or("");
            return Ok(groups.iter().map(|group| format!("{prefix}{group}")).collect());
        }
        let Some(expression) = &self.compiled.groups else { return Ok(Vec::new()) };
        let groups = value(expression, over).and_then(|value| several(&value));
        groups.map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))
    }

    fn uid(&self, claims: &Claims, over: &Value) -> Result<String, String> {
        let claim = &self.config.claim_mappings.uid.claim;
        if !claim.is_empty() {
            let uid = text(claims, claim);
            return uid.map_err(|why| format!("oidc: parse uid claim {claim:?}: {why}"));
        }
        let Some(expression) = &self.compiled.uid else { return Ok(String::new()) };
        let wrong = |why| format!("oidc: error evaluating uid claim expression: {why}");
        match value(expression, over).map_err(wrong)? {
            Value::String(uid) => Ok(uid),
            _ => Err(wrong("uid claim expression must return a string".to_owned())),
        }
    }

    fn extra(&self, claims: &Claims, over: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
        let mut extra = Vec::new();
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.push((CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]));
        }
        for (key, expression) in &self.compiled.extra {
            let values = several(&value(expression, over)?).map_err(|why| {
                let text = expression.text();
                format!("oidc: error evaluating extra claim expression: {text}: {why}")
            })?;
            if !values.is_empty() {
                extra.push((key.clone(), values));
            }
        }
        Ok(extra)
    }

    fn check_claims(&self, claims: &Claims, over: &Value) -> Result<(), String> {
        for rule in self.config.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty())
        {
            let (claim, wanted) = (&rule.claim, &rule.required_value);
            if !claims.contains_key(claim) {
                return Err(format!("oidc: required claim {claim} not present in ID token"));
            }
            let given = text(claims, claim);
            let given = given.map_err(|why| format!("oidc: parse claim {claim}: {why}"))?;
            if given != *wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {given}, want = {wanted}"
                ));
            }
        }
        let rules = hold(&self.compiled.claim_rules, over);
        rules.map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))
    }
}

fn value(expression: &Expression, over: &Value) -> Result<Value, String> {
    let wrong = |why| format!("expression '{}' resulted in error: {why}", expression.text());
    expression.value(over).map_err(wrong)
}

fn hold(rules: &[(Expression, String)], over: &Value) -> Result<(), String> {
    let values: Vec<Value> =
        rules.iter().map(|(rule, _)| value(rule, over)).collect::<Result<_, _>>()?;
    for ((rule, message), value) in rules.iter().zip(values) {
        match value {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                return Err(format!("validation expression '{}' failed: {message}", rule.text()));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

/// What an expression says where several texts may stand; empty ones are none.
fn several(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let all = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let texts = all.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong));
    let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

fn text(claims: &Claims, name: &str) -> Result<String, String> {
    match claims.get(name) {
        None => Err("claim not present".to_owned()),
        Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(mismatch(other, "string")),
    }
}

/// One text, or several.
fn texts(value: Option<&Value>) -> Result<Vec<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            Ok(all.iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect())
        }
        Some(other) => Err(mismatch(other, "string")),
    }
}

/// A NumericDate (RFC 7519, section 2), in whole seconds.
fn time(value: Option<&Value>) -> Result<Option<i64>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| number.as_f64().map(|it| it as i64));
            Ok(whole)
        }
        Some(other) => Err(mismatch(other, "json.Number")),
    }
}

/// As Go says that a value is not what it should be.
fn mismatch(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", type_name(value))
}
