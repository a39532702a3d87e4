//! Reloads: what came of changes of one file, as upstream's metrics tell it. Skiff has one API server: the label that
//! would tell several apart (`apiserver_id_hash`) is left out. Never here: what a file says.

use ring::digest::{SHA256, digest};
use skiff_base::{Lock, World};
use std::fmt::Write;

/// Of one file.
pub struct Reloads {
    world: World,
    /// What the file configures: `authentication` or `authorization`.
    subject: &'static str,
    seen: Lock<Seen>,
}

struct Seen {
    taken: Count,
    refused: Count,
    /// Of the file that counts.
    hash: String,
}

#[derive(Default)]
struct Count {
    times: u64,
    last_s: i64,
}

impl Reloads {
    /// `first` is the file that counts until it changes.
    pub fn new(subject: &'static str, first: &[u8], world: &World) -> Reloads {
        let (taken, refused) = Default::default();
        let seen = Seen { taken, refused, hash: hash(first) };
        Reloads { world: world.clone(), subject, seen: Lock::new(seen) }
    }

    /// The changed file counts from now on.
    pub fn taken(&self, file: &[u8]) {
        let mut seen = self.seen.lock();
        seen.taken.count(&self.world);
        seen.hash = hash(file);
    }

    /// The changed file is wrong: the one before counts.
    pub fn refused(&self) {
        self.seen.lock().refused.count(&self.world);
    }

    /// In the Prometheus text format.
    pub fn figures(&self) -> String {
        let subject = self.subject;
        let name = format!("apiserver_{subject}_config_controller");
        let seen = self.seen.lock();
        let counts: Vec<_> = [("failure", &seen.refused), ("success", &seen.taken)]
            .into_iter()
            .filter(|(_, count)| count.times > 0)
            .collect();
        let mut page = String::new();
        let head = |page: &mut String, metric: &str, sort: &str, help: &str| {
            write!(page, "# HELP {name}_{metric} {help}\n# TYPE {name}_{metric} {sort}\n")
                .expect("it is a String");
        };
        let metric = "automatic_reloads_total";
        head(
            &mut page,
            metric,
            "counter",
            &format!("Changes of the {subject} file, by what came of them."),
        );
        for (status, count) in &counts {
            page += &format!("{name}_{metric}{{status=\"{status}\"}} {}\n", count.times);
        }
        let metric = "automatic_reload_last_timestamp_seconds";
        head(&mut page, metric, "gauge", "When the last of them was.");
        for (status, count) in &counts {
            page += &format!("{name}_{metric}{{status=\"{status}\"}} {}\n", count.last_s);
        }
        head(&mut page, "last_config_info", "gauge", "The digest of the file that counts.");
        page + &format!("{name}_last_config_info{{hash=\"sha256:{}\"}} 1\n", seen.hash)
    }
}

impl Count {
    fn count(&mut self, world: &World) {
        self.times += 1;
        self.last_s = world.now().as_second();
    }
}

fn hash(file: &[u8]) -> String {
    let digest = digest(&SHA256, file);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_are_counted_by_what_came_of_them() {
        let world = World::seeded(1);
        let reloads = Reloads::new("authorization", b"one", &world);
        let before = reloads.figures();
        reloads.refused();
        assert!(reloads.figures().contains(&hash(b"one")));
        world.sleep(std::time::Duration::from_secs(5)).await;
        reloads.refused();
        reloads.taken(b"two");
        let text = format!("{before}\n{}", reloads.figures());
        expect_test::expect![[r##"
            # HELP apiserver_authorization_config_controller_automatic_reloads_total Changes of the authorization file, by what came of them.
            # TYPE apiserver_authorization_config_controller_automatic_reloads_total counter
            # HELP apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds When the last of them was.
            # TYPE apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds gauge
            # HELP apiserver_authorization_config_controller_last_config_info The digest of the file that counts.
            # TYPE apiserver_authorization_config_controller_last_config_info gauge
            apiserver_authorization_config_controller_last_config_info{hash="sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"} 1

            # HELP apiserver_authorization_config_controller_automatic_reloads_total Changes of the authorization file, by what came of them.
            # TYPE apiserver_authorization_config_controller_automatic_reloads_total counter
            apiserver_authorization_config_controller_automatic_reloads_total{status="failure"} 2
            apiserver_authorization_config_controller_automatic_reloads_total{status="success"} 1
            # HELP apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds When the last of them was.
            # TYPE apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds gauge
            apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds{status="failure"} 1767225605
            apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds{status="success"} 1767225605
            # HELP apiserver_authorization_config_controller_last_config_info The digest of the file that counts.
            # TYPE apiserver_authorization_config_controller_last_config_info gauge
            apiserver_authorization_config_controller_last_config_info{hash="sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"} 1
        "##]].assert_eq(&text);
    }
}
