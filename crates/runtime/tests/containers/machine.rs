//! One machine for one case: its folder, its cgroup, its runtime; and what cases ask of it.

use skiff_runtime::client::{Config, Runtime};
use skiff_runtime::spec::{ContainerSpec, Rootfs, SandboxSpec};
use skiff_runtime::status::{ContainerStatus, SandboxStatus};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Machine {
    pub folder: PathBuf,
    pub cgroup_root: String,
    pub runtime: Runtime,
}

/// A script whose output is one stream: of two pipes nobody says which is read first.
pub fn shell(script: &str) -> Vec<String> {
    vec!["sh".into(), "-c".into(), format!("exec 2>&1; {script}")]
}

impl Machine {
    pub async fn new(name: &str) -> Machine {
        let name = format!("skiff-test-{}-{}", name.replace("::", "-"), std::process::id());
        let folder = std::env::temp_dir().join(&name);
        make_rootfs(&folder.join("image"));
        let runtime = Runtime::open(Config {
            root: folder.join("run"),
            cgroup_root: name.clone(),
            exe: std::env::current_exe().expect("own path"),
        });
        let runtime = runtime.await.expect("opens");
        Machine { folder, cgroup_root: name, runtime }
    }

    /// Removes all, and checks that all is gone.
    pub async fn end(&self) {
        self.runtime.shutdown().await.expect("shuts down");
        let log = std::fs::read_to_string(self.folder.join("run/supervisor.log"));
        let log = log.unwrap_or_default();
        let folder = self.folder.to_str().expect("text").to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&folder)).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}\n{log}");
        let cgroups = self.cgroups();
        assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}\n{log}");
        let processes = self.processes();
        assert!(processes.is_empty(), "processes are left: {processes:?}\n{log}");
        let mut files: Vec<_> = std::fs::read_dir(self.folder.join("run"))
            .expect("the root")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        files.sort();
        assert_eq!(files, ["containers", "sandboxes", "supervisor.log"], "{log}");
        if std::env::var_os("SKIFF_TEST_LOG").is_some() && !log.is_empty() {
            println!("{log}");
        }
        std::fs::remove_dir_all(&self.folder).expect("clean up");
    }

    /// Folders of this machine in any cgroup tree.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let trees = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted");
        let mut all: Vec<_> = trees
            .map(|tree| tree.expect("an entry").path().join(&self.cgroup_root))
            .chain([Path::new("/sys/fs/cgroup").join(&self.cgroup_root)])
            .filter(|path| path.exists())
            .collect();
        all.sort();
        all
    }

    /// Processes whose arguments or cgroups name this machine.
    pub fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("proc") {
            let path = entry.expect("an entry").path();
            let Ok(cgroup) = std::fs::read_to_string(path.join("cgroup")) else { continue };
            if cgroup.contains(&self.cgroup_root) {
                let line = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
                // Dead, and not yet reaped by the machine's own first process.
                if line.is_empty() {
                    continue;
                }
                found.push(format!("{} {}", path.display(), line.replace('\0', " ")));
            }
        }
        found
    }

    pub fn supervisor_pid(&self) -> i32 {
        let me = self.folder.join("run");
        let me = me.to_str().expect("text");
        for entry in std::fs::read_dir("/proc").expect("proc") {
            let path = entry.expect("an entry").path();
            let Ok(line) = std::fs::read_to_string(path.join("cmdline")) else { continue };
            let words: Vec<_> = line.split('\0').collect();
            // The one that started it has the same arguments, and takes a moment to go.
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            if name == "skiff-super\n" && words.contains(&me) {
                let pid = path.file_name().expect("a pid").to_string_lossy().into_owned();
                return pid.parse().expect("a number");
            }
        }
        panic!("no supervisor");
    }

    pub async fn sandbox(&self, id: &str) -> SandboxStatus {
        self.sandbox_with(SandboxSpec { id: id.into(), ..SandboxSpec::default() }).await
    }

    pub async fn sandbox_with(&self, mut spec: SandboxSpec) -> SandboxStatus {
        if spec.cgroup_parent.is_empty() {
            spec.cgroup_parent = format!("pods/{}", spec.id);
        }
        self.runtime.create_sandbox(&spec).await.expect("a sandbox")
    }

    /// A container spec over the image, running a shell script.
    pub fn spec(&self, id: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            id: id.into(),
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec!["PATH=/bin".into()],
            rootfs: Rootfs::Overlay {
                lower: vec![self.folder.join("image")],
                upper: self.folder.join(id).join("upper"),
                work: self.folder.join(id).join("work"),
            },
            log_path: Some(self.log_path(id)),
            ..ContainerSpec::default()
        }
    }

    pub fn log_path(&self, id: &str) -> PathBuf {
        self.folder.join("logs").join(id).join("0.log")
    }

    pub async fn start(&self, sandbox: &str, spec: &ContainerSpec) -> ContainerStatus {
        self.runtime.create_container(sandbox, spec).await.expect("created");
        self.runtime.start_container(&spec.id).await.expect("started")
    }

    /// Runs to the end: (status, what it logged without times).
    pub async fn run(&self, sandbox: &str, spec: &ContainerSpec) -> (ContainerStatus, String) {
        self.start(sandbox, spec).await;
        let status = self.runtime.wait_container(&spec.id).await.expect("ends");
        (status, self.text(&spec.id))
    }

    /// A script in a sandbox of its own: its output.
    pub async fn output(&self, id: &str, change: impl FnOnce(&mut ContainerSpec)) -> String {
        let sandbox = format!("{id}-pod");
        self.sandbox(&sandbox).await;
        let mut spec = self.spec(id, "");
        change(&mut spec);
        self.run(&sandbox, &spec).await.1
    }

    pub fn log(&self, id: &str) -> String {
        std::fs::read_to_string(self.log_path(id)).unwrap_or_default()
    }

    /// The log's text alone.
    pub fn text(&self, id: &str) -> String {
        let log = self.log(id);
        log.lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap_or("?").to_string() + "\n")
            .collect()
    }

    /// Until the log of a running container has a line; there is no other sign of it.
    pub async fn until_logged(&self, id: &str, what: &str) {
        while !self.log(id).contains(what) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

fn make_rootfs(image: &Path) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter();
    let busybox = busybox.into_iter().find(|path| path.exists());
    let busybox = busybox.expect("apt-get install busybox-static");
    for folder in ["bin", "etc", "tmp", "srv"] {
        std::fs::create_dir_all(image.join(folder)).expect("mkdir");
    }
    std::fs::copy(busybox, image.join("bin/busybox")).expect("copy busybox");
    for name in [
        "sh", "cat", "echo", "ls", "id", "sleep", "true", "false", "grep", "stty", "kill", "mount",
        "touch", "head", "dd", "yes", "seq", "hostname", "ps", "unshare", "wc", "trap", "readlink",
        "mknod", "tr", "date", "tail", "awk", "env", "pwd", "chroot", "ulimit", "stat", "usleep",
    ] {
        symlink("busybox", image.join("bin").join(name)).expect("link");
    }
    std::fs::write(image.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv:\n")
        .expect("passwd");
    std::fs::write(image.join("etc/group"), "root:x:0:\nweb:x:33:app\n").expect("group");
}
