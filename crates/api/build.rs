//! Turns the committed tables of `data/` into Rust statics, and packs the descriptions.
//!
//! Nothing is parsed when Skiff starts: the tree of built-in kinds lies in the program's read-only
//! data and costs memory only where it is looked at. Descriptions are upstream's sentences: they
//! come out of the sources of `k8s-openapi` at build time and are never committed.

#[path = "build/descriptions.rs"]
mod descriptions;
#[path = "build/discovery.rs"]
mod discovery;
#[path = "build/natural.rs"]
mod natural;
#[path = "build/table.rs"]
mod table;

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=data");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let facts = fs::read_to_string(home.join("data/v1.37.schema")).expect("the table is committed");
    fs::write(out.join("schema.rs"), table::statics(&facts)).expect("OUT_DIR is writable");
    let offers =
        fs::read_to_string(home.join("data/v1.37.discovery")).expect("the table is committed");
    fs::write(out.join("discovery.rs"), discovery::statics(&offers)).expect("OUT_DIR is writable");
    let (blob, index) = descriptions::pack(&descriptions::source(&home));
    let hash = format!(
        "/// Of all that documents are made of.\nconst TABLE_HASH: u64 = {};\n",
        fnv(&facts, &blob)
    );
    fs::write(out.join("hash.rs"), hash).expect("OUT_DIR is writable");
    fs::write(out.join("descriptions.bin"), blob).expect("OUT_DIR is writable");
    fs::write(out.join("descriptions.rs"), index).expect("OUT_DIR is writable");
}

/// FNV-1a over the facts and the packed descriptions.
fn fnv(facts: &str, blob: &[u8]) -> u64 {
    let bytes = facts.bytes().chain(blob.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
