//! What a container may not do.

use crate::machine::{Machine, shell};
use skiff_runtime::spec::{
    Device, LogPolicy, Mount, MountSource, ProcMount, Propagation, Resources, Rlimit, Seccomp,
    Security, User,
};
use skiff_runtime::status::ExitReason;

pub async fn capabilities_and_user(m: Machine) {
    let show = "grep Cap /proc/self/status | tr -d '\\t'; grep NoNew /proc/self/status; id";
    let text = m.output("plain", |spec| spec.args = shell(show)).await;
    assert_eq!(
        text,
        "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\n\
         CapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:\t0\n\
         uid=0(root) gid=0(root)\n"
    );
    let text = m
        .output("app", |spec| {
            spec.args = shell(show);
            spec.user = User { uid: 1000, gid: 1000, groups: vec![33] };
            spec.security.no_new_privileges = true;
            spec.security.add_capabilities = vec!["NET_ADMIN".into()];
        })
        .await;
    assert_eq!(
        text,
        "CapInh:0000000000000000\nCapPrm:0000000000000000\nCapEff:0000000000000000\n\
         CapBnd:00000000a80435fb\nCapAmb:0000000000000000\nNoNewPrivs:\t1\n\
         uid=1000(app) gid=1000 groups=33(web)\n"
    );
    let text = m
        .output("none", |spec| {
            spec.args = shell("grep CapEff /proc/self/status; chroot / true || echo no");
            spec.security.drop_capabilities = vec!["ALL".into()];
        })
        .await;
    assert!(text.starts_with("CapEff:\t0000000000000000\n") && text.contains("\nno\n"), "{text}");
    let text = m
        .output("all", |spec| {
            spec.args = shell("mount -t tmpfs x /tmp && echo mounted; ls /dev | grep -c .");
            spec.security.privileged = true;
        })
        .await;
    assert!(text.starts_with("mounted\n"), "{text}");
    let limits = m
        .output("limits", |spec| {
            spec.args = shell("ulimit -n; cat /proc/self/oom_score_adj");
            spec.rlimits = vec![Rlimit { kind: "nofile".into(), soft: 77, hard: 1 << 30 }];
            spec.oom_score_adj = Some(500);
        })
        .await;
    assert_eq!(limits, "77\n500\n");
}

pub async fn masked_and_read_only(m: Machine) {
    let look = "echo x > /proc/sys/kernel/hostname || echo ro; wc -c < /proc/interrupts; \
                ls /sys/firmware | wc -l; touch /sys/x || echo ro; echo $(ls /dev); touch /new; \
                    ls /new; \
                ls /sys/fs/cgroup | wc -l; touch /sys/fs/cgroup/x || echo ro";
    let text = m.output("plain", |spec| spec.args = shell(look)).await;
    let lines: Vec<_> = text.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(
        lines[..6],
        [
            "ro",
            "0",
            "0",
            "ro",
            "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
                .trim_start_matches("core "),
            "/new"
        ],
        "{text}"
    );
    assert_ne!(lines[6], "0");
    assert_eq!(lines[7], "ro");
    let text = m
        .output("unmasked", |spec| {
            spec.args = shell("echo 0 > /proc/sys/kernel/shm_rmid_forced && echo rw");
            spec.security.proc_mount = ProcMount::Unmasked;
        })
        .await;
    assert_eq!(text, "rw\n");
    let text = m
        .output("ro", |spec| {
            spec.args = shell("touch /new || echo ro; touch /tmp/x && echo rw; echo y > /dev/null");
            spec.readonly_rootfs = true;
            spec.mounts = vec![Mount {
                target: "/tmp".into(),
                source: MountSource::Tmpfs { size: Some(1 << 20), mode: 0o1777 },
                readonly: false,
            }];
        })
        .await;
    assert!(text.contains("ro\nrw\n"), "{text}");
}

pub async fn seccomp(m: Machine) {
    let test = "grep Seccomp: /proc/self/status; unshare -U true || echo refused";
    let text = m.output("default", |spec| spec.args = shell(test)).await;
    assert!(text.starts_with("Seccomp:\t2\n") && text.ends_with("refused\n"), "{text}");
    let text = m
        .output("free", |spec| {
            spec.args = shell(test);
            spec.security.seccomp = Seccomp::Unconfined;
        })
        .await;
    assert_eq!(text, "Seccomp:\t0\n");
    let profile = m.folder.join("profile.json");
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    std::fs::write(&profile, json).expect("write");
    let text = m
        .output("local", |spec| {
            spec.args = shell("busybox mkdir /x; echo done");
            spec.security.seccomp = Seccomp::Localhost(profile);
        })
        .await;
    assert!(text.contains("Function not implemented") && text.ends_with("done\n"), "{text}");
    let mut spec = m.spec("missing", "true");
    spec.security.seccomp = Seccomp::Localhost("/nope.json".into());
    m.sandbox("pod").await;
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("missing").await.expect_err("no profile");
    assert!(error.to_string().starts_with("cannot load seccomp profile /nope.json"), "{error}");
}

/// Where the kernel has AppArmor, a profile must be loaded; where not, none can be asked for.
pub async fn apparmor(m: Machine) {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let why = match enabled.unwrap_or_default().starts_with('Y') {
        true => {
            "AppArmor profile \"skiff-none\" is not loaded: load it with apparmor_parser -r FILE"
        }
        false => "AppArmor profile \"skiff-none\": AppArmor is not enabled on this machine",
    };
    m.sandbox("pod").await;
    let mut spec = m.spec("none", "true");
    spec.security.apparmor = Some("skiff-none".into());
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("none").await.expect_err("no such profile");
    assert_eq!(error.to_string(), why);
}

pub async fn mounts(m: Machine) {
    let volume = m.folder.join("volume");
    std::fs::create_dir_all(volume.join("in")).expect("mkdir");
    std::fs::write(volume.join("file"), "data\n").expect("write");
    std::fs::write(m.folder.join("secret"), "secret\n").expect("write");
    std::os::unix::fs::symlink("/", volume.join("out")).expect("link");
    std::os::unix::fs::symlink("../secret", volume.join("up")).expect("link");
    let bind = |target: &str, sub: Option<&str>, readonly| Mount {
        target: target.into(),
        source: MountSource::Bind {
            path: volume.clone(),
            sub_path: sub.map(Into::into),
            propagation: Propagation::Private,
            recursive_readonly: false,
        },
        readonly,
    };
    let script = "cat /v/file; echo new > /v/new; cat /ro/new; echo x > /ro/x || echo ro; ls \
                    /made; \
                  cat /one; ls /escape; cat /up || echo none";
    let text = m
        .output("c", |spec| {
            spec.args = shell(script);
            spec.mounts = vec![
                bind("/v", None, false),
                bind("/ro", None, true),
                bind("/made", Some("a/b"), false),
                bind("/one", Some("file"), false),
                bind("/escape", Some("out/in"), false),
            ];
        })
        .await;
    let lines: Vec<_> = text.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(lines, ["data", "new", "ro", "data", "none"], "{text}");
    assert!(volume.join("a/b").is_dir());
    let mut spec = m.spec("d", "true");
    spec.mounts = vec![bind("/x", Some("../secret"), false)];
    m.sandbox("pod").await;
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("d").await.expect_err("refused");
    assert_eq!(error.to_string(), "subPath ../secret must stay inside");
    let mut spec = m.spec("e", "true");
    spec.mounts = vec![bind("/x", Some("up"), false)];
    // The link is resolved inside the volume, where there is no such file: it is not followed out.
    m.runtime.create_container("pod", &spec).await.expect("created");
    let error = m.runtime.start_container("e").await.expect_err("refused");
    assert!(error.to_string().contains("subPath up"), "{error}");
}

pub async fn limits_and_oom(m: Machine) {
    m.sandbox("pod").await;
    let mut spec = m.spec("c", "echo up; sleep 1000");
    spec.resources = Resources {
        memory: Some(64 << 20),
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        pids: Some(20),
        ..Resources::default()
    };
    m.start("pod", &spec).await;
    m.until_logged("c", "up").await;
    let stats = m.runtime.container_stats("c").await.expect("stats");
    assert_eq!(stats.memory_limit_bytes, Some(64 << 20));
    assert!(stats.cpu_ns > 0 && stats.memory_bytes > 0 && stats.pids >= 1, "{stats:?}");
    let more = Resources { memory: Some(128 << 20), ..Resources::default() };
    m.runtime.update_container("c", &more).await.expect("updated");
    let stats = m.runtime.container_stats("c").await.expect("stats");
    assert_eq!(stats.memory_limit_bytes, Some(128 << 20));
    let pod = m.runtime.sandbox_stats("pod").await.expect("stats");
    assert!(pod.memory_bytes >= stats.memory_rss_bytes, "{pod:?}");
    let mut spec = m.spec("oom", "");
    spec.args = shell("dd if=/dev/zero of=/dev/null bs=64M count=1; echo survived");
    spec.resources.memory = Some(16 << 20);
    let (status, text) = m.run("pod", &spec).await;
    let exit = status.exit.expect("ended");
    assert_eq!(exit.reason, ExitReason::OOMKilled, "{exit:?} {text}");
    let mut spec = m.spec("direct", "");
    spec.args = shell("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    spec.resources.memory = Some(16 << 20);
    let exit = m.run("pod", &spec).await.0.exit.expect("ended");
    assert_eq!((exit.code, exit.reason), (137, ExitReason::OOMKilled));
    let mut spec = m.spec("fork", "");
    spec.args = shell("for i in 1 2 3 4 5 6; do sleep 100 & done; echo all");
    spec.resources.pids = Some(3);
    let (_, text) = m.run("pod", &spec).await;
    assert!(!text.contains("all\n") || text.contains("can't fork"), "{text}");
}

pub async fn devices(m: Machine) {
    let test = "head -c 3 /dev/zero | wc -c; mknod /tmp/tun c 10 200 && echo made; \
                (exec 3<>/tmp/tun) || echo denied";
    let text = m.output("plain", |spec| spec.args = shell(test)).await;
    assert!(text.starts_with("3\nmade\n") && text.ends_with("denied\n"), "{text}");
    let text = m
        .output("tun", |spec| {
            spec.args = shell("ls -l /dev/tun2; (exec 3<>/dev/tun2) && echo open");
            spec.devices = vec![Device {
                host_path: "/dev/net/tun".into(),
                path: "/dev/tun2".into(),
                access: "rw".into(),
            }];
            spec.log_policy = LogPolicy { max_size: 0, max_files: 0 };
            spec.security = Security { seccomp: Seccomp::Unconfined, ..spec.security.clone() };
        })
        .await;
    assert!(text.contains("10, 200") && text.ends_with("open\n"), "{text}");
}
