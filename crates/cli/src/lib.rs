//! The command line: what a person types, one file per command, and what it prints.
//!
//! The commands of a cluster's life (`up`, `down`, `delete`, `status`, `logs`, `backup`, `upgrade`) and of its images
//! talk to the daemon through one door, a socket below the data folder that only root can open ([`admin`]). What they
//! need of this machine beyond files and processes (machines in namespaces, containers, networks, a store in the
//! making) comes in as a [`Host`] from `main`.
//!
//! Never here: the store, the server, a Kubernetes object. kubectl is the tool for those.

mod admin;
mod commands;
mod completion;
mod config;
pub mod credential;
mod daemon;
mod demo_server;
mod encryption;
mod folder;
mod host;
mod images;
pub mod keep;
mod kubeconfig;
mod layout;
mod lifecycle;
mod logs;
mod place;
mod profiles;
mod record;
mod run;
mod say;
pub mod settings;
mod status;
mod tips;
mod upgrade;
mod user;
mod words;
mod yaml;

pub use daemon::{BEGUN, MALLOC};
pub use host::{Host, MakeStore, Mode};
pub use place::{Place, write};
pub use say::explain;

use std::process::ExitCode;

/// Runs the command that the process was called with.
pub fn run(host: &dyn Host) -> ExitCode {
    let matches = match words::tree(host.kubernetes()).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return tips::refuse(error),
    };
    match commands::run(&matches, host) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}
