//! From creation to removal.

use crate::machine::{Machine, shell};
use skiff_runtime::Error;
use skiff_runtime::container::user;
use skiff_runtime::spec::{ContainerSpec, ExecSpec, Namespace, PidMode, Rootfs, SandboxSpec};
use skiff_runtime::status::{ContainerState, Event, ExitReason};

pub async fn runs_and_tells_the_exit_code(m: Machine) {
    let sandbox = m
        .sandbox_with(SandboxSpec {
            id: "pod".into(),
            hostname: "web-0".into(),
            sysctls: [("net.ipv4.ip_unprivileged_port_start".into(), "80".into())].into(),
            ..SandboxSpec::default()
        })
        .await;
    assert!(sandbox.netns.expect("a netns").exists());
    let script = "hostname; echo $HOME $X; pwd; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
                  echo $$; echo err >&2; exit 7";
    let mut spec = m.spec("c", script);
    spec.env.push("X=y".into());
    spec.cwd = "/made/here".into();
    let (status, text) = m.run("pod", &spec).await;
    assert_eq!(text, "web-0\n/root y\n/made/here\n80\n1\nerr\n");
    let exit = status.exit.expect("ended");
    assert_eq!((exit.code, exit.signal, exit.reason), (7, None, ExitReason::Error));
    assert!(status.started_at.expect("started") <= exit.finished_at);
    let (status, _) = m.run("pod", &m.spec("d", "exit 0")).await;
    assert_eq!(status.exit.expect("ended").reason, ExitReason::Completed);
}

pub async fn signals_end_it(m: Machine) {
    m.sandbox("pod").await;
    let polite = m.spec("polite", "trap 'exit 3' TERM; echo up; while :; do usleep 1000; done");
    m.start("pod", &polite).await;
    m.until_logged("polite", "up").await;
    m.runtime.signal_container("polite", 15).await.expect("sent");
    let exit = m.runtime.wait_container("polite").await.expect("ends").exit.expect("ended");
    assert_eq!((exit.code, exit.signal), (3, None));
    m.start("pod", &m.spec("stubborn", "sleep 1000")).await;
    m.runtime.kill_container("stubborn").await.expect("killed");
    let exit = m.runtime.wait_container("stubborn").await.expect("ends").exit.expect("ended");
    assert_eq!((exit.code, exit.signal, exit.reason), (137, Some(9), ExitReason::Error));
    m.runtime.signal_container("stubborn", 15).await.expect("past all signals");
    let error = m.runtime.signal_container("nobody", 15).await.expect_err("unknown");
    assert_eq!(error.to_string(), "container nobody not found");
}

pub async fn words_of_errors(m: Machine) {
    m.sandbox("pod").await;
    let cases: [(&str, &[&str], &str); 5] = [
        ("a", &["nope"], "exec: \"nope\": executable file not found in $PATH"),
        ("b", &["/nope"], "exec: \"/nope\": stat /nope: no such file or directory"),
        ("c", &["/etc/passwd"], "exec: \"/etc/passwd\": permission denied"),
        ("d", &["/etc"], "exec: \"/etc\": is a directory"),
        ("e", &[], "no command specified"),
    ];
    for (id, args, words) in cases {
        let args = args.iter().map(|arg| arg.to_string()).collect();
        let spec = ContainerSpec { args, ..m.spec(id, "") };
        m.runtime.create_container("pod", &spec).await.expect("created");
        let error = m.runtime.start_container(id).await.expect_err("cannot start");
        assert!(matches!(error, Error::Exec(_)), "{error:?}");
        assert_eq!(error.to_string(), words);
        let exit = m.runtime.wait_container(id).await.expect("has ended").exit.expect("ended");
        assert_eq!((exit.code, exit.reason), (128, ExitReason::StartError));
        assert_eq!(exit.message, words);
    }
    let spec = ContainerSpec { rootfs: Rootfs::Folder("/nope".into()), ..m.spec("r", "") };
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("r").await.expect_err("cannot start");
    assert!(error.to_string().starts_with("open /nope: No such file"), "{error}");
    let error = m.runtime.create_container("pod", &spec).await.expect_err("taken");
    assert_eq!(error.to_string(), "container r already exists");
    let error = m.runtime.create_container("x", &m.spec("x", "")).await.expect_err("no sandbox");
    assert_eq!(error.to_string(), "sandbox x not found");
    let bad = SandboxSpec {
        id: "bad".into(),
        sysctls: [("kernel.panic".into(), "1".into())].into(),
        ..SandboxSpec::default()
    };
    let error = m.runtime.create_sandbox(&bad).await.expect_err("refused");
    assert_eq!(error.to_string(), "sysctl \"kernel.panic\" is not namespaced");
    let bad = SandboxSpec {
        sysctls: [("net.ipv4.nonsense".into(), "1".into())].into(),
        cgroup_parent: "pods/bad".into(),
        ..bad
    };
    let error = m.runtime.create_sandbox(&bad).await.expect_err("refused");
    assert!(error.to_string().contains("net.ipv4.nonsense"), "{error}");
    let listing = m.runtime.list().await.expect("lists");
    assert_eq!(listing.sandboxes.len(), 1, "a failed one leaves nothing");
}

pub async fn events_and_lists(m: Machine) {
    let mut events = m.runtime.events();
    m.sandbox("pod").await;
    let mut spec = m.spec("c", "exit 4");
    spec.labels.insert("name".into(), "web".into());
    m.runtime.create_container("pod", &spec).await.expect("created");
    let listing = m.runtime.list().await.expect("lists");
    assert_eq!(listing.containers[0].state, ContainerState::Created);
    assert_eq!(listing.containers[0].labels, spec.labels);
    m.runtime.start_container("c").await.expect("starts");
    let Some(Event::Started(status)) = events.next().await else { panic!("no start") };
    assert_eq!((status.id.as_str(), status.state), ("c", ContainerState::Running));
    assert!(status.pid.expect("a pid") > 1);
    let Some(Event::Exited(status)) = events.next().await else { panic!("no end") };
    assert_eq!(status.exit.as_ref().map(|exit| exit.code), Some(4));
    assert_eq!(m.runtime.list().await.expect("lists").containers, [status]);
}

pub async fn shared_process_ids(m: Machine) {
    m.sandbox_with(SandboxSpec { id: "pod".into(), pid: PidMode::Pod, ..SandboxSpec::default() })
        .await;
    m.start("pod", &m.spec("a", "sleep 77 & sleep 1000")).await;
    let (_, text) = m.run("pod", &m.spec("b", "usleep 50000; ps; echo me $$")).await;
    assert!(text.contains("sleep 77"), "sees the neighbour: {text}");
    assert!(!text.contains("me 1\n"), "{text}");
    // Processes that the container's first one leaves behind end with it.
    let (status, _) = m.run("pod", &m.spec("c", "sleep 88 & exit 5")).await;
    assert_eq!(status.exit.expect("ended").code, 5);
    m.runtime.remove_container("c").await.expect("removed");
    let (_, text) = m.run("pod", &m.spec("d", "ps")).await;
    assert!(!text.contains("sleep 88"), "{text}");
    // What fails at the very last step, in their sight, is told like any other failure.
    let upper = m.folder.join("e/upper");
    std::fs::create_dir_all(&upper).expect("mkdir");
    std::fs::write(upper.join("bad"), "#!/nowhere\n").expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(upper.join("bad"), mode).expect("chmod");
    let spec = ContainerSpec { args: vec!["/bad".into()], ..m.spec("e", "") };
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("e").await.expect_err("cannot start").to_string();
    let exit = m.runtime.wait_container("e").await.expect("has ended").exit.expect("ended");
    assert_eq!((exit.code, exit.reason), (128, ExitReason::StartError));
    assert_eq!((&*error, &*exit.message), ("exec /bad: no such file or directory", &*error));
}

/// With CAP_SYS_PTRACE a container looks into every process that it sees.
fn spy(m: &Machine, id: &str, script: &str) -> ContainerSpec {
    let mut spec = m.spec(id, script);
    spec.security.add_capabilities = vec!["SYS_PTRACE".into()];
    spec
}

pub async fn process_1_is_nobody(m: Machine) {
    let shared = SandboxSpec { id: "pod".into(), pid: PidMode::Pod, ..SandboxSpec::default() };
    m.sandbox_with(shared).await;
    let script = "cd /proc/1; ls root | wc -l; ls fd | wc -l; wc -c < environ; cat cmdline | tr \
                  '\\0' '\\n'; wc -l < mountinfo; grep -E '^(Uid|Groups|CapBnd|CapPrm|NoNew|Seccomp:)' \
                  status | tr -d '\\t '; readlink cwd; (echo > exe) 2> /dev/null || echo sealed; \
                  head -c 4096 exe | wc -c; touch root/x 2> /dev/null || echo read-only; \
                  for n in mnt cgroup; do readlink ns/$n; done; kill -9 1; echo $(cat comm) still there";
    let (_, text) = m.run("pod", &spy(&m, "spy", script)).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..5], ["0", "0", "0", "/pause", "1"], "{text}");
    let nobody = ["Uid:65534655346553465534", "Groups:", "CapPrm:0000000000000000"];
    assert_eq!(lines[5..8], nobody, "{text}");
    assert_eq!(
        lines[8..12],
        ["CapBnd:0000000000000000", "NoNewPrivs:1", "Seccomp:2", "/"],
        "{text}"
    );
    assert_eq!(lines[12], "sealed", "{text}");
    assert!(lines[13].parse::<u32>().expect("a length") < 512, "a program of its own: {text}");
    assert_eq!(lines[14], "read-only", "{text}");
    for (line, name) in lines[15..17].iter().zip(["mnt", "cgroup"]) {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("own namespace");
        assert_ne!(Some(*line), own.to_str(), "{text}");
    }
    assert!(lines[17].ends_with("still there"), "{text}");
    // Without the capability, not even those who are nobody too look into it.
    let mut spec = m.spec("same", "");
    spec.args = shell("ls /proc/1/root/ /proc/1/fd/ || echo refused");
    (spec.user.uid, spec.user.gid) = (65534, 65534);
    let (_, text) = m.run("pod", &spec).await;
    assert!(text.ends_with("refused\n"), "{text}");
}

/// Whatever joins a pod's process ids is seen there only when it has become the pod's.
pub async fn nobody_is_seen_half_way(m: Machine) {
    let shared = SandboxSpec { id: "pod".into(), pid: PidMode::Pod, ..SandboxSpec::default() };
    m.sandbox_with(shared).await;
    std::fs::write(m.folder.join("mark"), "").expect("a file of the machine");
    let mark = m.folder.join("mark");
    let script = format!(
        "echo up; while :; do for p in /proc/[0-9]*; do [ -e $p/root{} ] && echo out $p && exit 1; \
         done; [ -e /done ] && exit 0; done",
        mark.display()
    );
    m.start("pod", &spy(&m, "spy", &script)).await;
    m.start("pod", &m.spec("target", "sleep 1000")).await;
    m.until_logged("spy", "up").await;
    for round in 0..20 {
        let exec = ExecSpec { args: vec!["true".into()], ..ExecSpec::default() };
        let exec = m.runtime.exec("target", &exec).await.expect("runs");
        assert_eq!(m.runtime.wait_exec(&exec.id).await.expect("ends").code, 0);
        let (status, _) = m.run("pod", &m.spec(&format!("c-{round}"), "exit 3")).await;
        assert_eq!(status.exit.expect("ended").code, 3);
    }
    let exec =
        ExecSpec { args: ["touch", "/done"].map(String::from).to_vec(), ..ExecSpec::default() };
    m.runtime.exec("spy", &exec).await.expect("runs");
    m.runtime.wait_container("spy").await.expect("ends");
    assert_eq!(m.text("spy"), "up\n");
}

/// A container that joins another's process ids sees them, and its end is known.
pub async fn joins_process_ids(m: Machine) {
    m.sandbox("pod").await;
    m.start("pod", &m.spec("app", "sleep 77")).await;
    let mut spec = spy(&m, "debug", "ps; readlink /proc/1/exe; echo $$; exit 6");
    spec.join_pids = Some("app".into());
    let (status, text) = m.run("pod", &spec).await;
    assert_eq!(status.exit.expect("ended").code, 6);
    assert!(text.contains("sleep 77") && text.contains("/bin/busybox\n"), "{text}");
    assert!(!text.ends_with("\n1\n"), "{text}");
    let mut spec = m.spec("bad", "");
    (spec.join_pids, spec.args) = (Some("app".into()), vec!["nope".into()]);
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("bad").await.expect_err("cannot start");
    assert_eq!(error.to_string(), "exec: \"nope\": executable file not found in $PATH");
    let exit = m.runtime.wait_container("bad").await.expect("has ended").exit.expect("ended");
    assert_eq!((exit.code, exit.reason), (128, ExitReason::StartError));
}

/// What becomes a container's runs from a file that cannot be written to (CVE-2019-5736).
pub async fn the_program_is_sealed(m: Machine) {
    let sandbox = m.sandbox("pod").await;
    let exe = format!("/proc/{}/exe", sandbox.pid.expect("a pid"));
    let own = std::fs::metadata(std::env::current_exe().expect("own path")).expect("own program");
    let found = std::fs::metadata(&exe).expect("the init's program");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((own.dev(), own.ino()), (found.dev(), found.ino()), "no copy in memory");
    // Writing is refused while it is executed; changing its mode is not, but for a read-only mount.
    let error = std::fs::set_permissions(&exe, found.permissions()).expect_err("sealed");
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

pub async fn host_namespaces(m: Machine) {
    let sandbox = m
        .sandbox_with(SandboxSpec {
            id: "pod".into(),
            network: Namespace::Host,
            ipc: Namespace::Host,
            uts: Namespace::Host,
            pid: PidMode::Host,
            ..SandboxSpec::default()
        })
        .await;
    assert_eq!(sandbox.netns, None);
    let script = "for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done; sleep 99 &";
    let (_, text) = m.run("pod", &m.spec("c", script)).await;
    let own: Vec<_> = ["net", "ipc", "uts", "pid", "mnt"]
        .map(|n| std::fs::read_link(format!("/proc/self/ns/{n}")).expect("own namespace"))
        .map(|path| path.to_str().expect("text").to_string())
        .to_vec();
    let theirs: Vec<_> = text.lines().map(String::from).collect();
    assert_eq!(theirs[..4], own[..4]);
    assert_ne!(theirs[4], own[4]);
    assert_eq!(user::resolve(&m.spec("x", "").rootfs, "app").expect("known").groups, [33]);
}

pub async fn nothing_is_left(m: Machine) {
    for round in 0..3 {
        let pod = format!("pod-{round}");
        m.sandbox(&pod).await;
        for name in ["a", "b"] {
            m.start(&pod, &m.spec(&format!("{pod}-{name}"), "sleep 1000")).await;
        }
    }
    let removals = ["pod-0", "pod-1", "pod-2"].map(|id| m.runtime.remove_sandbox(id));
    let [a, b, c] = removals;
    let (a, b, c) = tokio::join!(a, b, c);
    a.and(b).and(c).expect("removed");
    m.runtime.remove_sandbox("pod-0").await.expect("removing again is fine");
    m.runtime.remove_container("nobody").await.expect("so is what never was");
    let listing = m.runtime.list().await.expect("lists");
    assert_eq!((listing.sandboxes.len(), listing.containers.len()), (0, 0));
    let processes = m.processes();
    assert_eq!(processes.len(), 1, "the supervisor only: {processes:?}");
    for folder in ["sandboxes", "containers"] {
        let left = std::fs::read_dir(m.folder.join("run").join(folder)).expect("folder").count();
        assert_eq!(left, 0, "{folder}");
    }
    for tree in m.cgroups() {
        let pods = std::fs::read_dir(tree.join("pods"));
        let left = pods.map_or(0, |pods| {
            pods.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
        });
        assert_eq!(left, 0, "{}", tree.display());
    }
    m.runtime.remove_cgroup("pods").await.expect("empty");
}
