//! Chores of the repository, one subcommand each: `cargo xtask gen`.
//!
//! A chore never runs in a build; what it makes is committed.

use anyhow::{Result, bail};

mod r#gen;
mod gen_discovery;
mod gen_facts;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("gen") => r#gen::run(),
        Some(other) => bail!("no chore named {other:?}; there is: gen"),
        None => bail!("name a chore: gen"),
    }
}
