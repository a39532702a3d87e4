//! A cluster for one test: a Skiff of its own in a machine of its own.
//!
//! `Cluster::start("name")` returns when the node is Ready; dropping it takes everything away. A
//! test that fails leaves the machine's folder with all logs, and prints where it is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::kit;
use crate::kubectl::{Answer, Kubectl, feed};
use crate::machine::Machine;

/// The busybox image that tests run, made on the spot from Debian's static busybox: no pull.
pub const BUSYBOX: &str = "registry.k8s.io/busybox:test";

/// A machine with a Skiff in it.
pub struct Cluster {
    machine: Machine,
    skiff: PathBuf,
    /// Where the daemon looks for the faults that a test asks for.
    faults: Option<PathBuf>,
    /// kubectl, inside the machine.
    pub k: Kubectl,
}

impl Cluster {
    /// A cluster whose node is Ready; panics with what Skiff said when it does not come up.
    #[track_caller]
    pub fn start(test: &str) -> Self {
        let cluster = Self::empty(test);
        cluster.skiff(&["up"]);
        cluster
    }

    /// The machine alone, for tests of `skiff up` itself.
    #[track_caller]
    pub fn empty(test: &str) -> Self {
        match Self::make(test) {
            Ok(cluster) => cluster,
            Err(e) => panic!("{test}: {e:#}"),
        }
    }

    fn make(test: &str) -> Result<Self> {
        let (skiff, kubectl) = (kit::skiff()?, kit::kubectl()?);
        let machine = Machine::start(test)?;
        let k = Kubectl::new(machine.prefix(&kubectl), machine.home().join(".kube/config"));
        Ok(Self { machine, skiff, faults: None, k })
    }

    /// The machine alone, whose Skiff fails where the test says so ([`Cluster::ask_faults`]): a debug build does.
    #[track_caller]
    pub fn faulty(test: &str) -> Self {
        let mut cluster = Self::empty(test);
        cluster.faults = Some(cluster.machine.data().join("faults"));
        cluster
    }

    /// Makes these points fail, each once; with a `*` behind it, until the next call.
    #[track_caller]
    pub fn ask_faults(&self, points: &[&str]) {
        let file = self.faults.as_ref().expect("it was started as faulty");
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, points.join("\n")).expect("the folder can be written to");
        std::fs::rename(&fresh, file).expect("it lies beside");
    }

    /// The points that have not failed yet.
    #[track_caller]
    pub fn faults(&self) -> String {
        let file = self.faults.as_ref().expect("it was started as faulty");
        std::fs::read_to_string(file).expect("it was written")
    }

    /// Runs `skiff` inside; its output. Panics when it fails.
    #[track_caller]
    pub fn skiff(&self, args: &[&str]) -> String {
        let answer = self.skiff_answers(args);
        assert_eq!(answer.code, 0, "skiff {args:?}: {}{}{}", answer.out, answer.err, self.logs());
        answer.out
    }

    /// Runs `skiff` inside; whatever it answers.
    #[track_caller]
    pub fn skiff_answers(&self, args: &[&str]) -> Answer {
        let mut command = self.inside(&self.skiff);
        command.args(args);
        answer(&mut command, "")
    }

    /// Runs `skiff` inside and lets it go on; what it says goes into a file of the machine's logs.
    #[track_caller]
    pub fn begin(&self, args: &[&str]) -> Child {
        let log = self.machine.data().join("logs").join(args[0]);
        let log = std::fs::File::options().create(true).append(true).open(log);
        let log = log.expect("the folder can be written to");
        let mut command = self.inside(&self.skiff);
        command.args(args).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        command.spawn().expect("the machine runs commands")
    }

    /// A shell line inside the machine; its output. Panics when it fails.
    #[track_caller]
    pub fn shell(&self, line: &str) -> String {
        let mut command = self.inside(Path::new("bash"));
        command.args(["-c", line]);
        let answer = answer(&mut command, "");
        assert_eq!(answer.code, 0, "{line}\n{}{}", answer.out, answer.err);
        answer.out
    }

    /// A command inside the machine, as root with a home of its own.
    pub fn inside(&self, program: &Path) -> Command {
        let mut command = self.machine.command(program);
        command.env("HOME", self.machine.home()).env_remove("KUBECONFIG").current_dir("/");
        // The hierarchies are the host's: each cluster has a group of its own at their roots.
        command.env("SKIFF_CGROUP", self.cgroup());
        if let Some(file) = &self.faults {
            command.env("SKIFF_FAULTS", file);
        }
        command
    }

    /// Loads the busybox image ([`BUSYBOX`]) into the node.
    #[track_caller]
    pub fn load_busybox(&self) {
        let archive = self.busybox("docker");
        self.skiff(&["image", "load", &archive]);
    }

    /// The archive of that image, in one of the forms that `tests/kit/image` makes.
    #[track_caller]
    pub fn busybox(&self, form: &str) -> String {
        match busybox_archive(self.machine.data(), form) {
            Ok(archive) => archive.display().to_string(),
            Err(e) => panic!("make an image of busybox: {e:#}"),
        }
    }

    /// The kubeconfig of the machine's root user.
    pub fn config(&self) -> String {
        self.machine.home().join(".kube/config").display().to_string()
    }

    /// Lays the parts of the kubeconfig into a folder, where curl finds them: `ca`, `cert`, `key`, and in `server` where
    /// the API is.
    #[track_caller]
    pub fn unfold(&self, folder: &Path) {
        let raw = |path: &str| {
            self.k.args(&["config", "view", "--raw", "-o", &format!("jsonpath={path}")])
        };
        for (file, path) in [
            ("ca", "{.clusters[0].cluster.certificate-authority-data}"),
            ("cert", "{.users[0].user.client-certificate-data}"),
            ("key", "{.users[0].user.client-key-data}"),
        ] {
            let text = BASE64_STANDARD.decode(raw(path).trim()).expect("base64");
            std::fs::write(folder.join(file), text).expect("the folder is the test's own");
        }
        let server = raw("{.clusters[0].cluster.server}");
        std::fs::write(folder.join("server"), server).expect("the folder is the test's own");
    }

    /// The cgroup of everything that this cluster's containers and supervisor run in.
    pub fn cgroup(&self) -> String {
        format!("{}-skiff", self.machine.name())
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The memory of the daemon in MiB.
    pub fn memory_mib(&self) -> u64 {
        let status = self.shell(&format!("grep VmRSS /proc/{}/status", self.daemon()));
        let kib = status.split_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") / 1024
    }

    /// The daemon's process.
    #[track_caller]
    pub fn daemon(&self) -> u32 {
        let status = self.skiff(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("status is JSON");
        let pid = status["pid"].as_u64().expect("status names the daemon's process");
        u32::try_from(pid).expect("a process number")
    }

    /// The daemon's own log, for a message.
    fn logs(&self) -> String {
        let answer = self.skiff_answers(&["logs"]);
        format!("\n--- skiff logs\n{}{}", answer.out, answer.err)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = self.machine.data().join("logs");
            let logs = self.skiff_answers(&["logs"]);
            // The test has failed already; what cannot be kept of its logs is lost.
            let _ = std::fs::write(folder.join("skiff"), logs.out + &logs.err);
            let _ = std::fs::write(folder.join("kubectl"), self.k.trace());
            eprintln!("the logs are in {}", folder.display());
        }
    }
}

#[track_caller]
fn answer(command: &mut Command, input: &str) -> Answer {
    feed(command, input).expect("the machine runs commands")
}

/// An archive of Debian's static busybox, with all its commands as links.
fn busybox_archive(folder: &Path, form: &str) -> Result<PathBuf> {
    let archive = folder.join(format!("busybox-{form}.tar"));
    let script = kit::root().join("tests/kit/image");
    let output = Command::new(script)
        .args([BUSYBOX, &archive.display().to_string(), form])
        .output()
        .context("run tests/kit/image")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(archive)
}
