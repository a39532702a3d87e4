//! The daemon's process: from its settings to its end.
//!
//! It ends in four ways. Told to stop (`skiff down`), it ends its containers too. Terminated by a signal (systemd, an
//! upgrade) or killed, it leaves them running, and the next daemon adopts them. When the machine's address changes it
//! executes itself: the next daemon is the same process. So it is with an upgrade, which names the program.

use crate::admin::{self, Door, Told};
use crate::assemble::Machine;
use crate::{join, kernel, log, moved, range};
use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skiff_base::part::Fatal;
use skiff_base::{OnEnd, Part, Parts, World, fault};
use skiff_cli::credential::Credential;
use skiff_cli::settings::Settings;
use skiff_cli::{BEGUN, MALLOC, Mode, Place};
use skiff_server::rim::http::gzip;
use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Threads that work, at least: one that computes for long leaves the other to answer. More follow the processors.
const WORKERS_LEAST: usize = 2;
/// Blocking calls (files, kernel) that may go on at once; each has a thread. Those with a purpose have their own, so
/// that the rest is never without.
const BLOCKING_OWN: usize =
    skiff_node::Threads::MOST + skiff_image::THREADS_MOST + gzip::THREADS_MOST;
/// What the rest has for each thread that works. One of these listens for changes of the packet rules for as long as
/// the daemon lives.
const BLOCKING_EACH: usize = 5;
/// The stack of a worker, of which memory is only what was used. What is nested (documents, expressions) has bounds of
/// its own; the frames of a build without optimization are so large that these need more than the usual 2 MiB.
const STACK: usize = 8 << 20;
/// A thread that has nothing to do gives its memory back.
const BLOCKING_IDLE: Duration = Duration::from_secs(5);
/// Calls that block on the kernel have so long to return at the end.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// What the daemon ended for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Containers stay and are adopted.
    Signal,
    /// The cluster stops.
    Told,
    /// The machine has other addresses: everything that stands on them begins anew.
    Moved,
    /// Another program takes its place.
    Become(PathBuf),
    /// A part is gone that it cannot be without.
    Failed(Fatal),
}

impl From<Told> for End {
    fn from(told: Told) -> End {
        match told {
            Told::Become(program) => End::Become(program),
            Told::Stop | Told::Nothing => End::Told,
        }
    }
}

const ADMIN: Part = Part { name: "admin", on_end: OnEnd::Restart };
/// A daemon that lost a part and ran so long before begins anew; one that did not ends with the reason, for whoever
/// started it.
const OPEN_AGAIN: Duration = Duration::from_secs(60);

/// What a process is.
pub enum Role {
    /// A control plane and an agent.
    Server,
    /// An agent of a server elsewhere.
    Agent(Credential),
}

pub fn run(settings: Settings, role: &Role, mode: Mode) -> Result<()> {
    if std::env::var_os(MALLOC.0).is_none() {
        return begin_anew(Path::new(SELF));
    }
    rustix::thread::set_name(c"skiff").context("naming the daemon")?;
    if mode == Mode::Background {
        match rustix::process::setsid() {
            // It has begun anew and leads its session already.
            Err(rustix::io::Errno::PERM) => {}
            left => _ = left.context("leaving the caller's session")?,
        }
    }
    let place = Place::of(&settings.data);
    let folder = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.data);
    folder.with_context(|| format!("making {}", settings.data.display()))?;
    close_to_others(&place)?;
    log::start(&settings.log_level, &place, mode)?;
    let processors = std::thread::available_parallelism().context("counting processors")?;
    let workers = processors.get().max(WORKERS_LEAST);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_OWN + workers * BLOCKING_EACH)
        .thread_keep_alive(BLOCKING_IDLE)
        .thread_stack_size(STACK)
        .enable_all()
        .build()?;
    raise_open_files()?;
    if let Some(file) = std::env::var_os(fault::VARIABLE) {
        fault::from(file.into());
    }
    let result = runtime.block_on(live(Arc::new(settings), role, &place, mode));
    runtime.shutdown_timeout(LAST_CALLS);
    match result? {
        End::Moved => begin_anew(Path::new(SELF)),
        End::Become(program) => begin_anew(&program).or_else(|error| {
            tracing::error!("{error:#}: the program of before goes on");
            begin_anew(Path::new(SELF))
        }),
        End::Failed(fatal) => {
            tracing::error!("{fatal}: the daemon begins anew");
            begin_anew(Path::new(SELF))
        }
        End::Signal | End::Told => Ok(()),
    }
}

/// The usual limit of 1,024 open files is less than the connections that may be open.
/// Folders and files of ours that were there before have the modes with which they are made, whoever changed them; and
/// whatever is made has the usual ones, whoever starts this program. What lies within images and pods keeps its own.
fn close_to_others(place: &Place) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let within = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
        let entries = folder.read_dir()?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    for name in ["node", "images", "pki", "store", "logs", "runtime"] {
        let folder = place.folder().join(name);
        let inner = matches!(name, "pki" | "store" | "logs" | "runtime");
        let closed = close(&folder).and_then(|is_folder| match is_folder && inner {
            true => within(&folder)?.iter().try_for_each(|path| close(path).map(drop)),
            false => Ok(()),
        });
        closed.with_context(|| format!("closing {} to others", folder.display()))?;
    }
    let range = range::file(place.folder());
    for file in [place.record(), place.remembered(), place.kubeconfig(), range] {
        close(&file).with_context(|| format!("closing {} to others", file.display()))?;
    }
    Ok(())
}

/// Leaves a file or a folder to its owner; whether it is a folder. What leads elsewhere, or is not there, is left as it
/// is.
fn close(path: &Path) -> std::io::Result<bool> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    if found.is_file() || found.is_dir() {
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(found.is_dir())
}

fn raise_open_files() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: most, maximum: most };
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}

/// The program of this process, which stays the same when a newer one has taken its name.
const SELF: &str = "/proc/self/exe";

/// Executes a program as this process, with the same words.
fn begin_anew(program: &Path) -> Result<()> {
    let mut args = std::env::args_os();
    let mut program = Command::new(program);
    program.arg0(args.next().unwrap_or_else(|| "skiff".into())).args(args);
    program.env(MALLOC.0, MALLOC.1).env(BEGUN, std::process::id().to_string());
    Err(program.exec()).context("executing the daemon")
}

async fn live(settings: Arc<Settings>, role: &Role, place: &Place, mode: Mode) -> Result<End> {
    let world = World::real();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let socket = admin::listen(place)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = %settings.data.display(), "starting");
    let parts = Parts::new(world.clone());
    let start = async {
        match role {
            Role::Server => Machine::start(&settings, &world, &parts).await,
            Role::Agent(credential) => join::start(&settings, credential, &world, &parts).await,
        }
    };
    let started = tokio::select! {
        machine = start => Some(machine?),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        fatal = parts.fatal() => return Err(fatal.into()),
    };
    let Some(machine) = started else {
        parts.stop().await;
        std::fs::remove_file(place.admin_socket()).context("removing the admin socket")?;
        return Ok(End::Signal);
    };
    let addresses = machine.addresses.clone();
    let (door, mut told) = Door::new(&settings, &machine, world.clone());
    let (door, socket) = (Arc::new(door), Arc::new(socket));
    machine.parts.start(ADMIN, move |tasks| {
        let answering = admin::run(door.clone(), socket.clone(), tasks);
        async move {
            answering.await;
            Ok(())
        }
    });
    std::fs::write(place.pid_file(), format!("{}\n", std::process::id()))?;
    tracing::info!(server = machine.server, took = ?world.uptime(), "the API answers");
    match (mode, role) {
        (Mode::Background, _) => tell_ready()?,
        (Mode::Foreground, Role::Agent(_)) => {}
        (Mode::Foreground, Role::Server) => {
            let kubeconfig = place.kubeconfig().display().to_string();
            tracing::info!("kubectl finds it with KUBECONFIG={kubeconfig}, or `skiff kubeconfig`");
        }
    }
    let end = tokio::select! {
        _ = terminate.recv() => End::Signal,
        _ = interrupt.recv() => End::Signal,
        _ = told.changed() => told.borrow_and_update().clone().into(),
        () = moved::moved(&settings, &addresses, &world) => End::Moved,
        fatal = parts.fatal() => End::Failed(match &machine.plane {
            Some(plane) => plane.cause(fatal),
            None => fatal,
        }),
    };
    tracing::info!(?end, "stopping");
    machine.stop().await;
    if end == End::Told {
        kernel::stop_containers(&settings, &world).await?;
    }
    for file in [place.admin_socket(), place.pid_file()] {
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    tracing::info!("stopped");
    match end {
        // A store that failed is opened anew, and reads what is durable; one that fails at once is the disk's affair.
        End::Failed(_) if world.uptime() > OPEN_AGAIN => Ok(end),
        End::Failed(fatal) => Err(fatal.into()),
        end => Ok(end),
    }
}

/// The caller waits for this line; then the output leads nowhere.
fn tell_ready() -> Result<()> {
    // A caller that has gone does not wait any more.
    let _ = writeln!(std::io::stdout(), "ready");
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(&nowhere)?)
}
