//! A machine in a namespace: own network, mounts, processes and cgroup, so that tests run side by
//! side and no packet leaves. Thin: it is the crate `skiff-machine` that `skiff -p NAME` uses too.
//!
//! The machine lives as long as one process inside it, its init; killing that ends every process,
//! mount and link in it. Nothing of it may outlive a test, not even one that panics.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags};
use rustix::process::PidfdFlags;

/// The machine's own address: nobody else is in its network.
pub const ADDRESS: &str = "192.0.2.10";

/// The addresses at the ends of a cable between two machines.
pub const CABLE: [&str; 2] = ["198.51.100.1", "198.51.100.2"];

/// What init does: a world of its own, ready when it says so, then it reaps until it is killed.
const INIT: &str = r#"
set -e
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
ip link add eth0 type veth peer name eth0-far
ip address add ADDRESS/24 dev eth0
ip link set eth0 up
ip link set eth0-far up
ip route add default via 192.0.2.1
mount -t tmpfs tmpfs /run
mount --bind DATA/lib /var/lib
hostname NAME
echo ready
# A shell takes away whatever dead process comes to it.
sleep infinity &
wait
"#;

/// One machine and its folder.
pub struct Machine {
    name: String,
    data: PathBuf,
    init: Child,
    pid: u32,
}

impl Machine {
    /// Makes a machine named after the test.
    pub fn start(test: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skt-{}-{count}", std::process::id());
        let data = std::env::temp_dir().join("skiff-tests").join(format!("{test}-{name}"));
        for folder in ["root", "lib", "logs"] {
            fs::create_dir_all(data.join(folder)).context("make the machine's folder")?;
        }
        for group in cgroups(&name)? {
            fs::create_dir_all(&group).with_context(|| format!("make {}", group.display()))?;
            adopt_cpuset(&group)?;
        }
        let script = INIT
            .replace("ADDRESS", ADDRESS)
            .replace("DATA", &data.display().to_string())
            .replace("NAME", &name);
        let mut init = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"])
            .args(["bash", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(data.join("logs/machine"))?)
            .spawn()
            .context("unshare (util-linux)")?;
        let ready = first_line(&mut init)?;
        ensure!(ready == "ready", "the machine did not start: see {}/logs/machine", data.display());
        let pid = child_of(init.id())?;
        Ok(Self { name, data, init, pid })
    }

    /// A command that runs inside, in the machine's cgroup.
    pub fn command(&self, program: &Path) -> Command {
        let prefix = self.prefix(program);
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]);
        command
    }

    /// The words that enter the machine and start `program`.
    pub fn prefix(&self, program: &Path) -> Vec<OsString> {
        let mut join = String::new();
        for group in cgroups(&self.name).unwrap_or_default() {
            join.push_str(&format!("echo 0 > {}/cgroup.procs; ", group.display()));
        }
        let script = format!(r#"{join}exec nsenter --all --target {} -- "$@""#, self.pid);
        let mut words: Vec<OsString> = vec!["bash".into(), "-c".into(), script.into()];
        words.extend(["machine".into(), program.into()]);
        words
    }

    /// The home of its root user.
    pub fn home(&self) -> PathBuf {
        self.data.join("root")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of everything that the machine writes; a failed test leaves it.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A cable between two machines, at whose ends they have [`CABLE`]'s addresses.
    pub fn cable(&self, other: &Machine) -> Result<()> {
        let (here, there) = (self.pid.to_string(), other.pid.to_string());
        let add = ["link", "add", "cable0", "netns", &here, "type", "veth"];
        let peer = ["peer", "name", "cable0", "netns", &there];
        let status = Command::new("ip").args(add).args(peer).status().context("ip (iproute2)")?;
        ensure!(status.success(), "the cable could not be laid");
        for (machine, address) in [(self, CABLE[0]), (other, CABLE[1])] {
            let line = format!("ip address add {address}/24 dev cable0 && ip link set cable0 up");
            let status = machine.command(Path::new("bash")).args(["-c", &line]).status()?;
            ensure!(status.success(), "{address} could not be given");
        }
        Ok(())
    }

    /// Processes inside, as the host numbers them.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for group in cgroups(&self.name)?.into_iter().take(1) {
            collect(&group, &mut pids)?;
        }
        Ok(pids)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of the machine's first process ends all in it, and comes after all of theirs.
        let inner = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        let inner = inner.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        // What has ended already cannot be killed.
        let _ = self.init.kill();
        let _ = self.init.wait();
        if let Some(Ok(inner)) = inner {
            let mut ended = [PollFd::new(&inner, PollFlags::IN)];
            let most = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
            if let Err(e) = rustix::event::poll(&mut ended, Some(&most)) {
                eprintln!("waiting for the end of {}: {e}", self.name);
            }
        }
        let cluster = format!("{}-skiff", self.name);
        for group in [cgroups(&self.name), cgroups(&cluster)].into_iter().flatten().flatten() {
            if let Err(e) = remove_groups(&group) {
                eprintln!("{} stays: {e}", group.display());
            }
        }
        if !std::thread::panicking()
            && let Err(e) = fs::remove_dir_all(&self.data)
        {
            eprintln!("{} stays: {e}", self.data.display());
        }
    }
}

/// Dumps the table names of this network (netlink(7); linux/netfilter/nf_tables.h).
/// The machine's folder in every cgroup hierarchy of this kernel, v1 or v2.
fn cgroups(name: &str) -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.join(name)]);
    }
    let mut groups = Vec::new();
    for entry in fs::read_dir(root).context("list the cgroup hierarchies")? {
        let path = entry?.path();
        if path.join("cgroup.procs").exists() && !path.is_symlink() {
            groups.push(path.join(name));
        }
    }
    groups.sort();
    Ok(groups)
}

/// A new group of the v1 cpuset takes no process before it has processors and memory.
fn adopt_cpuset(group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let parent = group.parent().expect("it lies below a hierarchy").join(file);
        if group.join(file).exists() && parent.exists() {
            fs::write(group.join(file), fs::read(parent)?).context("copy the cpuset")?;
        }
    }
    Ok(())
}

fn remove_groups(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_groups(&path)?;
        }
    }
    fs::remove_dir(group)
}

fn collect(group: &Path, pids: &mut Vec<u32>) -> Result<()> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, pids)?;
        }
    }
    Ok(())
}

fn first_line(child: &mut Child) -> Result<String> {
    use std::io::BufRead;
    let stdout = child.stdout.take().context("the output was asked for")?;
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn child_of(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    text.split_whitespace().next().context("unshare has no child")?.parse().context("a pid")
}
