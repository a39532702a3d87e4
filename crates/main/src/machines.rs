//! Machines of further profiles: each a machine in a namespace with a cable to this one.
//!
//! A machine is there from the first `up` to the next `down`: ending it ends everything in it at once. Only its data
//! folder stays. The cables' addresses come from one range, four for each machine, the lowest that are free.
//!
//! The host is the machine of one cluster at a time: a file says of which.

use anyhow::{Context, Result, bail};
use skiff_cli::Place;
use skiff_cli::settings::Settings;
use skiff_machine::{Error, Machine, Registry, Spec, Uplink};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Which machines there are; it ends with the boot, as they do.
const FOLDER: &str = "/run/skiff/machines";
/// The data folder of the cluster that has, or had last, the host's links and tables; it ends with the boot.
const HOST: &str = "/run/skiff/host";
/// The range of the cables: 10.111.0.0/16, so many of a /30 each.
const CABLES: u16 = 1 << 14;
const PREFIX: u8 = 30;

/// The profile's machine, made if it is not there.
pub fn raise(settings: &Settings) -> Result<Machine> {
    let registry = Registry::at(FOLDER);
    let name = &settings.profile;
    match registry.open(name) {
        Ok(machine) if machine.data() == settings.data => return Ok(machine),
        Ok(machine) => bail!(
            "the machine of profile {name} runs with the data in {}: end that with `skiff down -p {name}` and its \
             --data, or take another profile",
            machine.data().display()
        ),
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

/// Ends it with everything inside; another cluster's machine of the same name is left alone.
pub fn end(settings: &Settings) -> Result<()> {
    let registry = Registry::at(FOLDER);
    if registry.open(&settings.profile).is_ok_and(|machine| machine.data() != settings.data) {
        return Ok(());
    }
    match registry.destroy(&settings.profile) {
        Ok(()) | Err(Error::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    tidy();
    Ok(())
}

fn tidy() {
    for folder in [Path::new(FOLDER), Path::new("/run/skiff")] {
        // Not empty: there are other machines.
        std::fs::remove_dir(folder).ok();
    }
}

/// Machines that run, with their data folders.
pub fn all() -> Result<Vec<(String, PathBuf)>> {
    let registry = Registry::at(FOLDER);
    let running = |name: String| {
        let machine = registry.open(&name).ok()?;
        Some((name, machine.data().to_owned()))
    };
    Ok(registry.list()?.into_iter().filter_map(running).collect())
}

/// Notes that the host is this cluster's; refuses while another one's daemon runs.
pub fn claim_host(settings: &Settings) -> Result<()> {
    match host_data()? {
        Some(data) if data == settings.data => return Ok(()),
        Some(data) if UnixStream::connect(Place::of(&data).admin_socket()).is_ok() => {
            let data = data.display();
            bail!(
                "the host's cluster runs already, with its data in {data}: `skiff down --data {data}` first, or make a \
                 further cluster beside it with `skiff -p NAME up`"
            );
        }
        _ => {}
    }
    let folder = Path::new(HOST).parent().context("it lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let text = settings.data.as_os_str().as_encoded_bytes();
    std::fs::write(HOST, text).with_context(|| format!("writing {HOST}"))
}

/// Whether the host's links and tables are this cluster's to remove.
pub fn leave_host(settings: &Settings) -> Result<bool> {
    let is_others = |data: PathBuf| data != settings.data && Place::of(&data).record().exists();
    if host_data()?.is_some_and(is_others) {
        return Ok(false);
    }
    match std::fs::remove_file(HOST) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {HOST}"));
        }
        _ => tidy(),
    }
    Ok(true)
}

fn host_data() -> Result<Option<PathBuf>> {
    match std::fs::read_to_string(HOST) {
        Ok(text) => Ok(Some(PathBuf::from(text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {HOST}")),
    }
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
fn cable(number: u16, end: u8) -> IpAddr {
    let [high, low] = (number << 2).to_be_bytes();
    IpAddr::from([10, 111, high, low + end])
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
