//! What the command line needs of the machine that it runs on, and gets from `main`, which knows all parts.

use crate::credential::Credential;
use crate::settings::Settings;
use anyhow::Result;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// How the daemon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By a person or by systemd: it logs to where it was told.
    Foreground,
    /// By `skiff up`: it leaves the caller's session, rotates its log, and writes `ready` to its output once.
    Background,
}

/// A store in the making, of the records of a backup.
pub trait MakeStore {
    /// Takes a record; a damaged one is refused.
    fn add(&mut self, row: &[u8]) -> Result<()>;

    /// Makes it durable.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The machine. Calls block.
pub trait Host {
    /// The version of Kubernetes that is served.
    fn kubernetes(&self) -> &'static str;

    /// The daemon itself; returns when it was told to stop.
    fn serve(&self, settings: Settings, mode: Mode) -> Result<()>;

    /// An agent of a server elsewhere; returns when it was told to stop.
    fn join(&self, settings: Settings, credential: Credential) -> Result<()>;

    /// Makes the machine of the profile, if it needs one and has none; the address that it is reached at. Refuses while
    /// another cluster has that machine.
    fn raise(&self, settings: &Settings) -> Result<Option<IpAddr>>;

    /// Starts a command in the machine of the profile.
    fn spawn(&self, settings: &Settings, command: &mut Command) -> Result<Child>;

    /// Ends whatever of the profile still runs once the daemon does not; its data stay.
    fn end(&self, settings: &Settings) -> Result<()>;

    /// Removes what else the profile made outside of its data folder, and its mounts. Nothing of it may run.
    fn remove_traces(&self, settings: &Settings) -> Result<()>;

    /// Mount points below a folder.
    fn mounts(&self, folder: &Path) -> Result<Vec<PathBuf>>;

    /// The form of the store that this program writes.
    fn store_format(&self) -> i64;

    /// Begins a store in a new folder, whose revisions are all beyond a number.
    fn make_store(&self, folder: &Path, beyond: u64) -> Result<Box<dyn MakeStore>>;

    /// The newest revision of the store in a folder, 0 where there is none; `None`: it cannot be read.
    ///
    /// # Errors
    /// It is in use.
    fn newest_revision(&self, folder: &Path) -> Result<Option<u64>>;

    /// Takes the images of a backup into a new folder.
    fn take_images(&self, folder: &Path, from: &mut (dyn Read + Send)) -> Result<()>;

    /// Profiles whose machines run, with their data folders.
    fn machines(&self) -> Result<Vec<(String, PathBuf)>>;
}
