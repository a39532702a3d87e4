//! What the command line gets of the machine: machines of profiles, and what is left when no daemon runs.

use crate::{kernel, machines};
use anyhow::Result;
use skiff_cli::settings::Settings;
use skiff_cli::{Host, Mode};
use std::net::Ipv4Addr;
use std::process::{Child, Command};

/// The real one.
pub struct Rim;

impl Host for Rim {
    fn kubernetes(&self) -> &'static str {
        skiff_server::paths::VERSION
    }

    fn serve(&self, settings: Settings, mode: Mode) -> Result<()> {
        crate::serve::run(settings, mode)
    }

    fn raise(&self, settings: &Settings) -> Result<Option<Ipv4Addr>> {
        if settings.is_host() {
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
        if settings.is_host() {
            kernel::remove_network(settings)?;
        }
        kernel::unmount(&settings.data)
    }
}
