//! The supervisor dies, containers do not.

use crate::machine::Machine;
use skiff_runtime::spec::{AttachSpec, ExecSpec, PidMode, SandboxSpec};
use skiff_runtime::status::{ContainerState, Event, ExitReason};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

fn kill(pid: i32) {
    let killed =
        std::process::Command::new("busybox").args(["kill", "-9", &pid.to_string()]).status();
    assert!(killed.expect("busybox runs").success());
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
