//! skiff-sched.
