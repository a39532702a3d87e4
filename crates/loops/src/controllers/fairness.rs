//! Flow schemas and priority levels: those that every cluster begins with are made and kept, and each schema says
//! whether its level is there (KEP-1040).
//!
//! Mandatory ones are always put right; of the others an administrator may take the spec over, by an annotation or by
//! changing it.

use crate::parts::conditions::{find, whole_seconds};
use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::flowcontrol::bootstrap::{self, AUTO_UPDATE, MANDATORY};
use skiff_kinds::views::{FlowSchema, Namespace, PriorityLevelConfiguration};
use std::sync::Arc;

/// Key: the kind in the place of the namespace, and a name.
pub struct Bootstrap;

pub struct Seen {
    resource: Resource,
    name: String,
    found: Option<(Meta, Value)>,
}

impl Loop for Bootstrap {
    const NAME: &'static str = "api-priority-and-fairness-config-producer-v1";
    const MANAGER: &'static str = Self::NAME;
    const WORKERS: usize = 1;
    type Seen = Seen;
    type Memory = ();

    fn user() -> User {
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        on.map::<FlowSchema>(|it, _| vec![Key::new("FlowSchema", &it.metadata.name)]);
        on.map::<PriorityLevelConfiguration>(|it, _| {
            vec![Key::new("PriorityLevelConfiguration", &it.metadata.name)]
        });
        // A namespace that is always there tells of the beginning.
        on.map::<Namespace>(|namespace, _| {
            let kinds = ["PriorityLevelConfiguration", "FlowSchema"];
            let all = kinds.iter().flat_map(|kind| {
                bootstrap::names(kind).into_iter().map(|name| Key::new(kind, name))
            });
            if namespace.metadata.name == "kube-system" { all.collect() } else { Vec::new() }
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let at = Key::new("", &key.name);
        let (resource, found) = match &*key.namespace {
            "FlowSchema" => {
                let found = cx.caches.of::<FlowSchema>().get(&at);
                (FlowSchema::RESOURCE, found.map(|it| (it.metadata.clone(), it.spec.clone())))
            }
            _ => {
                let found = cx.caches.of::<PriorityLevelConfiguration>().get(&at);
                let found = found.map(|it| (it.metadata.clone(), it.spec.clone()));
                (PriorityLevelConfiguration::RESOURCE, found)
            }
        };
        Ok(Some(Seen { resource, name: key.name.clone(), found }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let Seen { resource, name, found } = seen;
        let wanted = bootstrap::object(resource.kind, name);
        let key = Key::new("", name);
        match (found, wanted) {
            (None, Some(body)) => out.create(*resource, "", body),
            (Some((meta, spec)), Some(wanted)) => {
                keep((*resource, key), meta, (spec, &wanted["spec"]), out);
            }
            // It was one of these in an earlier release.
            (Some((meta, _)), None) if auto(meta) == Some(true) => {
                out.delete(*resource, key, &meta.uid);
            }
            _ => {}
        }
        Next::Wait
    }
}

/// What the annotation says, if it says anything.
fn auto(meta: &Meta) -> Option<bool> {
    match meta.annotations.get(AUTO_UPDATE).map(String::as_str) {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
        _ => None,
    }
}

fn keep(at: (Resource, Key), meta: &Meta, (spec, wanted): (&Value, &Value), out: &mut Changes) {
    let mandatory = MANDATORY.contains(&&*meta.name);
    // One that nobody has changed yet follows, whatever became of its annotation.
    let follows = mandatory || auto(meta).unwrap_or(meta.generation == 1);
    // Of the exempt level an administrator may lend shares.
    let own = at.0 == PriorityLevelConfiguration::RESOURCE && meta.name == "exempt";
    let bent = follows && spec != wanted && !own;
    let told = auto(meta) == Some(follows);
    if !bent && told {
        return;
    }
    let mut body = json!({"metadata": this_revision(meta)});
    if !told {
        body["metadata"]["annotations"] = json!({AUTO_UPDATE: follows.to_string()});
    }
    if bent {
        let mut whole = wanted.clone();
        let gone =
            spec.as_object().into_iter().flatten().filter(|(key, _)| wanted.get(key).is_none());
        gone.for_each(|(key, _)| whole[key] = Value::Null);
        body["spec"] = whole;
    }
    out.merge(at.0, at.1, body);
}

/// Key: a FlowSchema.
pub struct Dangling;

pub struct Schema {
    schema: Arc<FlowSchema>,
    found: bool,
}

impl Loop for Dangling {
    const NAME: &'static str = "api-priority-and-fairness-config-consumer-v1";
    const MANAGER: &'static str = Self::NAME;
    type Seen = Schema;
    type Memory = ();

    fn user() -> User {
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        on.own::<FlowSchema>();
        on.map::<PriorityLevelConfiguration>(|level, caches| {
            let schemas = caches.of::<FlowSchema>().find("level", &level.metadata.name);
            schemas.iter().map(|it| it.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Schema>, Status> {
        let Some(schema) = cx.caches.of::<FlowSchema>().get(key) else { return Ok(None) };
        let level = Key::new("", schema.level());
        // Mandatory levels are there, whether they are stored at the moment or not.
        let found = MANDATORY.contains(&schema.level())
            || cx.caches.of::<PriorityLevelConfiguration>().get(&level).is_some();
        Ok(Some(Schema { schema, found }))
    }

    fn plan(seen: &Schema, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let (schema, level) = (&seen.schema, seen.schema.level());
        let head = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?}"
        );
        let (status, reason, message) = match seen.found {
            true => ("False", "Found", format!("{head} and it exists")),
            false => ("True", "NotFound", format!("{head} but there is no such object")),
        };
        let old = find(&schema.status.conditions, "Dangling");
        if old.is_some_and(|it| {
            (&*it.status, &*it.reason, &*it.message) == (status, reason, &*message)
        }) {
            return Next::Wait;
        }
        let since = old.filter(|it| it.status == status).and_then(|it| it.last_transition_time);
        let since = format(since.unwrap_or(whole_seconds(now)), Precision::Seconds);
        let condition = json!({"type": "Dangling", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since});
        let resource = FlowSchema::RESOURCE;
        let body = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
            "metadata": {"name": schema.metadata.name, "uid": schema.metadata.uid},
            "status": {"conditions": [condition]}});
        out.patch(PatchKind::Apply, resource, schema.metadata.key(), "status", body);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(name: &str, found: Option<Value>, expected: Expect) {
        let found = found.map(|it| {
            let meta = skiff_json::from_value(it["metadata"].clone()).expect("valid metadata");
            (meta, it["spec"].clone())
        });
        let seen =
            Seen { resource: PriorityLevelConfiguration::RESOURCE, name: name.into(), found };
        let mut out = Changes::default();
        Bootstrap::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    fn stored(name: &str, auto: &str, generation: i64) -> Value {
        json!({"metadata": {"name": name, "uid": "u", "resourceVersion": "3", "generation": generation,
            "annotations": {AUTO_UPDATE: auto}}, "spec": {"type": "Limited"}})
    }

    #[test]
    fn what_belongs_to_a_cluster_is_made_and_kept() {
        check(
            "catch-all",
            None,
            expect![[r#"
            create prioritylevelconfigurations  {"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"true"},"name":"catch-all"},"spec":{"limited":{"lendablePercent":0,"limitResponse":{"type":"Reject"},"nominalConcurrencyShares":5},"type":"Limited"}}
        "#]],
        );
        check(
            "catch-all",
            Some(stored("catch-all", "false", 2)),
            expect![[r#"
            merge prioritylevelconfigurations catch-all  {"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"true"},"resourceVersion":"3","uid":"u"},"spec":{"limited":{"lendablePercent":0,"limitResponse":{"type":"Reject"},"nominalConcurrencyShares":5},"type":"Limited"}}
        "#]],
        );
    }

    #[test]
    fn an_administrator_may_take_a_level_over() {
        check("system", Some(stored("system", "false", 2)), expect![[""]]);
        check(
            "system",
            Some(stored("system", "?", 2)),
            expect![[r#"
            merge prioritylevelconfigurations system  {"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"},"resourceVersion":"3","uid":"u"}}
        "#]],
        );
        check("mine", Some(stored("mine", "false", 1)), expect![[""]]);
        check(
            "old",
            Some(stored("old", "true", 1)),
            expect![[r#"
            delete prioritylevelconfigurations old uid=u
        "#]],
        );
    }
}
