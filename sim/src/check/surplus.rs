//! No controller makes more than it wants: what it made last it sees before it makes more. A set whose number was
//! just lowered may still make what it wanted a moment ago.

use super::state::{self, Objects, Story, number, text};
use skiff_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// So long after a change a controller may act on what was before it.
const KNOWN: Duration = Duration::from_secs(30);

/// How many each owner wanted, and until when, by its uid; the newest last.
type Wanted<'a> = BTreeMap<&'a str, Vec<(Duration, i64)>>;

pub fn check(story: &Story) -> Vec<String> {
    let (mut found, mut wanted) = (Vec::new(), Wanted::new());
    story.replay(&["pods", "replicasets.apps", "jobs.batch"], |logged, new, all| {
        let Some(old) = all.get(&*logged.key) else {
            if logged.key.starts_with("pods/") {
                found.extend(surplus((logged.at, logged.revision), new, all, &wanted));
            }
            return;
        };
        if !logged.key.starts_with("pods/") && wants(old) != wants(new) {
            let before = (logged.at, wants(old));
            wanted.entry(text(old, "/metadata/uid")).or_default().push(before);
        }
    });
    found
}

/// How many pods an owner wants at once.
fn wants(owner: &Value) -> i64 {
    number(owner, "/spec/replicas").max(number(owner, "/spec/parallelism"))
}

/// What is wrong with a pod that was just made, if anything is.
fn surplus(
    (at, revision): (Duration, u64),
    pod: &Value,
    all: &Objects,
    wanted: &Wanted,
) -> Option<String> {
    let (_, owner) = state::controller(pod)?;
    let (key, object) = all
        .iter()
        .find(|(key, it)| !key.starts_with("pods/") && text(it, "/metadata/uid") == owner)?;
    let lately = wanted.get(owner).into_iter().flatten().filter(|(until, _)| *until + KNOWN > at);
    let most = lately.map(|(_, wanted)| *wanted).max().unwrap_or(0).max(wants(object));
    let active = all.iter().filter(|(key, it)| {
        let own = || state::controller(it).is_some_and(|it| it.1 == owner);
        key.starts_with("pods/") && !state::deleting(it) && !state::ended(it) && own()
    });
    let count = active.count() as i64 + 1;
    (count > most)
        .then(|| format!("{key} wants {most} pods, and made one more at {revision}: {count}"))
}
