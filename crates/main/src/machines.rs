//! Machines of further profiles: each a machine in a namespace with a cable to this one.
//!
//! A machine is there from the first `up` to the next `down`: ending it ends everything in it at once. Only its data
//! folder stays. The cables' addresses come from one range, four for each machine, the lowest that are free.

use anyhow::{Context, Result, bail};
use skiff_cli::settings::Settings;
use skiff_machine::{Error, Machine, Registry, Spec, Uplink};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

/// Which machines there are; it ends with the boot, as they do.
const FOLDER: &str = "/run/skiff/machines";
/// The range of the cables: 10.111.0.0/16, so many of a /30 each.
const CABLES: u16 = 1 << 14;
const PREFIX: u8 = 30;

/// The profile's machine, made if it is not there.
pub fn raise(settings: &Settings) -> Result<Machine> {
    let registry = Registry::at(FOLDER);
    let name = &settings.profile;
    match registry.open(name) {
        Ok(machine) => return Ok(machine),
        Err(Error::Missing(_)) => {}
        Err(Error::Stopped(_)) => registry.destroy(name)?,
        Err(error) => return Err(error.into()),
    }
    let number = free(&registry)?;
    let spec = Spec {
        name: name.clone(),
        data: settings.data.clone(),
        cgroup: Path::new("/").join(settings.machine_cgroup()),
        uplink: Uplink::Pair {
            outside: cable(number, 1),
            inside: cable(number, 2),
            prefix: PREFIX,
        },
    };
    registry.create(&spec).with_context(|| format!("making the machine of profile {name}"))
}

/// Ends it with everything inside.
pub fn end(settings: &Settings) -> Result<()> {
    match Registry::at(FOLDER).destroy(&settings.profile) {
        Ok(()) | Err(Error::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    for folder in [Path::new(FOLDER), Path::new("/run/skiff")] {
        // Not empty: there are other machines.
        std::fs::remove_dir(folder).ok();
    }
    Ok(())
}

/// The lowest number that no machine has.
fn free(registry: &Registry) -> Result<u16> {
    let mut taken = BTreeSet::new();
    for name in registry.list()? {
        match registry.open(&name) {
            Ok(machine) => taken.extend(machine.address()),
            // Its cable is gone or will be; its number is free.
            Err(Error::Stopped(_) | Error::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match (0..CABLES).find(|number| !taken.contains(&cable(*number, 2))) {
        Some(number) => Ok(number),
        None => bail!("there are {CABLES} machines already"),
    }
}

/// An end of a cable: 1 is this side, 2 the machine's.
fn cable(number: u16, end: u8) -> Ipv4Addr {
    let [high, low] = (number << 2).to_be_bytes();
    Ipv4Addr::new(10, 111, high, low + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cables_lie_side_by_side() {
        let ends: Vec<_> =
            [0, 1, 63, 64, CABLES - 1].map(|n| cable(n, 2).to_string()).into_iter().collect();
        assert_eq!(
            ends,
            ["10.111.0.2", "10.111.0.6", "10.111.0.254", "10.111.1.2", "10.111.255.254"]
        );
    }
}
