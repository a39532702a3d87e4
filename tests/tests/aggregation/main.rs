//! Aggregated servers: upstream's sample-apiserver as it is, and one of the tests' own (`server.py`) that misbehaves in
//! whatever way a case says.

mod bench;
mod liar;
mod sample;
