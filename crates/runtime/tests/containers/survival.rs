//! The supervisor dies, containers do not.

use crate::machine::Machine;
use skiff_runtime::spec::{
    AttachSpec, ExecSpec, Mount, MountSource, PidMode, Propagation, SandboxSpec,
};
use skiff_runtime::status::{ContainerState, Event, ExitReason};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

fn kill(pid: i32) {
    signal(pid, "-9");
}

fn signal(pid: i32, signal: &str) {
    let (mut sent, pid) = (std::process::Command::new("busybox"), pid.to_string());
    let sent = sent.args(["kill", signal, &pid]).status();
    assert!(sent.expect("busybox runs").success());
}

/// What the supervisor has open.
fn open_files(m: &Machine) -> usize {
    let folder = format!("/proc/{}/fd", m.supervisor_pid());
    std::fs::read_dir(folder).expect("its descriptors").count()
}

async fn resync(events: &mut skiff_runtime::client::Events) {
    while events.next().await.expect("events go on") != Event::Resync {}
}

pub async fn kill_the_supervisor(m: Machine) {
    m.sandbox("pod").await;
    let shared = SandboxSpec { id: "shared".into(), pid: PidMode::Pod, ..SandboxSpec::default() };
    m.sandbox_with(shared).await;
    const LINES: usize = 60_000;
    let count = |stream: &str| {
        format!("i=0; while [ $i -lt {LINES} ]; do echo line $i{stream}; i=$((i+1)); done")
    };
    let quiet = m.start("pod", &m.spec("quiet", "sleep 1000")).await;
    let mut reader = m.spec("reader", "while read x; do echo got $x; done; echo eof");
    (reader.stdin, reader.stdin_once) = (true, true);
    m.start("shared", &reader).await;
    let mut tty = m.spec("tty", "while read x; do echo got $x; done");
    (tty.terminal, tty.stdin) = (true, true);
    m.start("pod", &tty).await;
    let exec = ExecSpec {
        args: ["sh", "-c", "usleep 400000; exit 9"].map(String::from).to_vec(),
        ..ExecSpec::default()
    };
    let exec = m.runtime.exec("quiet", &exec).await.expect("runs");
    m.start("pod", &m.spec("a", &count(""))).await;
    m.start("shared", &m.spec("b", &format!("{}; printf end; exit 6", count(" >&2")))).await;
    let mut events = m.runtime.events();
    for round in 0..6 {
        // Different points of its work each time.
        tokio::time::sleep(Duration::from_millis(7 + 13 * round)).await;
        kill(m.supervisor_pid());
        resync(&mut events).await;
        m.runtime.list().await.expect("the next one answers");
    }
    let a = m.runtime.wait_container("a").await.expect("ends").exit.expect("ended");
    let b = m.runtime.wait_container("b").await.expect("ends").exit.expect("ended");
    assert_eq!((a.code, b.code), (0, 6));
    let expected = |end: &str| (0..LINES).map(|i| format!("line {i}\n")).collect::<String>() + end;
    assert!(m.text("a") == expected(""), "{} lines", m.text("a").lines().count());
    assert!(m.text("b") == expected("end\n"), "{} lines", m.text("b").lines().count());
    assert_eq!(m.runtime.wait_exec(&exec.id).await.expect("ended").code, 9);
    let listing = m.runtime.list().await.expect("lists");
    let found = listing.containers.iter().find(|c| c.id == "quiet").expect("still there");
    assert_eq!((found.pid, found.state), (quiet.pid, ContainerState::Running));
    for id in ["reader", "tty"] {
        let feed = AttachSpec { stdin: true, ..AttachSpec::default() };
        let client = m.runtime.attach(id, feed).await.expect("attached");
        client.stdin.expect("in").write_all(b"word\n").await.expect("written");
        m.until_logged(id, "got word").await;
    }
    m.runtime.wait_container("reader").await.expect("its stdin closed after the first client");
    assert_eq!(m.text("reader"), "got word\neof\n");
    // One that ends while there is no supervisor.
    let last = m.start("pod", &m.spec("last", "usleep 30000; echo bye; exit 8")).await;
    kill(m.supervisor_pid());
    assert_eq!(last.state, ContainerState::Running);
    let exit = m.runtime.wait_container("last").await.expect("ends").exit.expect("ended");
    assert_eq!((exit.code, m.text("last").as_str()), (8, "bye\n"));
}

pub async fn kill_the_init(m: Machine) {
    let sandbox = m.sandbox("pod").await;
    m.start("pod", &m.spec("c", "sleep 1000")).await;
    let mut events = m.runtime.events();
    kill(sandbox.pid.expect("a pid") as i32);
    let exit = m.runtime.wait_container("c").await.expect("ends").exit.expect("ended");
    assert_eq!((exit.code, exit.reason), (137, ExitReason::Unknown));
    while !matches!(events.next().await, Some(Event::SandboxLost(_))) {}
    let listing = m.runtime.list().await.expect("lists");
    assert!(!listing.sandboxes[0].ready);
    m.runtime.create_container("pod", &m.spec("d", "true")).await.expect("created");
    let error = m.runtime.start_container("d").await.expect_err("no namespaces");
    assert_eq!(error.to_string(), "sandbox pod is not ready");
    m.runtime.remove_sandbox("pod").await.expect("removed");
}

pub async fn upgrade_in_place(m: Machine) {
    m.sandbox("pod").await;
    let before = m.start("pod", &m.spec("c", "sleep 1000")).await;
    let pid = m.supervisor_pid();
    let mut events = m.runtime.events();
    let exe = std::env::current_exe().expect("own path");
    m.runtime.upgrade(&exe).await.expect("upgraded");
    resync(&mut events).await;
    m.runtime.list().await.expect("the new one answers");
    assert_eq!(m.supervisor_pid(), pid);
    let listing = m.runtime.list().await.expect("lists");
    assert_eq!(listing.containers[0].pid, before.pid);
    m.runtime.kill_container("c").await.expect("killed");
    let exit = m.runtime.wait_container("c").await.expect("ends").exit.expect("ended");
    assert_eq!(exit.code, 137);
    assert!(m.runtime.upgrade("/nope".as_ref()).await.is_err());
    m.runtime.upgrade(&exe).await.expect("a failed upgrade leaves it working");
    resync(&mut events).await;
    m.runtime.list().await.expect("the new one answers");
}

/// Clients that leave give back what they had, though the container never says a word.
pub async fn clients_that_leave(m: Machine) {
    m.sandbox("pod").await;
    let mut spec = m.spec("c", "sleep 1000");
    spec.stdin = true;
    m.start("pod", &spec).await;
    let all = AttachSpec { stdin: true, stdout: true, stderr: true };
    let before = open_files(&m);
    for _ in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(m.runtime.attach("c", all).await.expect("attached"));
        }
        let error = m.runtime.attach("c", all).await.expect_err("one too many");
        assert_eq!(error.to_string(), "container c has 64 attached clients already");
        drop(clients);
        // Everything that has happened before a request is seen to before it.
        m.runtime.list().await.expect("lists");
    }
    assert!(open_files(&m) <= before, "{} descriptors, {before} before", open_files(&m));
    // Callers that give up are forgotten too; their requests are whole.
    for _ in 0..200 {
        let wait = m.runtime.wait_container("c");
        assert!(tokio::time::timeout(Duration::from_micros(50), wait).await.is_err());
    }
    assert_eq!(m.runtime.list().await.expect("lists").containers.len(), 1);
}

/// Without descriptors the supervisor takes nobody new for a while; it lives, and pods do.
pub async fn no_descriptors_left(m: Machine) {
    m.sandbox("pod").await;
    let quiet = m.start("pod", &m.spec("quiet", "sleep 1000")).await;
    let pid = m.supervisor_pid();
    let limit = |most: usize| {
        let (pid, most) = (format!("--pid={pid}"), format!("--nofile={most}:"));
        let status = std::process::Command::new("prlimit").args([pid, most]).status();
        assert!(status.expect("prlimit runs").success());
    };
    let connect = || {
        std::os::unix::net::UnixStream::connect(m.folder.join("run/supervisor.sock"))
            .expect("waits in the queue")
    };
    limit(open_files(&m));
    let waiting: Vec<_> = (0..8).map(|_| connect()).collect();
    m.runtime.list().await.expect("those who are there are served");
    let exec = ExecSpec { args: vec!["true".into()], ..ExecSpec::default() };
    m.runtime.exec("quiet", &exec).await.expect_err("a start needs descriptors");
    assert_eq!(m.supervisor_pid(), pid);
    drop(waiting);
    limit(4096);
    let exec = m.runtime.exec("quiet", &exec).await.expect("runs again");
    assert_eq!(m.runtime.wait_exec(&exec.id).await.expect("ends").code, 0);
    // More connections than anybody needs are closed again, and the next one is served.
    let crowd: Vec<_> = (0..200).map(|_| connect()).collect();
    m.runtime.list().await.expect("lists");
    drop(crowd);
    assert_eq!(m.supervisor_pid(), pid);
    let found = m.runtime.list().await.expect("lists").containers;
    assert_eq!((found[0].pid, found[0].state), (quiet.pid, ContainerState::Running));
}

/// A pod init that finds nobody reading lives on, and tells all of it later.
pub async fn a_supervisor_that_sleeps(m: Machine) {
    let gate = m.folder.join("gate");
    std::fs::create_dir(&gate).expect("a folder");
    let made = std::process::Command::new("mkfifo").arg(gate.join("go")).status();
    assert!(made.expect("mkfifo runs").success());
    let through = |id: &str, script: &str| {
        let mut spec = m.spec(id, script);
        spec.mounts.push(Mount {
            target: "/gate".into(),
            source: MountSource::Bind {
                path: gate.clone(),
                sub_path: None,
                propagation: Propagation::Private,
                recursive_readonly: false,
            },
            readonly: false,
        });
        spec
    };
    m.sandbox("pod").await;
    m.start("pod", &through("c", "sleep 1000")).await;
    m.start("pod", &through("ends", "cat /gate/go; exit 7")).await;
    let cat =
        ExecSpec { args: ["cat", "/gate/go"].map(String::from).to_vec(), ..ExecSpec::default() };
    // More ends than a socket holds words about.
    for _ in 0..300 {
        m.runtime.exec("c", &cat).await.expect("runs");
    }
    let pid = m.supervisor_pid();
    signal(pid, "-STOP");
    drop(std::fs::OpenOptions::new().write(true).open(gate.join("go")).expect("opens for all"));
    while m.processes().iter().any(|line| line.contains("/gate/go")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    signal(pid, "-CONT");
    let exit = m.runtime.wait_container("ends").await.expect("ends").exit.expect("ended");
    assert_eq!(exit.code, 7);
    let exec = ExecSpec { args: vec!["true".into()], ..ExecSpec::default() };
    let exec = m.runtime.exec("c", &exec).await.expect("the pod lives");
    assert_eq!(m.runtime.wait_exec(&exec.id).await.expect("ends").code, 0);
    assert_eq!(m.supervisor_pid(), pid);
}

/// What a container leaves behind in its pod may write for ever: nobody waits for that.
pub async fn a_loud_orphan(m: Machine) {
    let shared = SandboxSpec { id: "pod".into(), pid: PidMode::Pod, ..SandboxSpec::default() };
    m.sandbox_with(shared).await;
    let mut spec = m.spec("c", "yes & yes & yes & exit 5");
    spec.log_policy.max_size = 1 << 20;
    let (status, _) = tokio::time::timeout(Duration::from_secs(15), m.run("pod", &spec))
        .await
        .expect("its own end is enough");
    assert_eq!(status.exit.expect("ended").code, 5);
}
