//! Opening: what can be wrong with a data folder.

use std::path::PathBuf;

/// Why a store could not be opened; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{folder} is in use by another process: stop it first, or choose another data folder")]
    Locked { folder: PathBuf },
}
