//! Who may use the node's API.
//!
//! A verified client certificate names a user, or else a bearer token does, which the API server
//! checks (TokenReview). The group `system:masters` may do everything; the API server's own client
//! belongs to it. For anybody else the API server is asked (SubjectAccessReview) for the resource
//! `nodes` with the subresource that the path stands for (documentation page "Kubelet
//! authentication/authorization"). There is no anonymous caller.
//!
//! Never here: an answer that is remembered; other callers than the server are rare.

use super::route::Route;
use http::{HeaderValue, Method, StatusCode};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_api::wire::User;
use skiff_client::Client;
use skiff_json::json;
use std::sync::Arc;

/// May do everything.
const MASTERS: &str = "system:masters";

const TOKEN_REVIEWS: Resource =
    Resource::of("authentication.k8s.io", "v1", "tokenreviews", "TokenReview").cluster();
const ACCESS_REVIEWS: Resource =
    Resource::of("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview")
        .cluster();

/// What a request asks for, in the words of RBAC.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    verb: &'static str,
    /// Any of them is enough; the last is the one that always was.
    subresources: &'static [&'static str],
}

/// A refusal: the code and its text.
pub type Refusal = (StatusCode, String);

/// Asks the API server, under the node's identity.
pub struct Access {
    pub node: String,
    pub client: Client,
}

impl Access {
    /// Whether the caller may do this.
    pub async fn check(
        &self,
        certificate: Option<Arc<User>>,
        bearer: Option<&HeaderValue>,
        asked: &Asked,
    ) -> Result<(), Refusal> {
        let user = match (certificate, bearer.and_then(token)) {
            (Some(user), _) => user,
            (None, Some(token)) => Arc::new(self.user_of(token).await?),
            (None, None) => return Err(unauthorized()),
        };
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        for subresource in asked.subresources {
            if self.allowed(&user, asked.verb, subresource).await? {
                return Ok(());
            }
        }
        let text = format!(
            "Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])\n",
            user.name,
            asked.verb,
            asked.subresources.join(" ")
        );
        Err((StatusCode::FORBIDDEN, text))
    }

    async fn user_of(&self, token: &str) -> Result<User, Refusal> {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token}});
        let review = self.review(TOKEN_REVIEWS, body).await?;
        if !review.flag("status.authenticated") {
            return Err(unauthorized());
        }
        let groups = review.list("status.user.groups").iter();
        Ok(User {
            name: review.text("status.user.username").to_owned(),
            uid: review.text("status.user.uid").to_owned(),
            groups: groups.filter_map(|g| g.as_str().map(str::to_owned)).collect(),
            extra: Vec::new(),
        })
    }

    async fn allowed(&self, user: &User, verb: &str, subresource: &str) -> Result<bool, Refusal> {
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user.name, "uid": user.uid, "groups": user.groups,
                "resourceAttributes": {"verb": verb, "version": "v1", "resource": "nodes",
                    "subresource": subresource, "name": self.node}}});
        Ok(self.review(ACCESS_REVIEWS, body).await?.flag("status.allowed"))
    }

    async fn review(&self, resource: Resource, body: skiff_json::Value) -> Result<Object, Refusal> {
        let answered = self.client.create(resource, "", body).await;
        answered.and_then(|written| written.object()).map_err(|status| {
            let text = format!("the API server could not be asked: {status}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        })
    }
}

fn unauthorized() -> Refusal {
    (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned())
}

fn token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|t| !t.is_empty())
}

/// What a path and a method stand for (KEP-2862 for the finer names).
pub fn asked(method: &Method, route: &Route) -> Asked {
    let verb = match method.as_str() {
        // A GET that opens a stream does something, so it counts as a create.
        _ if route.streams() => "create",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    };
    let subresources: &[&str] = match route {
        Route::Metrics => &["metrics"],
        Route::Pods => &["pods", "proxy"],
        Route::Healthz => &["healthz", "proxy"],
        _ => &["proxy"],
    };
    Asked { verb, subresources }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn paths_stand_for_subresources() {
        let mut out = String::new();
        for path in ["/exec/a/b/c", "/containerLogs/a/b/c", "/metrics", "/pods", "/healthz", "/x"] {
            let asked = asked(&Method::GET, &Route::of(path));
            out += &format!("{path} {} {:?}\n", asked.verb, asked.subresources);
        }
        expect![[r#"
            /exec/a/b/c create ["proxy"]
            /containerLogs/a/b/c get ["proxy"]
            /metrics get ["metrics"]
            /pods get ["pods", "proxy"]
            /healthz get ["healthz", "proxy"]
            /x get ["proxy"]
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn bearer_tokens_are_found_whatever_the_case_of_the_scheme() {
        assert_eq!(token(&HeaderValue::from_static("Bearer abc")), Some("abc"));
        assert_eq!(token(&HeaderValue::from_static("bearer  abc")), Some("abc"));
        assert_eq!(token(&HeaderValue::from_static("Basic abc")), None);
        assert_eq!(token(&HeaderValue::from_static("Bearer ")), None);
    }
}
