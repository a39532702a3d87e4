//! What every command is given, and what the commands share: they know this file, and it knows none of them.

use crate::host::Host;
use crate::settings::{Settings, Sources};
use crate::{Place, say, user};
use anyhow::Result;

/// What every command is given.
pub struct Run<'a> {
    pub host: &'a dyn Host,
    pub settings: Settings,
    pub place: Place,
    /// Where the settings come from.
    pub sources: Sources,
    /// The file of settings that the flag named.
    pub config: Option<String>,
}

impl Run<'_> {
    /// A command as the caller would have to type it for this cluster.
    pub fn command(&self, rest: &str) -> String {
        let mut words = match user::caller() {
            Ok(caller) if caller.ids.is_some() => "sudo skiff".to_owned(),
            _ => "skiff".to_owned(),
        };
        words += &format!(" {rest}");
        if !self.settings.is_host() {
            words += &format!(" -p {}", self.settings.profile);
        }
        if let Some(config) = &self.config {
            words += &format!(" --config {}", say::quoted(config));
        }
        if self.sources.flags.contains_key("data") {
            words += &format!(
                " --data {}",
                say::quoted(&self.settings.data_flag().display().to_string())
            );
        }
        words
    }
}

/// The commands do one thing after another: one thread is enough.
pub fn block<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
