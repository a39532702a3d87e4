//! Reviews: who am I, whose token is this, may I, may they, what may I. Each answer is the
//! authorizer's or the authenticator's, put into the form of the API; nothing is decided here.

use crate::Server;
use crate::authorize::rule::Rule;
use crate::authorize::{Attributes, Decision, equalities};
use crate::identity::UserInfo;
use crate::identity::token::ISSUER;
use crate::request::Request;
use crate::request::codec;
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::kind::Review;
use skiff_api::object::Object;
use skiff_api::wire::User;

/// The answer to a well-formed question.
pub async fn answer(
    server: &Server,
    request: &Request,
    review: Review,
    mut body: Object,
) -> Result<Object, Status> {
    match review {
        Review::OwnAccess => {
            let status = access(server, &request.user, &body).await;
            body.set("status", status);
        }
        Review::Access => {
            let status = access(server, &subject(&body), &body).await;
            body.set("status", status);
        }
        Review::OwnRules => return rules(server, request, &body),
        Review::Identity => {
            let created = codec::time(server.world.now());
            body.set("metadata", json!({"creationTimestamp": created}));
            body.set("status", json!({"userInfo": UserInfo(&request.user)}));
        }
        Review::Token => {
            let status = token(server, &body)?;
            body.set("status", status);
        }
    }
    Ok(body)
}

/// The status of an access review.
async fn access(server: &Server, user: &User, body: &Object) -> Value {
    let asked = attributes(body);
    let Decision { allowed, reason } = server.authorizer.decide(user, &asked).await;
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    status
}

fn attributes(body: &Object) -> Attributes {
    let text = |path: &str| body.text(&format!("spec.{path}")).to_owned();
    if body.at("spec.nonResourceAttributes").is_some() {
        let path = Some(text("nonResourceAttributes.path"));
        let verb = text("nonResourceAttributes.verb");
        return Attributes { verb, path, ..Attributes::default() };
    }
    let of = |field: &str| text(&format!("resourceAttributes.{field}"));
    let selector = "spec.resourceAttributes.fieldSelector";
    let mut fields = equalities(body.text(&format!("{selector}.rawSelector")));
    for requirement in body.list(&format!("{selector}.requirements")) {
        let text = |key: &str| requirement.get(key).and_then(Value::as_str);
        let values = requirement.get("values").and_then(Value::as_array);
        let one = values.filter(|values| values.len() == 1).and_then(|values| values[0].as_str());
        if let (Some("In"), Some(key), Some(value)) = (text("operator"), text("key"), one) {
            fields.push((key.to_owned(), value.to_owned()));
        }
    }
    Attributes {
        verb: of("verb"),
        group: of("group"),
        version: of("version"),
        resource: of("resource"),
        subresource: of("subresource"),
        name: of("name"),
        namespace: of("namespace"),
        path: None,
        fields,
    }
}

/// The user that a review asks about.
fn subject(body: &Object) -> User {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().map_or(&[][..], Vec::as_slice);
        all.iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    User {
        name: body.text("spec.user").to_owned(),
        uid: body.text("spec.uid").to_owned(),
        groups: body.at("spec.groups").map_or_else(Vec::new, texts),
        extra: body
            .map("spec.extra")
            .iter()
            .map(|(key, value)| (key.clone(), texts(value)))
            .collect(),
    }
}

fn rules(server: &Server, request: &Request, body: &Object) -> Result<Object, Status> {
    let namespace = body.text("spec.namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = server.authorizer.rules_for(&request.user, namespace);
    let (paths, resources): (Vec<&Rule>, Vec<&Rule>) =
        rules.rules.iter().partition(|rule| !rule.paths.is_empty());
    let mut status = json!({
        "resourceRules": resources, "nonResourceRules": paths, "incomplete": rules.incomplete,
    });
    if !rules.error.is_empty() {
        status["evaluationError"] = rules.error.into();
    }
    // The question is not repeated.
    Ok(Object::new(json!({
        "kind": body.kind(), "apiVersion": body.api_version(), "metadata": {}, "spec": {},
        "status": status,
    })))
}

fn token(server: &Server, body: &Object) -> Result<Value, Status> {
    let token = body.text("spec.token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let wanted: Vec<&str> = body.list("spec.audiences").iter().filter_map(Value::as_str).collect();
    let wanted = if wanted.is_empty() { vec![ISSUER] } else { wanted };
    Ok(match server.authenticator.tokens().user(token, &wanted) {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": UserInfo(&user), "audiences": audiences})
        }
        Err(error) => json!({"error": error.to_string(), "user": {}}),
    })
}
