//! Nothing that an image or a manifest names leads out of the container's root.

use crate::machine::Machine;
use skiff_runtime::Error;
use skiff_runtime::container::user;
use skiff_runtime::spec::{
    ContainerSpec, Device, ExecSpec, Mount, MountSource, PidMode, Propagation, Rootfs, SandboxSpec,
    User,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A container of the sandbox that must not start: what it says.
async fn refused(m: &Machine, sandbox: &str, spec: &ContainerSpec) -> String {
    m.runtime.create_container(sandbox, spec).await.expect("created");
    match m.runtime.start_container(&spec.id).await {
        Err(error) => error.to_string(),
        Ok(_) => {
            let _ended = m.runtime.wait_container(&spec.id).await.expect("ends");
            panic!("{} started and said {:?}", spec.id, m.text(&spec.id))
        }
    }
}

/// A layer over the image.
fn over(m: &Machine, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let layer = m.folder.join(name);
    std::fs::create_dir_all(&layer).expect("mkdir");
    change(&layer);
    layer
}

fn with_layer(m: &Machine, mut spec: ContainerSpec, layer: PathBuf) -> ContainerSpec {
    if let Rootfs::Overlay { lower, .. } = &mut spec.rootfs {
        *lower = vec![layer, m.folder.join("image")];
    }
    spec
}

fn bind(path: &Path, target: impl Into<PathBuf>) -> Mount {
    let source = MountSource::Bind {
        path: path.to_owned(),
        sub_path: None,
        propagation: Propagation::Private,
        recursive_readonly: false,
    };
    Mount { target: target.into(), source, readonly: false }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

pub async fn working_folders(m: Machine) {
    let here = m.folder.to_str().expect("text").to_owned();
    let layer = over(&m, "links", |layer| {
        symlink("/proc/1/root", layer.join("way")).expect("link");
        symlink("way", layer.join("twice")).expect("link");
        symlink("/proc/self/fd", layer.join("fds")).expect("link");
        symlink("../../../../etc", layer.join("up")).expect("link");
        symlink("/far/away", layer.join("dangling")).expect("link");
        let private = layer.join("private");
        std::fs::create_dir(&private).expect("mkdir");
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).expect("chmod");
        std::os::unix::fs::chown(private, Some(7), Some(7)).expect("chown");
    });
    let folder = |id: &str, cwd: &str, script: &str| ContainerSpec {
        cwd: cwd.into(),
        ..with_layer(&m, m.spec(id, script), layer.clone())
    };
    // A process of the machine, and the pod's own first one.
    let me = std::process::id();
    for (sandbox, pid, one) in [("host", PidMode::Host, me), ("pod", PidMode::Pod, 1)] {
        m.sandbox_with(SandboxSpec { id: sandbox.into(), pid, ..SandboxSpec::default() }).await;
        m.start(sandbox, &folder(&format!("{sandbox}-runs"), "/", "sleep 1000")).await;
        let ways = ["/proc/1/root", "/proc/1/cwd", "/way", "/twice/tmp", "/proc/self/root"];
        let links = ["/fds/2", "/proc/thread-self/cwd", "/proc/self/../1/root"];
        let root = format!("/proc/{one}/root");
        let deep = [root.clone(), format!("{root}{here}"), format!("{root}{here}/made")];
        let fds = (0..3).map(|n| format!("/proc/self/fd/{n}"));
        let all = ways.iter().chain(&links).map(|way| way.to_string()).chain(deep).chain(fds);
        for (at, cwd) in all.enumerate() {
            let said = refused(&m, sandbox, &folder(&format!("{sandbox}-{at}"), &cwd, "ls")).await;
            assert!(said.starts_with(&format!("chdir to cwd (\"{cwd}\"): ")), "{cwd}: {said}");
            let exec =
                ExecSpec { args: vec!["ls".into()], cwd: Some(cwd.clone()), ..ExecSpec::default() };
            let Err(error) = m.runtime.exec(&format!("{sandbox}-runs"), &exec).await else {
                panic!("an exec in {cwd} started");
            };
            assert!(matches!(error, Error::Exec(_)), "{cwd}: {error}");
        }
        assert!(!m.folder.join("made").exists(), "made on the machine");
    }
    m.sandbox("own").await;
    let text = |spec: ContainerSpec| {
        let m = m.clone();
        async move { m.run("own", &spec).await.1 }
    };
    let made = text(folder("made", "/a/../b/c", "pwd; stat -c '%u %g %a' .")).await;
    assert_eq!(made, "/b/c\n0 0 755\n");
    assert_eq!(text(folder("up", "/up", "pwd; ls passwd")).await, "/etc\npasswd\n");
    let upper = m.folder.join("dangling/upper/far/away");
    assert_eq!(text(folder("dangling", "/dangling/x", "pwd")).await, "/far/away/x\n");
    assert!(upper.join("x").is_dir());
    // As upstream: a folder that root may enter is entered, whoever runs then (WORKDIR /root).
    let mut spec = folder("private", "/private", "pwd; ls 2>/dev/null || echo closed");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    assert_eq!(text(spec).await, "/private\nclosed\n");
    let file = refused(&m, "own", &folder("file", "/etc/passwd", "ls")).await;
    assert_eq!(file, "chdir to cwd (\"/etc/passwd\"): not a directory");
}

pub async fn mount_targets(m: Machine) {
    let volume = m.folder.join("volume");
    std::fs::create_dir_all(&volume).expect("mkdir");
    symlink("/proc", volume.join("proc")).expect("link");
    symlink("/proc/1/root", volume.join("out")).expect("link");
    let layer = over(&m, "links", |layer| {
        symlink("/proc", layer.join("p")).expect("link");
        symlink("/proc/self/root", layer.join("root")).expect("link");
        symlink("../../../outside", layer.join("up")).expect("link");
        symlink("../run/far/file", layer.join("dangling")).expect("link");
    });
    let spec = |id: &str, script: &str, mounts: Vec<Mount>| ContainerSpec {
        mounts,
        ..with_layer(&m, m.spec(id, script), layer.clone())
    };
    let host = SandboxSpec { id: "pod".into(), pid: PidMode::Host, ..SandboxSpec::default() };
    m.sandbox_with(host).await;
    let here = m.folder.to_str().expect("text").to_owned();
    let out = format!("/proc/{}/root{here}/made", std::process::id());
    let targets = [
        &*out,
        "/proc",
        "/proc/",
        "/./proc",
        "/etc/../proc",
        "/p",
        "/p/sys",
        "/proc/sys",
        "/proc/cpuinfo",
        "/proc/self/fd/0",
        "/root/x",
        "/v/proc",
        "/v/proc/x",
        "/v/out/tmp/x",
        "/",
        "/proc/1/cwd/x",
        "/..",
    ];
    for (at, target) in targets.iter().enumerate() {
        let mounts = vec![bind(&volume, "/v"), bind(&volume, *target)];
        let said = refused(&m, "pod", &spec(&format!("bind-{at}"), "ls /", mounts)).await;
        assert!(said.contains(&format!("mount at {target}: ")), "{target}: {said}");
        let tmpfs = MountSource::Tmpfs { size: None, mode: 0o755 };
        let tmpfs = Mount { target: target.into(), source: tmpfs, readonly: false };
        let mounts = vec![bind(&volume, "/v"), tmpfs];
        let said = refused(&m, "pod", &spec(&format!("tmpfs-{at}"), "ls /", mounts)).await;
        assert!(said.contains(&format!("mount at {target}: ")), "{target}: {said}");
    }
    assert!(!m.folder.join("made").exists(), "made on the machine");
    // Links that stay inside are followed, and what they lack is made.
    let file = m.folder.join("file");
    std::fs::write(&file, "text\n").expect("write");
    let mounts = vec![bind(&volume, "/up"), bind(&file, "/dangling")];
    let script = "ls /outside; cat /run/far/file; stat -c %a /run/far";
    let (_, text) = m.run("pod", &spec("inside", script, mounts)).await;
    assert_eq!(text, "out\nproc\ntext\n755\n");
    // Agents that watch the machine mount its /sys: what is masked stays masked.
    let firmware = "ls /sys/class | head -n 1 | wc -l; ls /sys/firmware | wc -l; \
                    ls /sys/devices/virtual/powercap 2>/dev/null | wc -l";
    let mut sys = bind(Path::new("/sys"), "/sys");
    sys.readonly = true;
    let (_, text) = m.run("pod", &spec("agent", firmware, vec![sys])).await;
    assert_eq!(text, "1\n0\n0\n");
    let below = vec![bind(Path::new("/sys/firmware"), "/sys/firmware")];
    let (_, text) = m.run("pod", &spec("below", firmware, below)).await;
    assert_eq!(text, "1\n0\n0\n");
}

pub async fn own_folders(m: Machine) {
    m.sandbox("pod").await;
    for (name, link) in [("proc", "etc"), ("dev", "/tmp"), ("sys", "proc"), ("proc", "/gone")] {
        let id = format!("{name}-{}", link.trim_start_matches('/'));
        let layer = over(&m, &format!("layer-{id}"), |layer| {
            symlink(link, layer.join(name)).expect("link");
        });
        let said = refused(&m, "pod", &with_layer(&m, m.spec(&id, "ls"), layer)).await;
        assert_eq!(said, format!("/{name} of the image is not a folder: nothing can be mounted"));
    }
    let layer = over(&m, "layer-file", |layer| {
        std::fs::write(layer.join("sys"), "").expect("write");
    });
    let said = refused(&m, "pod", &with_layer(&m, m.spec("file", "ls"), layer)).await;
    assert_eq!(said, "/sys of the image is not a folder: nothing can be mounted");
    // What hides the parts of /proc is the null device and nothing else.
    let mut spec = m.spec("null", "ls");
    let zero = |path: &str| Device {
        host_path: "/dev/zero".into(),
        path: path.into(),
        access: "rw".into(),
    };
    spec.devices = vec![zero("/dev/null")];
    let said = refused(&m, "pod", &spec).await;
    assert_eq!(said, "/dev/null of the container is not the null device");
    // What nobody gave a stream for is the container's own, also where volumes hide it: the mode of
    // the machine's would be for its root to change.
    let empty = m.folder.join("empty");
    std::fs::create_dir_all(&empty).expect("mkdir");
    for (id, mounts) in [("in", vec![]), ("hidden", vec![bind(&empty, "/dev")])] {
        // The same mode: what would be changed in case is the time of the change.
        let script = "chmod 666 /proc/self/fd/0 && echo done";
        let changed = || std::fs::metadata("/dev/null").map(|it| (it.ctime(), it.ctime_nsec()));
        let before = changed().expect("it is there");
        let (_, text) = m.run("pod", &ContainerSpec { mounts, ..m.spec(id, script) }).await;
        assert_eq!((&*text, changed().expect("still there")), ("done\n", before), "{id}");
    }
    m.start("pod", &m.spec("long", "sleep 1000")).await;
    let same = "test $(stat -L -c %d /dev/null) = $(stat -L -c %d /proc/self/fd/0)";
    let args = ["sh", "-c", same].map(String::from).to_vec();
    let exec = ExecSpec { args, ..ExecSpec::default() };
    let exec = m.runtime.exec("long", &exec).await.expect("runs");
    assert_eq!(m.runtime.wait_exec(&exec.id).await.expect("ends").code, 0);
    let mut spec = m.spec("way", "ls");
    spec.devices = vec![zero("/proc/self/root/x")];
    let said = refused(&m, "pod", &spec).await;
    assert!(said.starts_with("make device /proc/self/root/x: "), "{said}");
}

pub async fn users(m: Machine) {
    let layer = over(&m, "layer", |layer| {
        std::fs::create_dir_all(layer.join("etc")).expect("mkdir");
        let passwd = "1000:x:0:0::/:/bin/sh\nbig:x:4294967295:4294967295::/:\n\
                      app:x:1000:5::/srv:\n";
        std::fs::write(layer.join("etc/passwd"), passwd).expect("write");
        std::fs::write(layer.join("etc/group"), "7:x:0:\nweb:x:33:app\n").expect("write");
    });
    m.sandbox("pod").await;
    let spec = with_layer(&m, m.spec("digits", "id -u; id -g; umask; touch /tmp/x"), layer);
    let user = user::resolve(&spec.rootfs, "1000:7").expect("digits are an id");
    assert_eq!((user.uid, user.gid), (1000, 7));
    let mut spec = ContainerSpec { user, ..spec };
    spec.mounts = vec![Mount {
        target: "/tmp".into(),
        source: MountSource::Tmpfs { size: None, mode: 0o1777 },
        readonly: false,
    }];
    assert_eq!(m.run("pod", &spec).await.1, "1000\n7\n0022\n");
    // setresuid(2) takes -1 for "leave it as it is".
    let none = u32::MAX;
    for (id, user) in [
        ("uid", User { uid: none, gid: 1, groups: vec![] }),
        ("gid", User { uid: 1, gid: none, groups: vec![] }),
        ("groups", User { uid: 1, gid: 1, groups: vec![none] }),
    ] {
        let spec = ContainerSpec { user, ..m.spec(id, "id") };
        let error = m.runtime.create_container("pod", &spec).await.expect_err("refused");
        assert_eq!(error.to_string(), "4294967295 is no id: ids are 0 to 2147483647");
    }
    // A FIFO would be waited on for ever, a device might do something when it is opened.
    for (id, make) in [
        ("fifo", fifo as fn(&Path)),
        ("folder", |path| std::fs::create_dir(path).expect("mkdir")),
        ("huge", |path| std::fs::write(path, "x".repeat(2 << 20)).expect("write")),
        ("link", |path| symlink("/proc/self/fd/0", path).expect("link")),
    ] {
        let layer = over(&m, &format!("layer-{id}"), |layer| {
            std::fs::create_dir_all(layer.join("etc")).expect("mkdir");
            make(&layer.join("etc/passwd"));
        });
        let spec = with_layer(&m, m.spec(id, "echo $HOME"), layer);
        // A link that leads nowhere is no file of this layer: the one below has it.
        if id != "link" {
            let found = user::resolve(&spec.rootfs, "app").expect_err("no file").to_string();
            assert!(found.contains("etc/passwd: it is "), "{id}: {found}");
        }
        // A home folder is a convenience: who has no readable one has the root.
        assert_eq!(m.run("pod", &spec).await.1, "/\n", "{id}");
    }
}

pub async fn exec_takes_the_same_care(m: Machine) {
    m.sandbox("pod").await;
    let script = "rm -f /etc/passwd; busybox mkfifo /etc/passwd; echo up; sleep 1000";
    m.start("pod", &m.spec("c", script)).await;
    m.until_logged("c", "up").await;
    let script = "umask; echo $HOME; touch /made; stat -c %a /made";
    let exec = ExecSpec {
        args: ["sh", "-c", script].map(String::from).to_vec(),
        stdout: true,
        ..ExecSpec::default()
    };
    let mut exec = m.runtime.exec("c", &exec).await.expect("starts");
    let mut text = String::new();
    let mut stdout = exec.stdout.take().expect("stdout");
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut text).await.expect("reads");
    assert_eq!(text, "0022\n/\n644\n");
    // A terminal is one of the container's own devpts, whatever lies at its place.
    let volume = m.folder.join("volume");
    std::fs::create_dir_all(&volume).expect("mkdir");
    fifo(&volume.join("ptmx"));
    let mut spec = m.spec("d", "sleep 1000");
    spec.mounts = vec![bind(&volume, "/dev/pts")];
    m.start("pod", &spec).await;
    let exec = ExecSpec { args: vec!["tty".into()], terminal: true, ..ExecSpec::default() };
    let error = m.runtime.exec("d", &exec).await.map(|_| ()).expect_err("no terminal");
    assert_eq!(error.to_string(), "/dev/pts/ptmx of the container is not its terminals' master");
    let spec = ContainerSpec { id: "e".into(), terminal: true, ..spec };
    let said = refused(&m, "pod", &spec).await;
    assert_eq!(said, "/dev/pts/ptmx of the container is not its terminals' master");
    assert_eq!(volume.join("ptmx").metadata().expect("there").uid(), 0);
}

/// What was thought of after the doors above were shut.
pub async fn other_ways(m: Machine) {
    let host = SandboxSpec { id: "pod".into(), pid: PidMode::Host, ..SandboxSpec::default() };
    m.sandbox_with(host).await;
    // A subPath of a volume that is the machine's own process file system.
    let mut spec = m.spec("sub", "ls /v");
    let below = |path: String| Mount {
        target: "/v".into(),
        source: MountSource::Bind {
            path: "/proc".into(),
            sub_path: Some(path.into()),
            propagation: Propagation::Private,
            recursive_readonly: false,
        },
        readonly: false,
    };
    spec.mounts = vec![below(format!("{}/root", std::process::id()))];
    let said = refused(&m, "pod", &spec).await;
    assert!(said.starts_with("failed to prepare subPath "), "{said}");
    // A terminal's place that leads to a file which is then hidden, or shown.
    let dev = m.folder.join("dev");
    for folder in ["pts", "shm", "mqueue"] {
        std::fs::create_dir_all(dev.join(folder)).expect("mkdir");
    }
    symlink("/etc/passwd", dev.join("console")).expect("link");
    let mut spec = ContainerSpec { terminal: true, ..m.spec("console", "cat /etc/passwd") };
    spec.mounts = vec![bind(&dev, "/dev"), bind(Path::new("/dev/pts"), "/dev/pts")];
    let said = refused(&m, "pod", &spec).await;
    assert!(said.starts_with("mount at /dev/console: "), "{said}");
    // The whole of /etc as a link out; the root's own mode.
    let layer = over(&m, "etc", |layer| {
        std::fs::create_dir_all(layer.join("real")).expect("mkdir");
        symlink(format!("/proc/{}/root/etc", std::process::id()), layer.join("etc")).expect("link");
    });
    let spec = with_layer(&m, m.spec("etc", "echo $HOME; stat -c %a /"), layer);
    assert_eq!(m.run("pod", &spec).await.1, "/\n755\n");
    // A neighbour that changes what lies at a target, and at a working folder, all the while.
    let volume = m.folder.join("shared");
    std::fs::create_dir_all(volume.join("real/x")).expect("mkdir");
    let me = std::process::id();
    symlink(format!("/proc/{me}/root"), volume.join("link")).expect("link");
    symlink("/proc", volume.join("proc")).expect("link");
    let mut spec = m.spec(
        "neighbour",
        "cd /v; while :; do for n in link real proc real; do rm -f at; ln -sfn $n at; done; done",
    );
    spec.mounts = vec![bind(&volume, "/v")];
    for name in ["ln", "rm"] {
        symlink("busybox", m.folder.join("image/bin").join(name)).expect("link");
    }
    m.start("pod", &spec).await;
    let made = format!("{}/made", m.folder.display());
    for round in 0..30 {
        let mut spec = m.spec(&format!("race-{round}"), "pwd; ls /proc/self/attr >/dev/null");
        spec.mounts = vec![bind(&volume, "/v"), bind(&volume, format!("/v/at{made}"))];
        spec.cwd = format!("/v/at{made}");
        m.runtime.create_container("pod", &spec).await.expect("created");
        if m.runtime.start_container(&spec.id).await.is_ok() {
            m.runtime.wait_container(&spec.id).await.expect("ends");
        }
        assert!(!Path::new(&made).exists(), "round {round}: made on the machine");
    }
}
