//! Making containers.
