//! The columns of `kubectl get pods`: how far a pod is, in the few words that users know.

use skiff_api::object::{Object, at, flag, text};
use skiff_api::table::Shown;
use skiff_json::Value;

pub fn ready(pod: &Object) -> Value {
    let seen = Seen::of(pod);
    format!("{}/{}", seen.ready, seen.total).into()
}

pub fn status(pod: &Object) -> Value {
    Seen::of(pod).reason.into()
}

pub fn restarts(pod: &Object) -> Shown {
    let Restarts { count, last } = Seen::of(pod).restarts;
    match (count, last) {
        (0, _) | (_, "") => Value::from(count.to_string()).into(),
        (count, last) => Shown::ago_in(&format!("{count} ("), last, " ago)"),
    }
}

pub fn ip(pod: &Object) -> Value {
    text_or_none(
        pod.list("status.podIPs").first().and_then(|ip| ip.get("ip")?.as_str()).unwrap_or(""),
    )
}

pub fn readiness_gates(pod: &Object) -> Value {
    let gates = pod.list("spec.readinessGates");
    let holds = |gate: &&Value| condition(pod, text(gate, "conditionType")) == Some("True");
    match gates.len() {
        0 => "<none>".into(),
        all => format!("{}/{all}", gates.iter().filter(holds).count()).into(),
    }
}

pub fn text_or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn int(value: &Value, path: &str) -> i64 {
    at(value, path).and_then(Value::as_i64).unwrap_or(0)
}

/// The status of the first condition of a type.
fn condition<'a>(pod: &'a Object, type_: &str) -> Option<&'a str> {
    let found = pod.list("status.conditions").iter().find(|c| text(c, "type") == type_);
    found.map(|c| text(c, "status"))
}

/// How often containers were restarted, and when the last of them had ended (as text; empty is never).
#[derive(Default, Clone, Copy)]
struct Restarts<'a> {
    count: i64,
    last: &'a str,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, container: &'a Value) {
        self.count += int(container, "restartCount");
        let ended = text(container, "lastState.terminated.finishedAt");
        // Times of the API are all in UTC and of one length, so their texts are in their order.
        if ended > self.last {
            self.last = ended;
        }
    }
}

/// What the status of the containers adds up to.
struct Seen<'a> {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts<'a>,
}

impl<'a> Seen<'a> {
    fn of(pod: &'a Object) -> Seen<'a> {
        let sidecars: Vec<&str> = pod
            .list("spec.initContainers")
            .iter()
            .filter(|c| text(c, "restartPolicy") == "Always")
            .map(|c| text(c, "name"))
            .collect();
        let mut seen = Seen {
            ready: 0,
            total: pod.list("spec.containers").len() + sidecars.len(),
            reason: first_reason(pod),
            restarts: Restarts::default(),
        };
        let mut of_sidecars = Restarts::default();
        let initializing = seen.init(pod, &sidecars, &mut of_sidecars);
        if !initializing || condition(pod, "Initialized") == Some("True") {
            seen.restarts = of_sidecars;
            seen.main(pod);
        }
        let phase = pod.text("status.phase");
        if pod.deleting() && pod.text("status.reason") == "NodeLost" {
            seen.reason = "Unknown".into();
        } else if pod.deleting() && !matches!(phase, "Failed" | "Succeeded") {
            seen.reason = "Terminating".into();
        }
        seen
    }

    /// Walks the init containers up to the first that holds the pod up; whether one does.
    fn init(&mut self, pod: &'a Object, sidecars: &[&str], of_sidecars: &mut Restarts<'a>) -> bool {
        for (index, container) in pod.list("status.initContainerStatuses").iter().enumerate() {
            let sidecar = sidecars.contains(&text(container, "name"));
            self.restarts.add(container);
            if sidecar {
                of_sidecars.add(container);
            }
            let ended = at(container, "state.terminated");
            if ended.is_some_and(|ended| int(ended, "exitCode") == 0) {
                continue;
            }
            if sidecar && flag(container, "started") {
                self.ready += usize::from(flag(container, "ready"));
                continue;
            }
            let waiting = text(container, "state.waiting.reason");
            self.reason = match ended {
                Some(ended) => format!("Init:{}", end_reason(ended)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{index}/{}", pod.list("spec.initContainers").len()),
            };
            return true;
        }
        false
    }

    fn main(&mut self, pod: &'a Object) {
        let (mut running, mut failure) = (false, None);
        for container in pod.list("status.containerStatuses").iter().rev() {
            self.restarts.add(container);
            let waiting = text(container, "state.waiting.reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(ended) = at(container, "state.terminated") {
                self.reason = end_reason(ended);
                if int(ended, "exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if flag(container, "ready") && at(container, "state.running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            self.reason = match failure {
                _ if running && condition(pod, "Ready") == Some("True") => "Running".into(),
                Some(failure) => failure,
                None if running => "NotReady".into(),
                None => "Completed".into(),
            };
        }
    }
}

/// The reason before any container is looked at.
fn first_reason(pod: &Object) -> String {
    let gated =
        |c: &Value| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated";
    if pod.list("status.conditions").iter().any(gated) {
        return "SchedulingGated".into();
    }
    match pod.text("status.reason") {
        "" => pod.text("status.phase").to_owned(),
        reason => reason.to_owned(),
    }
}

fn end_reason(ended: &Value) -> String {
    match (text(ended, "reason"), int(ended, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(ended, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn row(pod: Value) -> String {
        let now = "2026-01-01T00:10:00Z".parse().expect("a time");
        let pod = Object::new(pod);
        [ready(&pod), status(&pod), restarts(&pod).at(now)]
            .map(|cell| cell.as_str().unwrap_or("?").to_owned())
            .join(" | ")
    }

    #[test]
    fn statuses_read_as_users_know_them() {
        let one = json!({"containers": [{"name": "c"}]});
        let init = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let crash = json!({"name": "c", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                           "lastState": {"terminated": {"finishedAt": "2026-01-01T00:05:00Z"}}});
        let cases = [
            (json!({"spec": one, "status": {"phase": "Pending"}}), "0/1 | Pending | 0"),
            (
                json!({"spec": one, "status": {"phase": "Running", "containerStatuses": [crash]}}),
                "0/1 | CrashLoopBackOff | 3 (5m ago)",
            ),
            (
                json!({"spec": init, "status": {"phase": "Pending", "initContainerStatuses":
                    [{"name": "i", "state": {"terminated": {"exitCode": 0}}},
                     {"name": "j", "state": {"running": {}}}]}}),
                "0/1 | Init:1/2 | 0",
            ),
            (
                json!({"spec": init, "status": {"phase": "Pending", "initContainerStatuses":
                    [{"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 3}}}]}}),
                "0/1 | Init:ExitCode:3 | 1",
            ),
            (
                json!({"spec": one, "status": {"phase": "Succeeded", "containerStatuses":
                    [{"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}}),
                "0/1 | Completed | 0",
            ),
            (
                json!({"spec": one, "metadata": deleted, "status": {"phase": "Running"}}),
                "0/1 | Terminating | 0",
            ),
            (
                json!({"spec": one, "status": {"phase": "Pending", "conditions":
                    [{"type": "PodScheduled", "reason": "SchedulingGated"}]}}),
                "0/1 | SchedulingGated | 0",
            ),
        ];
        for (pod, wanted) in cases {
            assert_eq!(row(pod), wanted);
        }
    }
}
