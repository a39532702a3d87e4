//! Machines against the kernel. Each test stands in a network namespace of its own.

use std::fs;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use skiff_net::NetNs;
use skiff_net::netlink::route;
use skiff_net::netlink::socket::{Family, Socket};

use crate::*;

/// A folder, a cgroup and a network of the test's own.
struct Ground {
    folder: PathBuf,
    cgroup: PathBuf,
    network: NetNs,
}

impl Ground {
    fn new(test: &str) -> Ground {
        let name = format!("skiff-machine-test-{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        Ground { folder, cgroup: Path::new("/").join(name), network: NetNs::create().unwrap() }
    }

    fn registry(&self) -> Registry {
        Registry::at(self.folder.join("machines"))
    }

    fn spec(&self, name: &str, uplink: Uplink) -> Spec {
        let data = self.folder.join("data").join(name);
        Spec { name: name.to_string(), data, cgroup: self.cgroup.join(name), uplink }
    }

    /// All that a machine could leave behind.
    fn traces(&self) -> String {
        let mut socket = Socket::open(&self.network, Family::Route).unwrap();
        let links = route::links(&mut socket).unwrap();
        let names: Vec<_> = links.into_iter().map(|link| link.name).collect();
        let cgroups: Vec<_> = crate::cgroup::folders(&self.cgroup)
            .unwrap()
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.map(|e| e.unwrap()))
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.path())
            .collect();
        format!("{names:?} {cgroups:?} {:?}", self.registry().list().unwrap())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        crate::cgroup::remove(&self.cgroup).unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn say(machine: &Machine, script: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = machine.spawn(&mut command).unwrap().wait_with_output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text += &String::from_utf8(output.stderr).unwrap();
    text.trim_end().to_string()
}

/// The number of the process that will take a command away when it is dead.
fn parent_of_a_command(machine: &Machine) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read word; cut -d' ' -f4 /proc/$$/stat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = machine.spawn(&mut command).unwrap();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_string()
}

fn pair() -> Uplink {
    Uplink::Pair {
        outside: IpAddr::from([10, 111, 0, 1]),
        inside: IpAddr::from([10, 111, 0, 2]),
        prefix: 30,
    }
}

#[test]
fn a_machine_is_apart_in_all_that_counts() {
    let ground = Ground::new("apart");
    let before = ground.traces();
    ground
        .network
        .run(|| {
            let begin = Instant::now();
            let machine = ground.registry().create(&ground.spec("dev", pair())).unwrap();
            println!("machine made in {:?}", begin.elapsed());
            assert_eq!(say(&machine, "uname -n"), "dev");
            assert_eq!(say(&machine, "pwd; ls /run"), "/");
            assert_eq!(parent_of_a_command(&machine), "1");
            let processes = say(&machine, "cat /proc/1/comm; echo /proc/[0-9]* | wc -w");
            assert!(
                processes.starts_with("skiff-machine\n") && processes.len() < 18,
                "{processes}"
            );
            let links = say(&machine, "cat /proc/net/dev | cut -d: -f1 | tail -n +3 | tr -d ' '");
            assert_eq!(links.lines().collect::<Vec<_>>(), ["lo", "eth0"]);
            let cgroups = say(&machine, "cat /proc/self/cgroup");
            let own = ground.cgroup.join("dev/machine");
            assert!(cgroups.lines().all(|l| l.ends_with(own.to_str().unwrap())), "{cgroups}");
            assert_eq!(say(&machine, "ls -d /sys/fs/cgroup"), "/sys/fs/cgroup");

            let inside =
                machine.network().run(|| TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
            assert_eq!(machine.address(), Some(IpAddr::from([10, 111, 0, 2])));
            let stream = TcpStream::connect((machine.address().unwrap(), 80)).unwrap();
            assert_eq!(stream.local_addr().unwrap().ip().to_string(), "10.111.0.1");
            drop((stream, inside));
            let begin = Instant::now();
            machine.destroy().unwrap();
            println!("machine destroyed in {:?}", begin.elapsed());
        })
        .unwrap();
    assert_eq!(ground.traces(), before);
    assert!(ground.folder.join("data/dev").is_dir(), "data stays");
}

#[test]
fn a_machine_outlives_its_maker_and_ends_with_all_its_processes() {
    let ground = Ground::new("life");
    ground
        .network
        .run(|| {
            let registry = ground.registry();
            registry.create(&ground.spec("dev", pair())).unwrap();
            assert_eq!(registry.list().unwrap(), ["dev"]);
            let exists = registry.create(&ground.spec("dev", pair())).unwrap_err();
            assert!(matches!(exists, Error::Exists(_)), "{exists}");
            let machine = registry.open("dev").unwrap();
            // One that is left behind when nobody holds its output any more, and before it one that
            // ends and has to be taken away: until then it can be signalled.
            let taken = "p=$(true & echo $!); i=0; \
                 while kill -0 $p 2>/dev/null && [ $i -lt 1000000 ]; do i=$((i+1)); done";
            say(&machine, &format!("{taken}; exec sleep 1000 >/dev/null 2>&1"));
            let folder = ground.cgroup.join("dev/machine");
            let folder = &crate::cgroup::folders(&folder).unwrap()[0];
            let left = fs::read_to_string(folder.join("cgroup.procs")).unwrap();
            assert_eq!(left.lines().count(), 1, "{left}");
            machine.destroy().unwrap();
            assert!(!Path::new("/proc").join(left.trim()).exists(), "{left}");
            assert!(matches!(registry.open("dev"), Err(Error::Missing(_))));
            assert!(matches!(registry.destroy("dev"), Err(Error::Missing(_))));
        })
        .unwrap();
}

#[test]
fn a_machine_whose_init_died_is_stopped_and_can_be_destroyed() {
    let ground = Ground::new("died");
    let before = ground.traces();
    ground
        .network
        .run(|| {
            let registry = ground.registry();
            let machine = registry.create(&ground.spec("dev", pair())).unwrap();
            crate::process::Process::now(machine.init().unwrap()).unwrap().kill().unwrap();
            assert!(matches!(registry.open("dev"), Err(Error::Stopped(_))));
            registry.destroy("dev").unwrap();
        })
        .unwrap();
    assert_eq!(ground.traces(), before);
}

#[test]
fn a_machine_that_cannot_be_made_leaves_nothing() {
    let ground = Ground::new("fails");
    let before = ground.traces();
    ground
        .network
        .run(|| {
            let mut uplink = pair();
            if let Uplink::Pair { prefix, .. } = &mut uplink {
                *prefix = 99;
            }
            let error = ground.registry().create(&ground.spec("dev", uplink)).unwrap_err();
            assert!(error.to_string().starts_with("network of machine: set up cable"), "{error}");
        })
        .unwrap();
    assert_eq!(ground.traces(), before);
}

#[test]
fn machines_on_a_switch_see_each_other_and_nothing_else() {
    let ground = Ground::new("switch");
    let switch = NetNs::create().unwrap();
    let uplink = |last| Uplink::Switch {
        namespace: switch.clone(),
        bridge: "switch0".to_string(),
        inside: IpAddr::from([10, 9, 0, last]),
        prefix: 24,
        gateway: None,
    };
    let registry = ground.registry();
    let one = registry.create(&ground.spec("one", uplink(1))).unwrap();
    let two = registry.create(&ground.spec("two", uplink(2))).unwrap();
    let listener = two.network().run(|| TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
    let stream = one.network().run(|| TcpStream::connect("10.9.0.2:80")).unwrap().unwrap();
    drop((stream, listener));
    let away = one.network().run(|| TcpStream::connect("10.10.0.1:80")).unwrap().unwrap_err();
    assert_eq!(away.raw_os_error(), Some(libc::ENETUNREACH));
    one.destroy().unwrap();
    two.destroy().unwrap();
}

#[test]
fn the_host_is_a_machine_for_which_nothing_is_made() {
    let host = Machine::host("/var/lib/skiff").unwrap();
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(say(&host, "uname -n"), own.trim());
    assert_eq!((host.name(), host.cgroup(), host.address()), ("host", Path::new("/"), None));
    host.destroy().unwrap();
}
