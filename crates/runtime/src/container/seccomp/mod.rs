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
