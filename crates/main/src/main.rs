//! skiff: all of Kubernetes in one program. This file only says which part a process is.
//!
//! The same program is the command line, the daemon, the supervisor of the containers and the init of a pod. The last
//! two are small and single-threaded, so they are found out before anything else exists.

mod addresses;
mod admin;
mod agent;
mod assemble;
mod audit;
mod bootstrap;
mod demo;
mod encryption;
mod identity;
mod join;
mod kernel;
mod log;
mod machines;
mod memory;
mod moved;
mod plane;
mod range;
mod rim;
mod serve;
mod who;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match skiff_runtime::reexec(&args) {
        Some(code) => std::process::exit(code),
        None => skiff_cli::run(&rim::RealHost),
    }
}
