//! Real containers from a busybox root file system, each case on a machine folder and cgroup of its
//! own, through the same door that the daemon uses. This program is also the supervisor and the pod
//! init: it executes itself anew. Needs root, and Debian's busybox-static.
//!
//! `cargo test -p skiff-runtime --test containers -- NAME` runs the cases whose name contains NAME.

use machine::Machine;
use std::future::Future;
use std::pin::Pin;

mod confinement;
mod escape;
mod life;
mod machine;
mod measure;
mod streams;
mod survival;

type Case = fn(Machine) -> Pin<Box<dyn Future<Output = ()>>>;

/// One entry per case; the name is the function's.
macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($name)),
            |m| Box::pin($module::$name(m)),
        )),*]
    };
}

const CASES: &[(&str, Case)] = cases![
    life::runs_and_tells_the_exit_code,
    life::signals_end_it,
    life::words_of_errors,
    life::events_and_lists,
    life::shared_process_ids,
    life::process_1_is_nobody,
    life::nobody_is_seen_half_way,
    life::joins_process_ids,
    life::the_program_is_sealed,
    life::host_namespaces,
    life::nothing_is_left,
    confinement::capabilities_and_user,
    confinement::masked_and_read_only,
    confinement::seccomp,
    confinement::apparmor,
    confinement::mounts,
    confinement::limits_and_oom,
    confinement::devices,
    escape::working_folders,
    escape::mount_targets,
    escape::own_folders,
    escape::users,
    escape::other_ways,
    escape::exec_takes_the_same_care,
    streams::logs,
    streams::rotation,
    streams::exec_with_pipes,
    streams::exec_with_a_terminal,
    streams::attach,
    streams::terminal_container,
    survival::kill_the_supervisor,
    survival::kill_the_init,
    survival::upgrade_in_place,
    survival::clients_that_leave,
    survival::no_descriptors_left,
    survival::a_supervisor_that_sleeps,
    survival::a_loud_orphan,
    measure::figures,
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = skiff_runtime::reexec(&args) {
        std::process::exit(code);
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-')).cloned().unwrap_or_default();
    let (mut ran, mut failed) = (0, Vec::new());
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(&filter)) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tokio = tokio.expect("a runtime");
        let start = std::time::Instant::now();
        let result = std::panic::catch_unwind(|| {
            let patience = std::time::Duration::from_secs(60);
            let run = async {
                let machine = Machine::new(name).await;
                let watch = machine.clone();
                let done = tokio::time::timeout(patience, case(machine));
                let done = tokio::task::spawn_local(done).await;
                watch.end().await;
                done.expect("it panicked").expect("the case takes too long");
            };
            tokio::task::LocalSet::new().block_on(&tokio, run);
        });
        ran += 1;
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({} ms)", start.elapsed().as_millis());
        if result.is_err() {
            failed.push(*name);
        }
    }
    println!("\n{ran} run, {} failed {failed:?}", failed.len());
    std::process::exit(i32::from(!failed.is_empty()));
}
