//! `cargo xtask vm [COMMAND...]`: a stock machine in software, with what is to be tried inside.
//!
//! Debian's own kernel and systemd, cgroup v2, AppArmor: what the machine that builds Skiff may not have. Without
//! arguments the list of `tests/vm/checks` runs there; COMMAND runs instead of it, with `skiff`, `kubectl`, the
//! black-box tests (by the names of their files) and what is in `tests/vm` on its path. Its output and its exit code
//! come out; its disk is thrown away. Nothing leaves the machine: its one network ends in qemu.

use crate::cargo::{self, root};
use crate::finish;
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The list of checks, as a command of the machine.
const CHECKS: &str = "checks";
/// Whose tests go in; those that need no kit beyond kubectl and busybox run there.
const TESTED: &[&str] = &["skiff-tests", "skiff-runtime", "skiff-machine"];
/// Folders and files of the checkout that the tests read.
const CHECKOUT: &[&str] =
    &["tests/vm", "tests/kit", "tests/fixtures", "tests/src/load.sh", "docs/examples"];
/// Said by `tests/vm/start` before the machine goes off.
const EXIT: &str = "=== exit ";
/// A panic is the end: qemu is told not to start the machine again. The timer is there, however late it comes on a busy
/// host: the kernel shall not give it up.
const KERNEL: &str = "console=ttyS0 panic=-1 no_timer_check loglevel=4 systemd.show_status=no";
/// A machine that says nothing for so long hangs: the longest check is silent for less, also on a busy host.
const SILENCE: Duration = Duration::from_secs(900);
/// The disk of the programs: debug builds of all tests are half of it.
const TANK_BYTES: u64 = 2 << 30;
/// Lines that may wait for their reader.
const LINES_MOST: usize = 1024;

/// Runs a command, or the checks, in a new machine.
pub fn run(arguments: &[String]) -> Result<()> {
    let command = match arguments {
        [] => vec![CHECKS.to_owned()],
        command => command.to_vec(),
    };
    let place = Place::make("vm")?;
    place.load(&Made::build()?, &command)?;
    let mut vm = Vm::start(&place, &[place.overlay()?], &Boot::default())?;
    let code = loop {
        let (line, _) = vm.line()?;
        match line.strip_prefix(EXIT) {
            Some(code) => break code.parse::<i32>().context("the machine tells a number")?,
            None => println!("{line}"),
        }
    };
    vm.off()?;
    ensure!(
        code == 0,
        "it ended with code {code}; the console is in {}",
        place.console().display()
    );
    place.remove()
}

/// What cargo made for the machine.
pub struct Made {
    /// Name there, file here.
    programs: Vec<(String, PathBuf)>,
}

impl Made {
    /// Builds `skiff` for release, for software emulation is slow (or takes the one that `$SKIFF` names), and the
    /// tests as they always are.
    pub fn build() -> Result<Self> {
        let mut programs = vec![("skiff".to_owned(), cargo::skiff()?)];
        let mut tests = vec!["test", "--locked", "--no-run", "--tests"];
        tests.extend(TESTED.iter().flat_map(|package| ["--package", package]));
        programs.extend(cargo::artifacts(&tests)?);
        Ok(Self { programs })
    }
}

/// The folder of one run: its disks, its console.
pub struct Place(PathBuf);

impl Place {
    /// A new one below the target folder, and the stock machine that it stands on.
    pub fn make(name: &str) -> Result<Self> {
        finish(&mut Command::new(root().join("tests/vm/install")))?;
        finish(Command::new(root().join("tests/kit/install")).args(["packages", "kubectl"]))?;
        let folder = root().join("target").join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self(folder))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What the kernel and systemd said.
    pub fn console(&self) -> PathBuf {
        self.file("console.log")
    }

    /// Makes the second disk: programs, what tests read of the checkout, and the command.
    pub fn load(&self, made: &Made, command: &[String]) -> Result<()> {
        let folder = self.file("tank");
        for below in ["bin", "kit/bin"] {
            std::fs::create_dir_all(folder.join(below)).context("make the folder of the disk")?;
        }
        for (name, path) in &made.programs {
            link(path, &folder.join("bin").join(name))?;
        }
        link(&kit().join("bin/kubectl"), &folder.join("kit/bin/kubectl"))?;
        for part in CHECKOUT {
            let to = folder.join(part);
            std::fs::create_dir_all(to.parent().context("it has a folder")?)?;
            finish(Command::new("cp").arg("-R").arg(root().join(part)).arg(&to))?;
        }
        std::fs::write(folder.join("checkout"), root().as_os_str().as_bytes())?;
        let words: Vec<u8> =
            command.iter().flat_map(|word| [word.as_bytes(), &[0]].concat()).collect();
        std::fs::write(folder.join("command"), words)?;
        let image = self.file("tank.ext4");
        // Sparse: what is not written takes no room here.
        std::fs::File::create(&image)?.set_len(TANK_BYTES)?;
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-L", "tank", "-d"]);
        finish(make.arg(&folder).arg(&image))?;
        std::fs::remove_dir_all(&folder).context("remove the folder of the disk")
    }

    /// A disk over the stock machine's, for this run; the words of qemu for it. It forgets flushes, for nobody asks
    /// this disk what it kept.
    pub fn overlay(&self) -> Result<String> {
        let image = self.file("root.qcow2");
        let base = stock().join("root.qcow2");
        let mut make = Command::new("qemu-img");
        make.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(&base);
        finish(make.arg(&image))?;
        Ok(format!("file={},format=qcow2,cache=unsafe", image.display()))
    }

    /// Takes the disks and the console away.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.0).with_context(|| format!("remove {}", self.0.display()))
    }
}

/// What is another way than usual.
#[derive(Default)]
pub struct Boot {
    /// The first process, if it is not systemd.
    pub init: Option<&'static str>,
    /// A file that grows while the machine runs.
    pub grows: Option<PathBuf>,
}

/// A line of the machine's port, and how long the file of [`Boot::grows`] was when it had come.
pub type Line = (String, u64);

/// A machine that runs.
pub struct Vm {
    qemu: Child,
    lines: Receiver<Line>,
    console: PathBuf,
}

impl Vm {
    /// Starts it; `disks` are words of qemu's `-drive`: the root first, further ones behind the disk of the programs.
    pub fn start(place: &Place, disks: &[String], boot: &Boot) -> Result<Self> {
        let console = place.console();
        // It ends with this program, whatever ends that.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        qemu.args(["-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "Westmere"]);
        qemu.args(["-smp", "2", "-m", "1536", "-nodefaults", "-no-reboot", "-display", "none"]);
        qemu.arg("-kernel").arg(stock().join("vmlinuz"));
        qemu.arg("-initrd").arg(stock().join("initrd"));
        let init = boot.init.map(|path| format!(" init={path}")).unwrap_or_default();
        qemu.args(["-append", &format!("{KERNEL}{init}")]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        let tank = place.file("tank.ext4");
        let tank = format!("file={},format=raw,readonly=on", tank.display());
        let (root, further) = disks.split_first().context("a machine has a root disk")?;
        for disk in [root, &tank].into_iter().chain(further) {
            qemu.args(["-drive", &format!("if=virtio,{disk}")]);
        }
        qemu.args(["-device", "virtio-serial-pci", "-chardev", "file,id=tank,path=/dev/stdout"]);
        qemu.args(["-device", "virtserialport,chardev=tank,name=tank"]);
        qemu.args(["-netdev", "user,id=net,restrict=on,ipv6=off,net=192.0.2.0/24,host=192.0.2.2"]);
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut qemu = qemu.spawn().context("start qemu-system-x86_64")?;
        let output = qemu.stdout.take().context("its output was asked for")?;
        let (tell, lines) = sync_channel(LINES_MOST);
        let grows = boot.grows.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                let length = grows.as_ref().and_then(|file| file.metadata().ok());
                // Nobody listens any more: the machine is being taken away.
                if tell.send((line, length.map_or(0, |it| it.len()))).is_err() {
                    break;
                }
            }
        });
        Ok(Self { qemu, lines, console })
    }

    /// The next line of its port.
    pub fn line(&self) -> Result<Line> {
        let console = self.console.display();
        let line = self.line_within(SILENCE)?;
        line.with_context(|| format!("the machine said nothing for {SILENCE:?}: see {console}"))
    }

    /// The next line, if one comes so soon.
    pub fn line_within(&self, time: Duration) -> Result<Option<Line>> {
        match self.lines.recv_timeout(time) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the machine went off by itself: see {}", self.console.display())
            }
        }
    }

    /// Ends qemu at once; what the machine had said by then, and nobody has heard.
    pub fn kill(mut self) -> Result<Vec<Line>> {
        self.qemu.kill().context("kill qemu")?;
        self.qemu.wait().context("wait for qemu")?;
        Ok(self.lines.iter().collect())
    }

    /// Waits until it has put itself off.
    pub fn off(&mut self) -> Result<()> {
        let status = self.qemu.wait().context("wait for qemu")?;
        ensure!(status.success(), "qemu failed ({status}): see {}", self.console.display());
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // What has ended already cannot be killed.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Where `tests/vm/install` makes the stock machine.
fn stock() -> PathBuf {
    cache("SKIFF_VM", "skiff-vm")
}

/// Where `tests/kit/install` makes the programs of the tests.
fn kit() -> PathBuf {
    cache("SKIFF_KIT", "skiff-kit")
}

fn cache(variable: &str, name: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os(variable).map_or_else(|| home().join(".cache").join(name), PathBuf::from)
}

/// The same file in another place, as a link where both are on one file system.
fn link(from: &Path, to: &Path) -> Result<()> {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}
