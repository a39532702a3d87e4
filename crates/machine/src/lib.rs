//! skiff-machine.
