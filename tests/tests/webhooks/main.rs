//! Admission webhooks and conversion by webhook, with a server of their own in the cluster's machine (`server.py`) that
//! answers whatever a case says.

mod bench;
mod conditions;
mod conversion;
mod mutating;
mod validating;
