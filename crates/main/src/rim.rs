//! What the command line gets of the machine: machines of profiles, and what is left when no daemon runs.

use crate::serve::Role;
use crate::{kernel, machines};
use anyhow::Result;
use skiff_cli::credential::Credential;
use skiff_cli::settings::Settings;
use skiff_cli::{Host, Mode};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Where containers and their volumes are mounted, in a data folder.
const MOUNTED: [&str; 2] = ["runtime", "node"];

/// The real one.
pub struct RealHost;

impl Host for RealHost {
    fn kubernetes(&self) -> &'static str {
        skiff_server::paths::VERSION
    }

    fn serve(&self, settings: Settings, mode: Mode) -> Result<()> {
        crate::serve::run(settings, &Role::Server, mode)
    }

    fn join(&self, settings: Settings, credential: Credential) -> Result<()> {
        crate::serve::run(settings, &Role::Agent(credential), Mode::Foreground)
    }

    fn raise(&self, settings: &Settings) -> Result<Option<IpAddr>> {
        if settings.is_host() {
            machines::claim_host(settings)?;
            return Ok(None);
        }
        Ok(machines::raise(settings)?.address())
    }

    fn spawn(&self, settings: &Settings, command: &mut Command) -> Result<Child> {
        if settings.is_host() {
            return Ok(command.spawn()?);
        }
        Ok(machines::raise(settings)?.spawn(command)?)
    }

    fn end(&self, settings: &Settings) -> Result<()> {
        if settings.is_host() { kernel::end_containers(settings) } else { machines::end(settings) }
    }

    fn remove_traces(&self, settings: &Settings) -> Result<()> {
        // Links and tables are the host's last cluster's, which may be another by now.
        if settings.is_host() && machines::leave_host(settings)? {
            kernel::remove_network(settings)?;
        }
        for folder in MOUNTED.map(|name| settings.data.join(name)) {
            // A link leads to what is somebody else's.
            if folder.is_dir() && !folder.is_symlink() {
                kernel::unmount(&folder)?;
            }
        }
        Ok(())
    }

    fn mounts(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        kernel::mounts(folder)
    }

    fn machines(&self) -> Result<Vec<(String, PathBuf)>> {
        machines::all()
    }
}
