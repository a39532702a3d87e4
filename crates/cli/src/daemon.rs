//! The daemon's process: started in the background, watched until it is ready or dead, and waited for at its end.

use crate::admin::Admin;
use crate::run::Run;
use anyhow::{Context, Result, bail};
use http::Method;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// So long may a daemon take to end its containers and close its store; then it is killed.
const STOP_S: i64 = 60;
/// Of a log that says why a daemon ended, so much is read.
const REASON_BYTES: u64 = 64 << 10;
/// What glibc reads when the daemon begins. One arena: it keeps one per thread otherwise, and never gives back what
/// threads had. Each thread keeps 200 free pieces of each small size for itself (at worst 7 MB): the tree of an object
/// is made of hundreds, and with the usual 7 an apply takes more than twice the processor time.
pub const MALLOC: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=200");

/// In the environment of a daemon that began anew: the number of its process, which is the same before and after.
pub const BEGUN: &str = "SKIFF_BEGUN";

/// Whether this process was a daemon before it executed this program. What has to be so before a daemon starts is so
/// then, and who made it begin anew (`upgrade`) may hold the folder until it answers.
pub fn has_begun() -> bool {
    std::env::var(BEGUN).is_ok_and(|number| number == std::process::id().to_string())
}

/// Of the caller's environment, so much is the daemon's: it lives for months, and secrets of a session do not belong in
/// it. Settings are told by flags. The last one is read in debug builds alone.
const KEPT: [&str; 3] = ["PATH", "RUST_BACKTRACE", skiff_base::fault::VARIABLE];

/// Starts it and returns when it listens; what it logged, if it ended instead. One that has said nothing within the
/// limit is left to go on.
pub fn start(run: &Run<'_>, limit_s: u64) -> Result<()> {
    let program = std::env::current_exe().context("finding the program of this process")?;
    start_as(run, &program, limit_s)
}

/// The same, of a program that is named.
pub fn start_as(run: &Run<'_>, program: &Path, limit_s: u64) -> Result<()> {
    let folder = run.place.log_folder();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    let path = run.place.log();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = log.with_context(|| format!("opening {}", path.display()))?;
    let from = log.metadata()?.len();
    let mut command = Command::new(program);
    command
        .arg("server")
        .args(run.settings.flags())
        .arg("--background")
        .current_dir("/")
        .env_clear()
        .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env(MALLOC.0, MALLOC.1)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = run.host.spawn(&run.settings, &mut command).context("starting the daemon")?;
    let output = child.stdout.take().context("its output was asked for")?;
    let limit = Timespec { tv_sec: i64::try_from(limit_s).unwrap_or(i64::MAX), tv_nsec: 0 };
    if poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&limit))? == 0 {
        bail!("the daemon does not listen after {limit_s} s: see `skiff logs`");
    }
    let mut said = String::new();
    BufReader::new(output).read_line(&mut said)?;
    if said.trim() == "ready" {
        return Ok(());
    }
    child.wait()?;
    let reason = reason(run, from)?.unwrap_or_else(|| "it ended without a word".to_owned());
    bail!("the daemon did not start: {reason}")
}

/// Where the log ends now.
pub fn log_length(run: &Run<'_>) -> Result<u64> {
    Ok(std::fs::metadata(run.place.log()).map_or(0, |found| found.len()))
}

/// What was logged last since then.
pub fn reason_since(run: &Run<'_>, from: u64) -> String {
    let said = reason(run, from).ok().flatten();
    said.unwrap_or_else(|| "it ended without a word".to_owned())
}

/// The last line of the log behind `from`.
fn reason(run: &Run<'_>, from: u64) -> Result<Option<String>> {
    let mut log = File::open(run.place.log())?;
    log.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    log.take(REASON_BYTES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Ok(last.map(|line| line.trim_start_matches("skiff: ").to_owned()))
}

/// How a daemon is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ran, and has ended.
    Now,
    /// Nothing listened.
    Before,
}

/// Asks it to end its containers and itself, and returns when its process is gone.
pub async fn stop(run: &Run<'_>) -> Result<Ended> {
    let Some(mut admin) = Admin::connect(run).await? else { return Ok(Ended::Before) };
    let pid = Pid::from_raw(admin.pid).context("the daemon's process has no number here")?;
    // While the connection stands, the number is its; the descriptor then means this process for good.
    let process = pidfd_open(pid, PidfdFlags::empty()).context("finding the daemon's process")?;
    // The daemon's end may cut its answer off; that it ends is what counts.
    let _ = admin.ask(Method::POST, "/stop").await;
    let limit = Timespec { tv_sec: STOP_S, tv_nsec: 0 };
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    if poll(&mut ends, Some(&limit))? == 0 {
        crate::say::remark(format_args!("the daemon did not end within {STOP_S} s: killing it"));
        pidfd_send_signal(&process, Signal::KILL)?;
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))?;
    }
    Ok(Ended::Now)
}
