//! The group `certificates.k8s.io`: certificates for keys that others made.

pub mod certificatesigningrequest;
