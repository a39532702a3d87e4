//! The AppArmor profile that containers have when nobody names another, and how it comes into the kernel.
//!
//! A profile is compiled by the machine's own `apparmor_parser`, for the kernel that it knows; it stays loaded when the
//! daemon ends, as containers do.

use crate::{Error, Result, failed};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Its name in the kernel.
pub const DEFAULT: &str = "skiff-default";
const TEXT: &str = include_str!("apparmor/skiff-default");
/// Says Y where the kernel enforces profiles.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// Where Debian and its kin have it; a daemon's PATH may be a user's.
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/// Whether the kernel enforces profiles.
pub fn is_enabled() -> bool {
    std::fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'))
}

/// Loads the default profile, or replaces an older one of its name, where the kernel has AppArmor; elsewhere nothing
/// happens. Blocks while the parser runs. An error says what the machine lacks.
pub fn load_default() -> Result<()> {
    if !is_enabled() {
        return Ok(());
    }
    let Some(parser) = PARSERS.into_iter().find(|path| Path::new(path).exists()) else {
        return Err(Error::System(format!(
            "{} is not there: install AppArmor's tools (package apparmor) and start again",
            PARSERS[0]
        )));
    };
    let mut command = Command::new(parser);
    command.args(["--replace", "--skip-cache", "--quiet"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed(parser))?;
    let input = child.stdin.take();
    let sent = input.map_or(Ok(()), |mut input| input.write_all(TEXT.as_bytes()));
    let output = child.wait_with_output().map_err(failed(parser))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.trim();
        return Err(Error::System(format!("{parser} does not load {DEFAULT}: {why}")));
    }
    sent.map_err(failed(parser))
}
