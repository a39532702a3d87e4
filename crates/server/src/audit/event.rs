//! Event: what is told of one request, as `audit.k8s.io/v1` writes it (API reference: Event), or on a line of text for
//! people. Pure: when something is told, and to whom, is decided elsewhere.

use super::policy::{Level, Stage};
use crate::identity::UserInfo;
use bytes::Bytes;
use serde::Serialize;
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One request, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Event {
    pub level: Level,
    pub id: String,
    pub uri: String,
    pub verb: String,
    /// Without a name when nobody was found behind what the caller showed.
    pub user: User,
    pub impersonated: Option<User>,
    /// The verb of a constrained impersonation (KEP-5284).
    pub constraint: &'static str,
    pub source_ips: Vec<String>,
    pub agent: String,
    pub object: Option<Reference>,
    pub outcome: Option<Outcome>,
    /// JSON on one line, as are the responses.
    pub request: Option<Bytes>,
    pub response: Option<Bytes>,
    pub received: Time,
    pub annotations: BTreeMap<String, String>,
}

/// The object that a request is about, as far as its path and its body name it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// What came of the request: the code, and the rest where the answer was a Status.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    pub code: u16,
}

impl Outcome {
    pub fn of(code: u16) -> Outcome {
        Outcome { code, ..Outcome::default() }
    }

    /// Of an answer that is a Status.
    pub fn of_status(status: &Value, code: u16) -> Outcome {
        let text = |key: &str| status[key].as_str().unwrap_or("").to_owned();
        Outcome {
            status: text("status"),
            message: text("message"),
            reason: text("reason"),
            details: status.get("details").cloned(),
            ..Outcome::of(code)
        }
    }
}

impl From<&Status> for Outcome {
    fn from(status: &Status) -> Outcome {
        Outcome {
            status: "Failure".into(),
            message: status.message.clone(),
            reason: status.reason.clone().into(),
            details: status.details.clone(),
            ..Outcome::of(status.code)
        }
    }
}

/// Whether an event shows what was sent and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    Kept,
    Cut,
}

/// Which form an event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Json,
    /// A line for people, which says less.
    Legacy,
}

/// Says that an event lacks its bodies, for they were too large.
pub const TRUNCATED: (&str, &str) = ("audit.k8s.io/truncated", "true");

impl Event {
    /// The event of one stage, in one line without its end.
    pub fn line(&self, stage: Stage, at: Time, format: Format, bodies: Bodies) -> Vec<u8> {
        match format {
            Format::Json => self.json(stage, at, bodies),
            Format::Legacy => self.legacy(stage).into(),
        }
    }

    fn json(&self, stage: Stage, at: Time, bodies: Bodies) -> Vec<u8> {
        let sizes = [&self.request, &self.response].map(|it| it.as_ref().map_or(0, Bytes::len));
        let mut out = Vec::with_capacity(1024 + sizes.iter().sum::<usize>());
        out.extend_from_slice(b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\"");
        field(&mut out, "level", &self.level.name());
        field(&mut out, "auditID", &self.id);
        field(&mut out, "stage", &stage.name());
        field(&mut out, "requestURI", &self.uri);
        field(&mut out, "verb", &self.verb);
        field(&mut out, "user", &UserInfo(&self.user));
        if let Some(user) = &self.impersonated {
            field(&mut out, "impersonatedUser", &UserInfo(user));
        }
        if !self.constraint.is_empty() {
            let told = json!({"impersonationConstraint": self.constraint});
            field(&mut out, "authenticationMetadata", &told);
        }
        if !self.source_ips.is_empty() {
            field(&mut out, "sourceIPs", &self.source_ips);
        }
        if !self.agent.is_empty() {
            field(&mut out, "userAgent", &self.agent);
        }
        if let Some(object) = &self.object {
            field(&mut out, "objectRef", object);
        }
        if let Some(outcome) = &self.outcome {
            field(&mut out, "responseStatus", outcome);
        }
        for (name, body) in [("requestObject", &self.request), ("responseObject", &self.response)] {
            if let (Some(body), Bodies::Kept) = (body, bodies) {
                key(&mut out, name);
                out.extend_from_slice(body);
            }
        }
        field(&mut out, "requestReceivedTimestamp", &micros(self.received));
        field(&mut out, "stageTimestamp", &micros(at));
        match bodies {
            Bodies::Kept if self.annotations.is_empty() => {}
            Bodies::Kept => field(&mut out, "annotations", &self.annotations),
            Bodies::Cut => {
                let mut annotations = self.annotations.clone();
                annotations.insert(TRUNCATED.0.into(), TRUNCATED.1.into());
                field(&mut out, "annotations", &annotations);
            }
        }
        out.push(b'}');
        out
    }

    fn legacy(&self, stage: Stage) -> String {
        let named = |user: &User, otherwise: &str| match &user.groups[..] {
            [] => otherwise.to_owned(),
            groups => groups.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(","),
        };
        let (user, groups) = match &*self.user.name {
            "" => ("<none>", "<none>".to_owned()),
            name => (name, named(&self.user, "<none>")),
        };
        let (as_user, as_groups) = match &self.impersonated {
            Some(user) => (&*user.name, named(user, "<lookup>")),
            None => ("<self>", "<lookup>".to_owned()),
        };
        let namespace = self.object.as_ref().map_or("", |object| &object.namespace);
        let namespace = if namespace.is_empty() { "<none>" } else { namespace };
        let ip = self.source_ips.first().map_or("<unknown>", String::as_str);
        let response = self.outcome.as_ref().map_or("<deferred>".into(), |it| it.code.to_string());
        let mut out = String::new();
        write!(
            out,
            "{} AUDIT: id={:?} stage={:?} ip={ip:?} method={:?} user={user:?} groups={groups:?} as={as_user:?} \
             asgroups={as_groups:?} user-agent={:?} namespace={namespace:?} uri={:?} response=\"{response}\"",
            self.received,
            self.id,
            stage.name(),
            self.verb,
            self.agent,
            self.uri,
        )
        .expect("writing to a String cannot fail");
        out
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn field(out: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    key(out, name);
    skiff_json::to_writer(out, value).expect("memory takes all, and every key is a text");
}

fn micros(time: Time) -> String {
    format(time, Precision::Micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn event() -> Event {
        Event {
            level: Level::RequestResponse,
            id: "one".into(),
            uri: "/api/v1/namespaces/n/pods?x=y".into(),
            verb: "create".into(),
            user: User {
                extra: vec![("z".into(), vec!["1".into()]), ("a".into(), vec![])],
                ..User::system("eve", &["g"])
            },
            impersonated: Some(User { name: "adam".into(), ..User::default() }),
            constraint: "impersonate:user-info",
            source_ips: vec!["192.0.2.1".into()],
            agent: "a \"b\"".into(),
            object: Some(Reference { resource: "pods".into(), ..Reference::default() }),
            outcome: Some(Outcome::from(&Status::unauthorized())),
            request: Some("{\"a\":1}".into()),
            response: Some("{\"b\":2}".into()),
            received: "2026-12-01T00:40:48.403691576Z".parse().expect("a time"),
            annotations: [("k".to_owned(), "v".to_owned())].into(),
        }
    }

    fn line(event: &Event, format: Format, bodies: Bodies) -> String {
        let at = "2026-12-01T00:40:49Z".parse().expect("a time");
        let line = event.line(Stage::ResponseComplete, at, format, bodies);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn an_event_reads_as_upstreams() {
        let (json, event) = (Format::Json, event());
        expect![[r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"one","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n/pods?x=y","verb":"create","user":{"username":"eve","groups":["g","system:authenticated"],"extra":{"a":[],"z":["1"]}},"impersonatedUser":{"username":"adam"},"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},"sourceIPs":["192.0.2.1"],"userAgent":"a \"b\"","objectRef":{"resource":"pods"},"responseStatus":{"metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401},"requestObject":{"a":1},"responseObject":{"b":2},"requestReceivedTimestamp":"2026-12-01T00:40:48.403691Z","stageTimestamp":"2026-12-01T00:40:49.000000Z","annotations":{"k":"v"}}"#]]
            .assert_eq(&line(&event, json, Bodies::Kept));
        let cut: Value = skiff_json::from_str(&line(&event, json, Bodies::Cut)).expect("JSON");
        assert_eq!(cut["annotations"], json!({"k": "v", "audit.k8s.io/truncated": "true"}));
        assert!(cut.get("requestObject").is_none() && cut.get("responseObject").is_none());
        let bare: Value =
            skiff_json::from_str(&line(&Event::default(), json, Bodies::Kept)).expect("JSON");
        assert_eq!(bare["user"], json!({}));
    }

    #[test]
    fn a_line_for_people_reads_as_upstreams() {
        let text = [
            line(&event(), Format::Legacy, Bodies::Kept),
            line(&Event::default(), Format::Legacy, Bodies::Kept),
        ];
        expect![[r#"
            2026-12-01T00:40:48.403691576Z AUDIT: id="one" stage="ResponseComplete" ip="192.0.2.1" method="create" user="eve" groups="\"g\",\"system:authenticated\"" as="adam" asgroups="<lookup>" user-agent="a \"b\"" namespace="<none>" uri="/api/v1/namespaces/n/pods?x=y" response="401"
            1970-01-01T00:00:00Z AUDIT: id="" stage="ResponseComplete" ip="<unknown>" method="" user="<none>" groups="<none>" as="<self>" asgroups="<lookup>" user-agent="" namespace="<none>" uri="" response="<deferred>"
        "#]]
        .assert_eq(&(text.join("\n") + "\n"));
    }
}
