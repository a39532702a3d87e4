//! The entry `token` of a service account: issues a token, bound to the account and perhaps to a
//! pod, a secret or a node (KEP-1205, KEP-4193). It reads the store and writes nothing: a token
//! lives in the hands of who asked for it.

use crate::Server;
use crate::identity::token::claims::{Claims, Kubernetes, Reference};
use crate::request::Request;
use crate::request::codec;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_json::json;
use skiff_kinds::authentication::tokenrequest;
use skiff_store::Currency;
use std::time::Duration;

const ABOUT: About = About { group: "authentication.k8s.io", resource: "TokenRequest" };
/// What a projected volume asks for when nobody says otherwise; such a token may be used a year
/// longer, by programs that read it once and never again.
const PROJECTED_S: i64 = 60 * 60 + 7;
const EXTENDED_S: i64 = 365 * 24 * 60 * 60;
/// Audiences of one token: all of them stand in it.
const AUDIENCES_MOST: usize = 64;

pub async fn issue(server: &Server, request: &Request, mut body: Object) -> Result<Object, Status> {
    let (namespace, name) = (&*request.resource.namespace, &*request.resource.name);
    if !body.name().is_empty() && body.name() != name {
        let mut errors = Errors::new();
        let why = "must match the service account name if specified";
        errors.invalid(&Path::new("metadata.name"), body.name(), why);
        return Err(Status::invalid(ABOUT, name, &errors));
    }
    let account = find(server, "serviceaccounts", namespace, name).await?;
    if !body.uid().is_empty() && body.uid() != account.uid() {
        let why = format!(
            "the UID in the token request ({}) does not match the UID of the service account ({})",
            body.uid(),
            account.uid()
        );
        return Err(Status::conflict(ABOUT, name, &why));
    }
    let now = server.world.now();
    let tokens = server.authenticator.tokens();
    complete(&mut body, &account, &tokens.naming.audiences, &codec::time(now));
    validate(&body)?;
    let mut bound = Kubernetes {
        namespace: namespace.to_owned(),
        serviceaccount: reference(&account),
        ..Kubernetes::default()
    };
    bind(server, &body, name, namespace, &mut bound).await?;
    let wanted_s = body.int("spec.expirationSeconds").unwrap_or(tokenrequest::DEFAULT_S);
    let audiences: Vec<String> =
        body.list("spec.audiences").iter().filter_map(|a| Some(a.as_str()?.to_owned())).collect();
    let mut lives_s = wanted_s;
    let own = audiences.iter().all(|audience| tokens.naming.audiences.contains(audience));
    if bound.pod.is_some() && wanted_s == PROJECTED_S && own {
        bound.warnafter = Some(now.as_second() + wanted_s);
        lives_s = EXTENDED_S;
    }
    let id = skiff_base::id::uuid(&server.world);
    request
        .notes
        .annotate("authentication.kubernetes.io/issued-credential-id", format!("JTI={id}"));
    let claims = Claims::new(tokens.issuer(), bound, audiences, now.as_second(), lives_s, id);
    let token = tokens.sign(&claims).map_err(Status::internal)?;
    let wanted = Duration::from_secs(u64::try_from(wanted_s).unwrap_or(0));
    let expires = codec::time(now + wanted);
    body.set("status", json!({"token": token, "expirationTimestamp": expires}));
    Ok(body)
}

/// What the answer repeats of the service account, and whom the token is for if nobody says.
fn complete(body: &mut Object, account: &Object, own: &[String], now: &str) {
    if body.list("spec.audiences").is_empty() {
        body.set("spec.audiences", json!(own));
    }
    body.set("metadata.name", account.name());
    body.set("metadata.uid", account.uid());
    body.set("metadata.creationTimestamp", now);
}

fn validate(body: &Object) -> Result<(), Status> {
    let mut errors = Errors::new();
    tokenrequest::validate(body, &mut errors);
    let audiences = body.list("spec.audiences").len();
    if audiences > AUDIENCES_MOST {
        errors.too_many(&Path::new("spec.audiences"), audiences, AUDIENCES_MOST);
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(ABOUT, "", &errors)) }
}

/// Binds the token to what the request names.
async fn bind(
    server: &Server,
    body: &Object,
    account: &str,
    namespace: &str,
    bound: &mut Kubernetes,
) -> Result<(), Status> {
    if body.at("spec.boundObjectRef").is_none() {
        return Ok(());
    }
    let text = |field: &str| body.text(&format!("spec.boundObjectRef.{field}"));
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let (kind, name) = (text("kind"), text("name"));
    let found = match (group, kind) {
        ("", "Pod") => {
            let pod = find(server, "pods", namespace, name).await?;
            if pod.text("spec.serviceAccountName") != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different \
                     serviceaccount name."
                )));
            }
            let node = pod.text("spec.nodeName");
            if !node.is_empty() {
                // A node that is not there any more is named without its uid.
                let gone = || Reference { name: node.to_owned(), uid: String::new() };
                let found = server.reader.find(("", "nodes"), "", node, Currency::Current).await?;
                bound.node = Some(found.map_or_else(gone, |node| reference(&node)));
            }
            bound.pod = Some(reference(&pod));
            pod
        }
        ("", "Node") => {
            let node = find(server, "nodes", "", name).await?;
            bound.node = Some(reference(&node));
            node
        }
        ("", "Secret") => {
            let secret = find(server, "secrets", namespace, name).await?;
            bound.secret = Some(reference(&secret));
            secret
        }
        _ => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    if !text("uid").is_empty() && text("uid") != found.uid() {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The \
             object might have been deleted and then recreated",
            text("uid")
        );
        return Err(Status::conflict(About { group, resource: kind }, name, &why));
    }
    Ok(())
}

/// What a token is bound to is looked up as it is now.
async fn find(server: &Server, plural: &str, ns: &str, name: &str) -> Result<Object, Status> {
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let found = server.reader.find(("", plural), ns, name, Currency::Current).await?;
    found.ok_or_else(|| Status::not_found(About { group: "", resource: plural }, name))
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().to_owned(), uid: object.uid().to_owned() }
}
