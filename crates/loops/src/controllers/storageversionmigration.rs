//! Migrations of stored objects: every object of a resource is written once more, as it is written today (KEP-4192).
//!
//! One step follows the other in the status: that it runs, from which revision on objects are new enough, and how it
//! ended. Of one resource one migration runs at a time.

use crate::parts::conditions::{condition, set};
use crate::parts::status::{this_revision, write};
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::kind::{Backend, Verb};
use skiff_api::object::Object;
use skiff_api::view::{Key, Resource};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::json;
use skiff_kinds::views::{Condition, MigrationStatus, StorageVersionMigration};
use std::sync::Arc;
use std::time::Duration;

/// So long a definition may take to be served.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);
const COMPLETED: &str = "Migration completed";

/// Key: a StorageVersionMigration.
pub struct Migrations;

pub struct Seen {
    migration: Arc<StorageVersionMigration>,
    /// Another one of the same resource runs.
    waits: bool,
    target: Target,
}

enum Target {
    Unknown,
    /// It is stored nowhere.
    Elsewhere(Resource),
    /// With the revision of now, and its objects as far as they were looked at.
    Found(Resource, u64, Vec<Object>),
}

#[derive(Default)]
pub struct Memory {
    /// Why the last rewrite was refused, if trying again does not help.
    failure: Option<String>,
}

impl Loop for Migrations {
    const NAME: &'static str = "storage-version-migrator-controller";
    const WORKERS: usize = 1;
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        // Where one ends, another of the same resource begins.
        on.map::<StorageVersionMigration>(|_, caches| {
            let all = caches.of::<StorageVersionMigration>().list("");
            all.iter().filter(|it| !it.ended()).map(|it| it.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let cache = cx.caches.of::<StorageVersionMigration>();
        let Some(migration) = cache.get(key).filter(|it| !it.ended()) else { return Ok(None) };
        let of = (&*migration.spec.resource.group, &*migration.spec.resource.resource);
        let waits = cache.list("").iter().any(|other| {
            let same = (&*other.spec.resource.group, &*other.spec.resource.resource) == of;
            same && other.metadata.name != key.name && other.is("Running") && !other.ended()
        });
        let registry = cx.kinds.now();
        let target = match registry.find_in_group(of.0, of.1) {
            None => Target::Unknown,
            Some(kind) => {
                let resource = Resource::of_kind(kind);
                let verbs = [Verb::List, Verb::Watch, Verb::Patch];
                let stored = kind.backend == Backend::Stored;
                match stored && verbs.iter().all(|verb| kind.verbs.contains(verb)) {
                    false => Target::Elsewhere(resource),
                    true if migration.is("Running") => {
                        let objects = cx.client.list(resource, "", "").await?;
                        let newest = objects.iter().map(revision).max().unwrap_or(1);
                        Target::Found(resource, newest, objects)
                    }
                    true => Target::Found(resource, 0, Vec::new()),
                }
            }
        };
        Ok(Some(Seen { migration, waits, target }))
    }

    fn failed(memory: &mut Memory, _: &Change, why: &Status) {
        // A conflict says that somebody else has just written it; what is not there needs no writing.
        let passes = matches!(why.code, 404 | 409 | 429 | 500 | 503 | 504);
        memory.failure = (!passes).then(|| why.message.clone());
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let (migration, meta) = (&seen.migration, &seen.migration.metadata);
        let mut after = migration.status.clone();
        let next = step(seen, memory, &mut after, now, out);
        write(&**migration, this_revision(meta), (&migration.status, &after), out);
        next
    }
}

fn revision(object: &Object) -> u64 {
    object.resource_version().parse().unwrap_or(0)
}

fn step(
    seen: &Seen,
    memory: &mut Memory,
    after: &mut MigrationStatus,
    now: Time,
    out: &mut Changes,
) -> Next {
    let migration = &seen.migration;
    if !migration.is("Running") {
        match seen.waits {
            true => out.because("another migration of the resource runs"),
            false => running(after, now),
        }
        return Next::Wait;
    }
    let (resource, newest, objects) = match &seen.target {
        Target::Found(resource, newest, objects) => (*resource, *newest, objects),
        Target::Unknown => {
            let made = migration.metadata.creation_timestamp.unwrap_or(now);
            if made + PATIENCE > now {
                out.because("the resource is not served yet");
                return Next::At(now + AGAIN);
            }
            return fail(after, &unhandled("resource does not exist in discovery"), now);
        }
        Target::Elsewhere(of) => {
            let (group, version, plural) = (of.group, of.version, of.plural);
            let why = format!(
                "resource \"{group}/{version}, Resource={plural}\" does not support discovery operations: [update \
                 patch list]"
            );
            return fail(after, &why, now);
        }
    };
    if after.resource_version.is_empty() {
        after.resource_version = newest.to_string();
        return Next::Wait;
    }
    if let Some(why) = memory.failure.take() {
        return fail(after, &unhandled(&why), now);
    }
    let until: u64 = after.resource_version.parse().unwrap_or(0);
    let old =
        objects.iter().filter(|object| revision(object) <= until).map(|object| Change::Patch {
            kind: PatchKind::Merge,
            resource,
            key: Key::new(object.namespace(), object.name()),
            subresource: "",
            body: json!({"apiVersion": resource.api_version(), "kind": resource.kind,
                "metadata": {"resourceVersion": object.resource_version()}}),
        });
    out.together(old);
    let end = condition("Succeeded", "True", "StorageVersionMigrationSucceeded", COMPLETED, now);
    ended(after, end, now)
}

fn running(after: &mut MigrationStatus, now: Time) {
    let message = "The migration is running";
    set(&mut after.conditions, condition("Running", "True", "MigrationRunning", message, now));
}

fn unhandled(why: &str) -> String {
    format!("migration encountered unhandled error: {why}")
}

fn fail(after: &mut MigrationStatus, why: &str, now: Time) -> Next {
    let end = condition("Failed", "True", "StorageVersionMigrationFailed", why, now);
    ended(after, end, now)
}

fn ended(after: &mut MigrationStatus, end: Condition, now: Time) -> Next {
    set(&mut after.conditions, condition("Running", "False", "MigrationCompleted", COMPLETED, now));
    set(&mut after.conditions, end);
    Next::Wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn check(status: Value, objects: &[&str], expected: Expect) {
        let migration = json!({"metadata": {"name": "m", "uid": "u", "resourceVersion": "9"}, "status": status});
        let migration = Arc::new(skiff_json::from_value(migration).expect("a valid view"));
        let object = |revision: &&str| {
            Object::new(
                json!({"metadata": {"name": format!("o{revision}"), "resourceVersion": revision}}),
            )
        };
        let objects: Vec<Object> = objects.iter().map(object).collect();
        let newest = objects.iter().map(revision).max().unwrap_or(1);
        let target = Target::Found(Resource::core("things", "Thing").cluster(), newest, objects);
        let mut out = Changes::default();
        let seen = Seen { migration, waits: false, target };
        Migrations::plan(&seen, &mut Memory::default(), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn it_runs_finds_its_revision_and_ends() {
        check(
            json!({}),
            &[],
            expect![[r#"
            merge storageversionmigrations m status {"metadata":{"resourceVersion":"9","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"The migration is running","reason":"MigrationRunning","status":"True","type":"Running"}],"resourceVersion":""}}
        "#]],
        );
        let running = json!([{"type": "Running", "status": "True", "reason": "MigrationRunning",
            "message": "The migration is running"}]);
        check(
            json!({"conditions": running}),
            &["3", "5"],
            expect![[r#"
            merge storageversionmigrations m status {"metadata":{"resourceVersion":"9","uid":"u"},"status":{"conditions":[{"message":"The migration is running","reason":"MigrationRunning","status":"True","type":"Running"}],"resourceVersion":"5"}}
        "#]],
        );
        check(
            json!({"conditions": running, "resourceVersion": "5"}),
            &["3", "7"],
            expect![[r#"
                together
                  patch Merge things o3  {"apiVersion":"v1","kind":"Thing","metadata":{"resourceVersion":"3"}}
                merge storageversionmigrations m status {"metadata":{"resourceVersion":"9","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"Migration completed","reason":"MigrationCompleted","status":"False","type":"Running"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"Migration completed","reason":"StorageVersionMigrationSucceeded","status":"True","type":"Succeeded"}],"resourceVersion":"5"}}
            "#]],
        );
    }
}
