//! `skiff upgrade`: another program in the place of the one that runs, with every container untouched.
//!
//! The daemon executes the new program in its own process; containers belong to the supervisor, which goes on as it is.
//! The file is replaced by a rename, and the old one is kept until the new one answers: a program that does not start
//! gives its place back.

use crate::admin::Admin;
use crate::run::Run;
use crate::{daemon, folder, say};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use http::Method;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use skiff_base::World;
use skiff_json::{Value, json};
use std::fs::File;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a program says of itself.
struct About {
    version: String,
    kubernetes: String,
    format: i64,
}

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let limit_s = words.get_one::<u64>("timeout").copied().context("it has a default")?;
    let own = std::env::current_exe().context("finding the program of this process")?;
    let new = words.get_one::<String>("binary").map_or_else(|| own.clone(), PathBuf::from);
    let new = new.canonicalize().with_context(|| format!("finding {}", new.display()))?;
    let about = about(&new)?;
    if !folder::exists(run)? {
        return Err(crate::admin::none(run));
    }
    let _lock = folder::lock(run.place.folder())?;
    let Some(mut admin) = Admin::connect_living(run).await? else {
        return replace_alone(run, &new, &own, &about);
    };
    let status = admin.ask(Method::GET, "/status").await?;
    fits(&status, &about, &new)?;
    let (installed, background) = (program_of(admin.pid)?, in_background(admin.pid)?);
    let swap = Swap::make(&new, &installed)?;
    let before = status["version"].as_str().unwrap_or("?").to_owned();
    match begin_anew(run, &mut admin, &installed, limit_s).await {
        Ok(()) => swap.keep()?,
        Err(Failed::Refused) => {
            swap.give_back()?;
            bail!(
                "{} cannot be executed: see `{}`; the former program goes on",
                new.display(),
                run.command("logs")
            );
        }
        Err(Failed::Ended(reason)) => {
            swap.give_back()?;
            let new = new.display();
            if !background {
                bail!(
                    "{new} did not start: {reason}; the former program is back: start it as it was started"
                );
            }
            daemon::start_as(run, &installed, limit_s)
                .context("starting the former program again; the new one had not started")?;
            bail!("{new} did not start: {reason}; the former program is back and runs");
        }
        Err(Failed::Other(error)) => return Err(error),
    }
    say::step(format_args!(
        "{} runs {} (Kubernetes {}) from {}; it was {before}, and no container was touched",
        run.settings.context(),
        about.version,
        about.kubernetes,
        installed.display()
    ));
    Ok(0)
}

/// No daemon is there to begin anew: the program of this command line is what `up` starts.
fn replace_alone(run: &Run<'_>, new: &Path, own: &Path, about: &About) -> Result<u8> {
    let (up, name) = (run.command("up"), run.settings.context());
    if new == own {
        bail!(
            "cluster {name:?} does not run, and {} is this program: `{up}` starts it",
            own.display()
        );
    }
    Swap::make(new, own)?.keep()?;
    say::step(format_args!("{} is {} now; `{up}` starts it", own.display(), about.version));
    Ok(0)
}

/// Asks a program what it is, which also shows that this machine can execute it.
fn about(program: &Path) -> Result<About> {
    let strange = || format!("{} is no Skiff for this machine", program.display());
    let answer = Command::new(program).args(["version", "-o", "json"]).env_clear().output();
    let answer = answer.with_context(strange)?;
    let value: Value = skiff_json::from_slice(&answer.stdout).with_context(strange)?;
    let text = |name: &str| value[name].as_str().map(str::to_owned).with_context(strange);
    Ok(About {
        version: text("skiffVersion")?,
        kubernetes: text("kubernetesVersion")?,
        // The first ones did not say.
        format: value["storeFormat"].as_i64().unwrap_or(1),
    })
}

fn fits(status: &Value, about: &About, new: &Path) -> Result<()> {
    let held = status["storeFormat"].as_i64().unwrap_or(1);
    if about.format < held {
        bail!(
            "{} is {}, which knows format {} of the store, and this cluster's has {held}: name a newer program",
            new.display(),
            about.version,
            about.format
        );
    }
    Ok(())
}

/// The file that a process was started from, or what stands in its place by now.
fn program_of(pid: i32) -> Result<PathBuf> {
    let link = format!("/proc/{pid}/exe");
    let path = std::fs::read_link(&link).with_context(|| format!("reading {link}"))?;
    let text = path.to_string_lossy().into_owned();
    Ok(text.strip_suffix(" (deleted)").map_or(path, PathBuf::from))
}

/// Whether `up` started it, and not systemd, which starts it again by itself.
fn in_background(pid: i32) -> Result<bool> {
    let words =
        std::fs::read(format!("/proc/{pid}/cmdline")).context("reading the daemon's words")?;
    Ok(words.split(|byte| *byte == 0).any(|word| word == b"--background"))
}

/// Whether two paths lead to one file.
fn same(one: &Path, other: &Path) -> Result<bool> {
    let (one, other) = (std::fs::metadata(one)?, std::fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// A program in the place of another, until it is known whether that is good.
struct Swap {
    installed: PathBuf,
    /// The former one, where there was another.
    former: Option<PathBuf>,
}

impl Swap {
    fn make(new: &Path, installed: &Path) -> Result<Swap> {
        let swap = Swap { installed: installed.to_owned(), former: None };
        let there = installed.exists();
        if there && same(new, installed)? {
            return Ok(swap);
        }
        let beside = |ending: &str| {
            let mut name = installed.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (fresh, former) = (beside(".new"), beside(".old"));
        let place = || -> std::io::Result<()> {
            for left in [&fresh, &former] {
                match std::fs::remove_file(left) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            let mut from = File::open(new)?;
            let mut file = File::options().write(true).create_new(true).mode(0o755).open(&fresh)?;
            std::io::copy(&mut from, &mut file)?;
            file.sync_all()?;
            if there {
                std::fs::hard_link(installed, &former)?;
            }
            std::fs::rename(&fresh, installed)
        };
        place().with_context(|| {
            format!("putting {} in the place of {}", new.display(), installed.display())
        })?;
        Ok(Swap { former: there.then_some(former), ..swap })
    }

    fn keep(self) -> Result<()> {
        self.former.iter().try_for_each(std::fs::remove_file).context("removing the former program")
    }

    fn give_back(&self) -> Result<()> {
        let back = |former: &PathBuf| std::fs::rename(former, &self.installed);
        self.former.iter().try_for_each(back).context("putting the former program back")
    }
}

enum Failed {
    /// The daemon goes on as what it was.
    Refused,
    /// The process ended.
    Ended(String),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::Other(error.into())
    }
}

/// Lets the daemon execute a program, and returns when that one is ready.
async fn begin_anew(
    run: &Run<'_>,
    admin: &mut Admin,
    program: &Path,
    limit_s: u64,
) -> Result<(), Failed> {
    let socket = run.place.admin_socket();
    let pid = Pid::from_raw(admin.pid).context("the daemon's process has no number here")?;
    // While the connection stands, the number is the daemon's.
    let process = pidfd_open(pid, PidfdFlags::empty()).context("finding the daemon's process")?;
    let made = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    // A socket that is made does not listen yet; one that is closed to others does.
    inotify::add_watch(&made, run.place.folder(), inotify::WatchFlags::ATTRIB)?;
    let log = daemon::log_length(run)?;
    admin.post("/upgrade", &json!({"program": program})).await?;
    wait_for(&made, &process, socket.file_name().unwrap_or_default().as_encoded_bytes(), limit_s)
        .map_err(|error| match error {
        Failed::Ended(_) => Failed::Ended(daemon::reason_since(run, log)),
        other => other,
    })?;
    let ready = async {
        let mut next = Admin::connect(run).await?.context("it does not listen any more")?;
        next.ask(Method::GET, "/ready?for=node").await
    };
    match World::real().within(Duration::from_secs(limit_s), ready).await {
        Some(Ok(_)) if same(Path::new(&format!("/proc/{}/exe", admin.pid)), program)? => Ok(()),
        Some(Ok(_)) => Err(Failed::Refused),
        // It may have ended on the way.
        Some(Err(error)) => match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&NOW))? {
            0 => Err(Failed::Other(error)),
            _ => Err(Failed::Ended(daemon::reason_since(run, log))),
        },
        None => {
            let logs = run.command("logs");
            Err(anyhow::anyhow!("it runs, and is not ready after {limit_s} s: see `{logs}`").into())
        }
    }
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Waits until a file of that name gets its mode, as the next program gives it to its socket first of all.
fn wait_for(made: &OwnedFd, process: &OwnedFd, name: &[u8], limit_s: u64) -> Result<(), Failed> {
    let limit = Timespec { tv_sec: i64::try_from(limit_s).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(made, &mut buffer);
    loop {
        let mut ends = [PollFd::new(made, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
        if poll(&mut ends, Some(&limit))? == 0 {
            return Err(anyhow::anyhow!("the daemon did not begin anew within {limit_s} s").into());
        }
        if ends[0].revents().contains(PollFlags::IN) {
            loop {
                let event = reader.next()?;
                if event.file_name().is_some_and(|it| it.to_bytes() == name) {
                    return Ok(());
                }
                if reader.is_buffer_empty() {
                    break;
                }
            }
        } else {
            return Err(Failed::Ended(String::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_takes_anothers_place_and_gives_it_back() {
        let folder = std::env::temp_dir().join(format!("skiff-swap-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (new, installed) = (folder.join("new"), folder.join("skiff"));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        std::fs::write(&new, "new").unwrap();
        std::fs::write(&installed, "old").unwrap();
        let swap = Swap::make(&new, &installed).unwrap();
        assert_eq!(read(&installed), "new");
        assert_eq!(std::fs::metadata(&installed).unwrap().mode() & 0o777, 0o755);
        swap.give_back().unwrap();
        assert_eq!(read(&installed), "old");
        Swap::make(&new, &installed).unwrap().keep().unwrap();
        assert_eq!(read(&installed), "new");
        // The same file: nothing is to be done, and nothing is left.
        Swap::make(&installed, &installed).unwrap().keep().unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_skiff_and_what_knows_too_little_is_refused() {
        assert!(
            about(Path::new("/bin/true"))
                .err()
                .unwrap()
                .to_string()
                .contains("no Skiff for this machine")
        );
        let old = About { version: "v0".into(), kubernetes: "v1".into(), format: 1 };
        let error =
            fits(&json!({"storeFormat": 2}), &old, Path::new("/x")).unwrap_err().to_string();
        assert!(error.contains("knows format 1 of the store, and this cluster's has 2"), "{error}");
        fits(&json!({}), &old, Path::new("/x")).unwrap();
    }
}
