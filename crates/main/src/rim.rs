//! What the command line gets of the machine: machines of profiles, and what is left when no daemon runs.

use crate::serve::Role;
use crate::{kernel, machines};
use anyhow::Result;
use skiff_cli::MakeStore;
use skiff_cli::credential::Credential;
use skiff_cli::settings::Settings;
use skiff_cli::{Host, Mode};
use skiff_store::saved::{self, Maker};
use skiff_store::{OpenError, Revision};
use std::io::Read;
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

    fn store_format(&self) -> i64 {
        saved::FORMAT
    }

    fn make_store(&self, folder: &Path, beyond: u64) -> Result<Box<dyn MakeStore>> {
        Ok(Box::new(Making(Maker::new(folder, Revision(beyond))?)))
    }

    fn newest_revision(&self, folder: &Path) -> Result<Option<u64>> {
        match saved::newest(folder) {
            Ok(revision) => Ok(Some(revision.0)),
            Err(error @ OpenError::Locked { .. }) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    fn take_images(&self, folder: &Path, from: &mut (dyn Read + Send)) -> Result<()> {
        Ok(skiff_image::saved::take(folder, from)?)
    }

    fn machines(&self) -> Result<Vec<(String, PathBuf)>> {
        machines::all()
    }
}

/// A store in the making.
struct Making(Maker);

impl MakeStore for Making {
    fn add(&mut self, row: &[u8]) -> Result<()> {
        Ok(self.0.add(row)?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(self.0.finish()?)
    }
}
