//! System call filters: a profile in words becomes a program for the kernel.
//!
//! The kernel runs the program at each system call, so the program is a binary search: about nine
//! comparisons instead of hundreds. See `profile` for what is allowed, `compile` for how.
//! A profile that cannot be honoured in full is refused: a container never runs half-confined.

use crate::spec::{Seccomp, Security};
use crate::{Error, Result};

mod compile;
mod default;
mod profile;

/// The filter of a process that waits for its end: it may execute an open file, and wait.
pub(crate) fn waiting() -> Result<Vec<u8>> {
    let names = ["execveat", "ppoll", "restart_syscall"].map(String::from).to_vec();
    let rule = profile::Rule { names, action: profile::Action::Allow, arguments: Vec::new() };
    let default = profile::Action::Errno(libc::EPERM as u16);
    let profile = profile::Profile { default, rules: vec![rule], compat: false };
    compile::compile(&profile).map_err(|e| Error::Invalid(format!("seccomp: {e}")))
}

/// The compiled filter of a container, as bytes of sock_filter; None where there is none.
pub(crate) fn filter(security: &Security, capabilities: u64) -> Result<Option<Vec<u8>>> {
    if security.privileged {
        return Ok(None);
    }
    let profile = match &security.seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::RuntimeDefault => default::profile(capabilities),
        Seccomp::Localhost(path) => {
            let text = std::fs::read(path).map_err(|e| {
                Error::Invalid(format!("cannot load seccomp profile {}: {e}", path.display()))
            })?;
            profile::parse(&text)
                .map_err(|e| Error::Invalid(format!("seccomp profile {}: {e}", path.display())))?
        }
    };
    compile::compile(&profile).map(Some).map_err(|e| Error::Invalid(format!("seccomp: {e}")))
}
