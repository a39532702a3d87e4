//! Lives of pods as texts: what happens goes in, what the plan begins and what users see comes out.

use super::super::seen::{Ended, Outcome};
use super::super::status;
use super::*;
use crate::volumes::Mounted;
use expect_test::{Expect, expect};
use skiff_json::{Value, json};
use std::sync::Arc;

/// A pod's life on virtual seconds.
struct Life {
    seen: Seen,
    now: Time,
    ids: u32,
    text: String,
}

fn pod(spec: Value) -> Arc<Pod> {
    let metadata = json!({"name": "p", "namespace": "n", "uid": "u"});
    let value = json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}});
    skiff_json::from_value(value).map(Arc::new).expect("a pod")
}

impl Life {
    fn new(spec: Value) -> Life {
        let now = Time::from_second(1000).expect("in range");
        let mut life =
            Life { seen: Seen::new(pod(spec), "10.0.0.1", now), now, ids: 0, text: String::new() };
        life.seen.told = true;
        life.plan();
        life
    }

    /// A pod of which there was a folder when the node started.
    fn found(spec: Value) -> Life {
        let mut life = Life::new(spec);
        life.seen.find_volumes();
        life.text = "after a start\n".into();
        life.plan();
        life
    }

    /// Plans until nothing is begun any more.
    fn plan(&mut self) {
        loop {
            let ids = &mut self.ids;
            let plan = plan(&self.seen, self.now, &mut || {
                *ids += 1;
                format!("id{ids}")
            });
            for (name, _, type_) in &plan.probes {
                self.text += &format!("  probe {name} {type_:?}\n");
            }
            if plan.actions.is_empty() {
                let wait = plan.wake.map(|at| at.as_second() - self.now.as_second());
                self.text += &wait.map_or(String::new(), |s| format!("  look again in {s}s\n"));
                break;
            }
            for action in plan.actions {
                self.text += &format!("  {}\n", line(&action));
                self.seen.begin(&action);
            }
        }
        let status = status::status(&self.seen, self.now);
        self.seen.remember(&status);
        self.text += &format!("  = {}", status["phase"].as_str().expect("a phase"));
        for list in ["initContainerStatuses", "containerStatuses"] {
            for container in status[list].as_array().into_iter().flatten() {
                let state = container["state"].as_object().and_then(|s| s.iter().next());
                let (state, inner) = state.expect("there is one");
                let reason = inner["reason"].as_str().unwrap_or(state);
                let name = container["name"].as_str().expect("a name");
                let ready = if container["ready"] == json!(true) { " ready" } else { "" };
                self.text += &format!(", {name} {reason} {}{ready}", container["restartCount"]);
            }
        }
        self.text.push('\n');
    }

    fn after(&mut self, seconds: i64) -> &mut Life {
        self.now = Time::from_second(self.now.as_second() + seconds).expect("in range");
        self.text += &format!("{seconds}s later\n");
        self.plan();
        self
    }

    fn happens(&mut self, what: &str, outcome: Outcome) -> &mut Life {
        self.text += &format!("{what}\n");
        self.seen.take(outcome, self.now);
        self.plan();
        self
    }

    fn prepared(&mut self) -> &mut Life {
        let ip = "10.244.0.2".parse().ok();
        self.happens("sandbox", Outcome::Sandbox(Ok(("s".into(), ip))))
    }

    fn mounts(&mut self, volume: &str) -> &mut Life {
        self.mounts_until(volume, None)
    }

    /// It shows something that grows old after so many seconds.
    fn mounts_until(&mut self, volume: &str, seconds: Option<u64>) -> &mut Life {
        let due = seconds.map(|seconds| later(self.now, Duration::from_secs(seconds)));
        let result = Ok((mounted(volume), due));
        let mounted = Outcome::Mounted { volume: volume.into(), result };
        self.happens(&format!("{volume} is mounted"), mounted)
    }

    fn mount_fails(&mut self, volume: &str) -> &mut Life {
        let failed = Outcome::Mounted { volume: volume.into(), result: Err("no".into()) };
        self.happens(&format!("{volume} cannot be mounted"), failed)
    }

    fn unmounts(&mut self, volume: &str) -> &mut Life {
        let unmounted = Outcome::Unmounted { volume: volume.into(), result: Ok(()) };
        self.happens(&format!("{volume} is unmounted"), unmounted)
    }

    fn unmount_fails(&mut self, volume: &str) -> &mut Life {
        let failed = Outcome::Unmounted { volume: volume.into(), result: Err("busy".into()) };
        self.happens(&format!("{volume} cannot be unmounted"), failed)
    }

    /// What was found of the volumes is looked at: these are whole.
    fn checked(&mut self, whole: &[&str]) -> &mut Life {
        let all = whole.iter().map(|name| ((*name).to_owned(), mounted(name))).collect();
        self.happens(&format!("checked: {whole:?}"), Outcome::Checked(Ok(all)))
    }

    fn sandbox_goes(&mut self) -> &mut Life {
        self.happens("sandbox gone", Outcome::SandboxRemoved(Ok(())))
    }

    fn image(&mut self, name: &str) -> &mut Life {
        let result = Ok(ImageFact { id: "i".into(), name: "x:1".into(), shown: "i".into() });
        self.happens(&format!("image of {name}"), Outcome::Image { container: name.into(), result })
    }

    fn id(&self, name: &str) -> String {
        self.seen.known(name).live().expect("it runs").to_owned()
    }

    fn started(&mut self, name: &str) -> &mut Life {
        let (id, since) = (self.id(name), self.now);
        let user = (0, 0, Vec::new());
        let container = name.to_owned();
        let started = Outcome::Started { container, id, since, hooked: true, user };
        self.happens(&format!("{name} starts"), started)
    }

    fn runs(&mut self, name: &str) -> &mut Life {
        self.image(name);
        self.started(name)
    }

    fn exits(&mut self, name: &str, code: i32) -> &mut Life {
        let ended = Ended {
            id: self.id(name),
            image: ImageFact::default(),
            code,
            signal: 0,
            reason: if code == 0 { "Completed".into() } else { "Error".into() },
            message: String::new(),
            started: Some(self.now),
            finished: self.now,
        };
        let container = name.to_owned();
        self.happens(&format!("{name} exits {code}"), Outcome::Exited { container, ended })
    }

    fn deleted(&mut self, grace_s: i64) -> &mut Life {
        let mut pod = (*self.seen.pod).clone();
        pod.metadata.deletion_timestamp = Some(self.now);
        pod.metadata.deletion_grace_period_seconds = Some(grace_s);
        self.seen.pod = Arc::new(pod);
        self.text += &format!("deleted, {grace_s}s\n");
        self.plan();
        self
    }

    fn resized(&mut self, spec: Value) -> &mut Life {
        self.seen.pod = pod(spec);
        self.text += "resources change\n";
        self.plan();
        self
    }

    fn is(&self, expected: Expect) {
        expected.assert_eq(&self.text);
    }
}

fn mounted(volume: &str) -> Mounted {
    Mounted { path: format!("/{volume}").into(), readonly: false }
}

fn line(action: &Action) -> String {
    match action {
        Action::MakeSandbox => "make sandbox".into(),
        Action::Mount { volume } => format!("mount {volume}"),
        Action::Unmount { volume } => format!("unmount {volume}"),
        Action::Pull { container } => format!("pull {container}"),
        Action::Start { container, attempt, .. } => format!("start {container} #{attempt}"),
        Action::Kill { container, why, grace_s, .. } => {
            format!("kill {container} in {grace_s}s: {why:?}")
        }
        Action::Resize(resize) => {
            let names: Vec<&str> = resize.containers.iter().map(|(name, ..)| &**name).collect();
            format!("resize {}", names.join(" "))
        }
        Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
        Action::BackOff { message, .. } => message.clone(),
        Action::Fail { reason, .. } => format!("fail: {reason}"),
        Action::Finish => "finish".into(),
    }
}

#[test]
fn a_pod_goes_up_and_down() {
    let mut life = Life::new(json!({"restartPolicy": "Always", "containers": [{"name": "c"}]}));
    life.prepared().runs("c").deleted(30).deleted(2).exits("c", 143);
    life.sandbox_goes();
    life.is(expect![[r#"
          make sandbox
          pull c
          = Pending, c ContainerCreating 0
        sandbox
          = Pending, c ContainerCreating 0
        image of c
          start c #0
          = Pending, c ContainerCreating 0
        c starts
          = Running, c running 0 ready
        deleted, 30s
          kill c in 30s: Pod { grace_s: 30 }
          = Running, c running 0 ready
        deleted, 2s
          kill c in 2s: Pod { grace_s: 2 }
          = Running, c running 0 ready
        c exits 143
          remove sandbox s
          = Failed, c Error 0
        sandbox gone
          finish
          = Failed, c Error 0
    "#]]);
}

#[test]
fn resources_change_in_place_or_with_a_new_start() {
    let spec = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}});
        let policy = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        json!({"restartPolicy": "Always", "containers": [
            {"name": "a", "resources": resources},
            {"name": "b", "resources": resources, "resizePolicy": policy},
        ]})
    };
    let mut life = Life::new(spec("1"));
    life.prepared().runs("a").runs("b").text.clear();
    life.resized(spec("2"));
    let resizing = |life: &Life| {
        let status = status::status(&life.seen, life.now);
        let all = status["conditions"].as_array().expect("conditions").clone();
        all.into_iter().find(|it| it["type"] == "PodResizeInProgress").expect("it is told")
    };
    assert_eq!(resizing(&life)["status"], "True");
    let a = |life: &Life| {
        status::status(&life.seen, life.now)["containerStatuses"][0]["resources"].clone()
    };
    assert_eq!(a(&life), json!({"requests": {"cpu": "1"}}), "until it is so");
    life.happens("resized", Outcome::Resized(Ok(())));
    assert_eq!(a(&life), json!({"requests": {"cpu": "2"}}));
    life.exits("b", 143).runs("b");
    assert_eq!(resizing(&life)["$patch"], "delete");
    life.resized(spec("3")).happens("no", Outcome::Resized(Err("no".into())));
    assert_eq!(resizing(&life)["reason"], "Error");
    life.is(expect![[r#"
        resources change
          kill b in 30s: Resize
          resize a
          = Running, a running 0 ready, b running 0 ready
        resized
          = Running, a running 0 ready, b running 0 ready
        b exits 143
          pull b
          = Running, a running 0 ready, b Error 0
        image of b
          start b #1
          = Running, a running 0 ready, b ContainerCreating 1
        b starts
          = Running, a running 0 ready, b running 1 ready
        resources change
          kill b in 30s: Resize
          resize a
          = Running, a running 0 ready, b running 1 ready
        no
          = Running, a running 0 ready, b running 1 ready
    "#]]);
}

#[test]
fn a_container_that_keeps_failing_waits_longer_each_time() {
    let mut life = Life::new(json!({"restartPolicy": "Always", "containers": [{"name": "c"}]}));
    life.prepared().runs("c").exits("c", 1).runs("c").exits("c", 1);
    life.after(10).runs("c").after(700).exits("c", 1);
    life.is(expect![[r#"
          make sandbox
          pull c
          = Pending, c ContainerCreating 0
        sandbox
          = Pending, c ContainerCreating 0
        image of c
          start c #0
          = Pending, c ContainerCreating 0
        c starts
          = Running, c running 0 ready
        c exits 1
          pull c
          = Running, c Error 0
        image of c
          start c #1
          = Running, c ContainerCreating 1
        c starts
          = Running, c running 1 ready
        c exits 1
          Back-off restarting failed container c in pod p_n(u)
          look again in 10s
          = Running, c CrashLoopBackOff 1
        10s later
          pull c
          = Running, c CrashLoopBackOff 1
        image of c
          start c #2
          = Running, c ContainerCreating 2
        c starts
          = Running, c running 2 ready
        700s later
          = Running, c running 2 ready
        c exits 1
          pull c
          = Running, c Error 2
    "#]]);
}

#[test]
fn init_containers_come_first_and_sidecars_go_last() {
    let mut life = Life::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "c"}],
    }));
    life.prepared().runs("i").exits("i", 0).runs("s").runs("c").exits("c", 0).exits("s", 0);
    life.sandbox_goes();
    life.is(expect![[r#"
          make sandbox
          pull i
          = Pending, i PodInitializing 0, s PodInitializing 0, c PodInitializing 0
        sandbox
          = Pending, i PodInitializing 0, s PodInitializing 0, c PodInitializing 0
        image of i
          start i #0
          = Pending, i PodInitializing 0, s PodInitializing 0, c PodInitializing 0
        i starts
          = Pending, i running 0, s PodInitializing 0, c PodInitializing 0
        i exits 0
          pull s
          = Pending, i Completed 0 ready, s PodInitializing 0, c PodInitializing 0
        image of s
          start s #0
          = Pending, i Completed 0 ready, s PodInitializing 0, c PodInitializing 0
        s starts
          pull c
          = Pending, i Completed 0 ready, s running 0 ready, c ContainerCreating 0
        image of c
          start c #0
          = Pending, i Completed 0 ready, s running 0 ready, c ContainerCreating 0
        c starts
          = Running, i Completed 0 ready, s running 0 ready, c running 0 ready
        c exits 0
          kill s in 30s: Pod { grace_s: 30 }
          = Running, i Completed 0 ready, s running 0 ready, c Completed 0
        s exits 0
          remove sandbox s
          = Succeeded, i Completed 0 ready, s Completed 0, c Completed 0
        sandbox gone
          = Succeeded, i Completed 0 ready, s Completed 0, c Completed 0
    "#]]);
}

#[test]
fn init_containers_do_their_work_again_in_a_new_sandbox() {
    let mut life =
        Life::new(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}));
    life.prepared().runs("i").exits("i", 0).runs("c");
    life.text.clear();
    life.happens("sandbox lost", Outcome::SandboxLost).exits("c", 137);
    life.sandbox_goes().prepared();
    life.runs("i").exits("i", 0).runs("c");
    life.is(expect![[r#"
        sandbox lost
          remove sandbox s
          = Pending, i PodInitializing 1, c running 0 ready
        c exits 137
          = Pending, i PodInitializing 1, c Error 0
        sandbox gone
          make sandbox
          pull i
          = Pending, i PodInitializing 1, c Error 0
        sandbox
          = Pending, i PodInitializing 1, c Error 0
        image of i
          start i #1
          = Pending, i PodInitializing 1, c Error 0
        i starts
          = Pending, i running 1, c Error 0
        i exits 0
          pull c
          = Running, i Completed 1 ready, c Error 0
        image of c
          start c #1
          = Running, i Completed 1 ready, c ContainerCreating 1
        c starts
          = Running, i Completed 1 ready, c running 1 ready
    "#]]);
}

#[test]
fn probes_decide_who_is_ready_and_who_has_to_go() {
    let probe = json!({"tcpSocket": {"port": 1}});
    let mut life = Life::new(json!({"restartPolicy": "Always", "containers": [{
        "name": "c", "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe,
    }]}));
    life.prepared().runs("c");
    for (type_, good) in
        [(ProbeType::Startup, true), (ProbeType::Readiness, true), (ProbeType::Liveness, false)]
    {
        let (container, id) = ("c".to_owned(), life.id("c"));
        let probed = Outcome::Probed { container, id, type_, good };
        life.happens(&format!("{type_:?} {good}"), probed);
    }
    life.is(expect![[r#"
          make sandbox
          pull c
          = Pending, c ContainerCreating 0
        sandbox
          = Pending, c ContainerCreating 0
        image of c
          start c #0
          = Pending, c ContainerCreating 0
        c starts
          probe c Startup
          = Running, c running 0
        Startup true
          probe c Readiness
          probe c Liveness
          = Running, c running 0
        Readiness true
          probe c Readiness
          probe c Liveness
          = Running, c running 0 ready
        Liveness false
          kill c in 30s: Probe(Liveness)
          = Running, c running 0 ready
    "#]]);
}

#[test]
fn a_pull_that_fails_is_told_and_tried_again() {
    let mut life = Life::new(json!({"restartPolicy": "Always", "containers": [{"name": "c"}]}));
    let result = Err(("ErrImagePull".to_owned(), "no".to_owned()));
    life.prepared();
    life.happens("pull fails", Outcome::Image { container: "c".into(), result });
    life.after(3).after(7);
    life.is(expect![[r#"
          make sandbox
          pull c
          = Pending, c ContainerCreating 0
        sandbox
          = Pending, c ContainerCreating 0
        pull fails
          look again in 3s
          = Pending, c ErrImagePull 0
        3s later
          Back-off pulling image ""
          look again in 7s
          = Pending, c ImagePullBackOff 0
        7s later
          pull c
          = Pending, c ImagePullBackOff 0
    "#]]);
}

#[test]
fn a_deadline_fails_the_pod() {
    let mut life = Life::new(json!({"restartPolicy": "Always", "activeDeadlineSeconds": 5,
        "terminationGracePeriodSeconds": 3, "containers": [{"name": "c"}]}));
    life.prepared().runs("c").after(5).exits("c", 137);
    life.is(expect![[r#"
          make sandbox
          pull c
          look again in 5s
          = Pending, c ContainerCreating 0
        sandbox
          look again in 5s
          = Pending, c ContainerCreating 0
        image of c
          start c #0
          look again in 5s
          = Pending, c ContainerCreating 0
        c starts
          look again in 5s
          = Running, c running 0 ready
        5s later
          fail: DeadlineExceeded
          kill c in 3s: Pod { grace_s: 3 }
          = Running, c running 0 ready
        c exits 137
          remove sandbox s
          = Failed, c Error 0
    "#]]);
}

/// Two volumes, one container.
fn with_volumes() -> Value {
    json!({"restartPolicy": "Always", "volumes": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "c"}]})
}

#[test]
fn a_mount_that_fails_holds_up_its_pod_until_it_works() {
    let mut life = Life::new(with_volumes());
    life.prepared().image("c").mounts("a").mount_fails("b").after(1).mount_fails("b");
    life.after(1).mounts("b").started("c");
    life.is(expect![[r#"
          make sandbox
          mount a
          mount b
          pull c
          = Pending, c ContainerCreating 0
        sandbox
          = Pending, c ContainerCreating 0
        image of c
          = Pending, c ContainerCreating 0
        a is mounted
          = Pending, c ContainerCreating 0
        b cannot be mounted
          look again in 0s
          = Pending, c ContainerCreating 0
        1s later
          mount b
          = Pending, c ContainerCreating 0
        b cannot be mounted
          look again in 1s
          = Pending, c ContainerCreating 0
        1s later
          mount b
          = Pending, c ContainerCreating 0
        b is mounted
          start c #0
          = Pending, c ContainerCreating 0
        c starts
          = Running, c running 0 ready
    "#]]);
}

#[test]
fn the_wait_between_mounts_grows_as_upstreams() {
    let mut life = Life::new(with_volumes());
    let mut waits = Vec::new();
    for _ in 0..10 {
        life.mount_fails("b");
        let VolumeState::Failed { next, why, .. } = life.seen.volumes["b"].state.clone() else {
            panic!("it failed");
        };
        assert_eq!(why, "no");
        waits.push(next.duration_since(life.now).as_millis());
        life.now = next;
        life.plan();
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 122_000, 122_000]);
}

#[test]
fn the_object_goes_when_sandbox_and_volumes_are_gone() {
    let mut life = Life::new(with_volumes());
    life.prepared().mounts("a").mounts("b").runs("c").text.clear();
    life.deleted(1).exits("c", 143);
    life.happens("sandbox stays", Outcome::SandboxRemoved(Err("busy".into())));
    life.after(1).sandbox_goes().unmounts("a").unmount_fails("b").after(1).unmounts("b");
    life.happens("something stays", Outcome::Finished(Err("busy".into()))).after(1);
    life.happens("all is gone", Outcome::Finished(Ok(()))).after(1000);
    life.is(expect![[r#"
        deleted, 1s
          kill c in 1s: Pod { grace_s: 1 }
          = Running, c running 0 ready
        c exits 143
          remove sandbox s
          = Failed, c Error 0
        sandbox stays
          look again in 0s
          = Failed, c Error 0
        1s later
          remove sandbox s
          = Failed, c Error 0
        sandbox gone
          unmount a
          unmount b
          = Failed, c Error 0
        a is unmounted
          = Failed, c Error 0
        b cannot be unmounted
          look again in 0s
          = Failed, c Error 0
        1s later
          unmount b
          = Failed, c Error 0
        b is unmounted
          finish
          = Failed, c Error 0
        something stays
          look again in 0s
          = Failed, c Error 0
        1s later
          finish
          = Failed, c Error 0
        all is gone
          = Failed, c Error 0
        1000s later
          = Failed, c Error 0
    "#]]);
    assert_eq!(life.seen.end, End::Over);
}

#[test]
fn a_pod_whose_mount_fails_goes_at_once() {
    let mut life = Life::new(with_volumes());
    life.prepared().image("c").mount_fails("a").text.clear();
    life.deleted(1).sandbox_goes().unmounts("a").mounts("b").unmounts("b");
    life.is(expect![[r#"
        deleted, 1s
          remove sandbox s
          = Pending, c ContainerCreating 0
        sandbox gone
          unmount a
          = Pending, c ContainerCreating 0
        a is unmounted
          = Pending, c ContainerCreating 0
        b is mounted
          unmount b
          = Pending, c ContainerCreating 0
        b is unmounted
          finish
          = Pending, c ContainerCreating 0
    "#]]);
}

#[test]
fn what_was_found_is_uncertain_until_it_was_looked_at() {
    let mut life = Life::found(with_volumes());
    life.prepared().image("c").checked(&["a"]).mounts("b").mount_fails("a").started("c");
    life.is(expect![[r#"
        after a start
          = Pending, c ContainerCreating 0
        sandbox
          = Pending, c ContainerCreating 0
        image of c
          = Pending, c ContainerCreating 0
        checked: ["a"]
          mount a
          mount b
          = Pending, c ContainerCreating 0
        b is mounted
          start c #0
          = Pending, c ContainerCreating 0
        a cannot be mounted
          look again in 0s
          = Pending, c ContainerCreating 0
        c starts
          look again in 0s
          = Running, c running 0 ready
    "#]]);
}

#[test]
fn what_was_found_of_a_pod_that_goes_is_looked_at_then_unmounted() {
    let mut life = Life::new(with_volumes());
    life.image("c").text.clear();
    life.seen.find_volumes();
    life.seen.gone = true;
    life.seen.sandbox = Sandbox::Removed;
    life.checked(&["a"]).unmounts("a").unmounts("b");
    life.is(expect![[r#"
        checked: ["a"]
          unmount a
          unmount b
          = Pending, c ContainerCreating 0
        a is unmounted
          = Pending, c ContainerCreating 0
        b is unmounted
          finish
          = Pending, c ContainerCreating 0
    "#]]);
}

#[test]
fn what_a_volume_shows_follows_the_api() {
    let mut life = Life::new(with_volumes());
    life.prepared().mounts_until("a", Some(60)).mounts("b").runs("c").text.clear();
    life.after(60);
    // A change while it is made anew is not lost, nor is one before it is mounted at all.
    life.seen.outdate("a", life.now);
    life.mounts_until("a", Some(60)).mount_fails("a").after(1).mounts("a");
    life.seen.outdate("b", life.now);
    life.after(0).deleted(1).exits("c", 0).sandbox_goes();
    // Nothing is taken away while it is made.
    life.unmounts("a").mounts("b");
    life.is(expect![[r#"
        60s later
          mount a
          = Running, c running 0 ready
        a is mounted
          mount a
          = Running, c running 0 ready
        a cannot be mounted
          look again in 0s
          = Running, c running 0 ready
        1s later
          mount a
          = Running, c running 0 ready
        a is mounted
          = Running, c running 0 ready
        0s later
          mount b
          = Running, c running 0 ready
        deleted, 1s
          kill c in 1s: Pod { grace_s: 1 }
          = Running, c running 0 ready
        c exits 0
          remove sandbox s
          = Succeeded, c Completed 0
        sandbox gone
          unmount a
          = Succeeded, c Completed 0
        a is unmounted
          = Succeeded, c Completed 0
        b is mounted
          unmount b
          = Succeeded, c Completed 0
    "#]]);
}

#[test]
fn how_containers_ended_is_told_before_it_is_forgotten() {
    let mut life = Life::new(json!({"restartPolicy": "Never", "volumes": [{"name": "a"}],
        "containers": [{"name": "c"}]}));
    life.prepared().mounts("a").runs("c").text.clear();
    life.seen.told = false;
    life.exits("c", 0).after(60);
    life.seen.told = true;
    life.after(0).sandbox_goes().unmounts("a");
    life.is(expect![[r#"
        c exits 0
          = Succeeded, c Completed 0
        60s later
          = Succeeded, c Completed 0
        0s later
          remove sandbox s
          = Succeeded, c Completed 0
        sandbox gone
          unmount a
          = Succeeded, c Completed 0
        a is unmounted
          = Succeeded, c Completed 0
    "#]]);
}
