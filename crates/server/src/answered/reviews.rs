//! Reviews: who am I, whose token is this, may I, may they, what may I. Each answer is the
//! authorizer's or the authenticator's, put into the form of the API; nothing is decided here.

use crate::Server;
use crate::authorize::rule::Rule;
use crate::authorize::{Attributes, Opinion, requirements};
use crate::identity::UserInfo;
use crate::request::Request;
use crate::request::codec;
use skiff_api::Status;
use skiff_api::kind::Review;
use skiff_api::object::Object;
use skiff_api::selector::{FieldRequirement, FieldSelector, Operator, Requirement};
use skiff_api::wire::User;
use skiff_json::{Value, json};

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
            let status = token(server, &body).await?;
            body.set("status", status);
        }
    }
    Ok(body)
}

/// The status of an access review.
async fn access(server: &Server, user: &User, body: &Object) -> Value {
    let (asked, ignored) = attributes(body);
    let decision = server.authorizer.decide(user, &asked).await;
    let mut status = json!({"allowed": decision.allowed()});
    if decision.opinion == Opinion::Deny {
        status["denied"] = true.into();
    }
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    let errors = Some(decision.error).filter(|error| !error.is_empty()).into_iter().chain(ignored);
    let errors: Vec<String> = errors.collect();
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    status
}

/// What a review asks, and which of its selectors count for nothing, or in part.
fn attributes(body: &Object) -> (Attributes, Vec<String>) {
    let text = |path: &str| body.text(&format!("spec.{path}")).to_owned();
    if body.at("spec.nonResourceAttributes").is_some() {
        let path = Some(text("nonResourceAttributes.path"));
        let verb = text("nonResourceAttributes.verb");
        return (Attributes { verb, path, ..Attributes::default() }, Vec::new());
    }
    let of = |field: &str| text(&format!("resourceAttributes.{field}"));
    let mut ignored = Vec::new();
    let fields = selector(body, "fieldSelector", &mut ignored, field, |raw| {
        FieldSelector::parse(raw).map(|selector| selector.0)
    });
    let labels = selector(body, "labelSelector", &mut ignored, label, requirements);
    let version = Some(of("version")).filter(|version| !version.is_empty());
    let asked = Attributes {
        verb: of("verb"),
        group: of("group"),
        version: version.unwrap_or_else(|| "*".to_owned()),
        resource: of("resource"),
        subresource: of("subresource"),
        name: of("name"),
        namespace: of("namespace"),
        path: None,
        fields,
        labels,
    };
    (asked, ignored)
}

/// The requirements of a selector of a review, as far as they are understood: what is not only makes the question
/// broader.
fn selector<T>(
    body: &Object,
    name: &str,
    ignored: &mut Vec<String>,
    one: fn(&Value) -> Option<T>,
    parse: impl Fn(&str) -> Result<Vec<T>, String>,
) -> Vec<T> {
    let path = format!("spec.resourceAttributes.{name}");
    let (raw, all) =
        (body.text(&format!("{path}.rawSelector")), body.list(&format!("{path}.requirements")));
    let (read, whole) = match all {
        [] if raw.is_empty() => return Vec::new(),
        [] => match parse(raw) {
            Ok(read) => (read, true),
            Err(_) => (Vec::new(), false),
        },
        all => {
            let read: Vec<T> = all.iter().filter_map(one).collect();
            let whole = read.len() == all.len();
            (read, whole)
        }
    };
    if !whole {
        let part = if read.is_empty() { "ignored" } else { "partially ignored" };
        ignored.push(format!("{path} {part} due to parse error"));
    }
    read
}

/// Key, operator and values of a requirement.
fn parts(requirement: &Value) -> Option<(&str, &str, Vec<String>)> {
    let text = |key: &str| requirement.get(key).and_then(Value::as_str);
    let values = requirement.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.filter_map(|value| Some(value.as_str()?.to_owned())).collect();
    Some((text("key")?, text("operator")?, values))
}

fn field(requirement: &Value) -> Option<FieldRequirement> {
    let (key, operator, values) = parts(requirement)?;
    let negated = match operator {
        "In" => false,
        "NotIn" => true,
        _ => return None,
    };
    let [value] = <[String; 1]>::try_from(values).ok()?;
    Some(FieldRequirement { field: key.to_owned(), value, negated })
}

fn label(requirement: &Value) -> Option<Requirement> {
    let (key, operator, mut values) = parts(requirement)?;
    let operator = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    // Values that no label can have are no requirement.
    if values.iter().any(|value| !skiff_api::selector::label_value_problems(value).is_empty()) {
        return None;
    }
    values.sort();
    values.dedup();
    Some(Requirement { key: key.to_owned(), operator, values })
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

async fn token(server: &Server, body: &Object) -> Result<Value, Status> {
    let token = body.text("spec.token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let wanted: Vec<&str> = body.list("spec.audiences").iter().filter_map(Value::as_str).collect();
    let own = server.authenticator.tokens().naming.audiences.iter().map(String::as_str);
    let wanted = if wanted.is_empty() { own.collect() } else { wanted };
    Ok(match server.authenticator.user(token, &wanted).await {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": UserInfo(&user), "audiences": audiences})
        }
        Err(error) => json!({"error": error, "user": {}}),
    })
}
