//! Node ports: one for each port of a Service that is reached through nodes, and one for health checks.

use super::{Pools, invalid};
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_json::Value;
use skiff_kinds::core::service as kind;

const TAKEN: &str = "provided port is already allocated";
const HEALTH: &str = "spec.healthCheckNodePort";

pub fn key(port: i64) -> String {
    format!("nodeports//{port}")
}

/// Draws what is missing, and looks whether what was asked for can be had.
pub fn draw(pools: &Pools, new: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    let mut own: Vec<i64> = old.map_or_else(Vec::new, kind::node_ports);
    if kind::needs_node_port(new) {
        let allocates =
            new.text("spec.type") == "NodePort" || new.flag("spec.allocateLoadBalancerNodePorts");
        draw_ports(pools, new, &mut own, allocates)?;
    }
    let needed = old.is_some_and(kind::needs_health_check);
    if kind::needs_health_check(new) && !needed {
        draw_health(pools, new, &own)?;
    }
    Ok(())
}

fn draw_ports(
    pools: &Pools,
    new: &mut Object,
    own: &mut Vec<i64>,
    allocates: bool,
) -> Result<(), Status> {
    let mut ports = new.list("spec.ports").to_vec();
    let asked = kind::node_ports(new);
    // One number may serve the same port over TCP and over UDP.
    let mut shared: Vec<(i64, String, i64)> = Vec::new();
    for (index, port) in ports.iter_mut().enumerate() {
        let given = port["nodePort"].as_i64().unwrap_or(0);
        let number = port["port"].as_i64().unwrap_or(0);
        let protocol = port["protocol"].as_str().unwrap_or("").to_owned();
        if given != 0 {
            if !own.contains(&given) {
                check(pools, new, index, given)?;
                own.push(given);
            }
            shared.push((number, protocol, given));
        } else if allocates {
            let twin = shared.iter().find(|(it, other, _)| *it == number && *other != protocol);
            let drawn =
                match twin {
                    Some((_, _, node)) => *node,
                    None => next(pools, |it| own.contains(&it) || asked.contains(&it)).ok_or_else(
                        || Status::internal("failed to allocate a nodePort: range is full"),
                    )?,
                };
            own.push(drawn);
            shared.push((number, protocol, drawn));
            port["nodePort"] = drawn.into();
        }
    }
    if !ports.is_empty() {
        new.set("spec.ports", Value::Array(ports));
    }
    Ok(())
}

fn check(pools: &Pools, new: &Object, index: usize, given: i64) -> Result<(), Status> {
    let Some(why) = unavailable(pools, given) else { return Ok(()) };
    let mut errors = Errors::new();
    let ports = Path::new("spec.ports");
    errors.invalid(&ports.index(index).child("nodePort"), given, &why);
    Err(invalid(new, &errors))
}

fn unavailable(pools: &Pools, given: i64) -> Option<String> {
    let (first, last) = pools.ranges.ports;
    if given < first.into() || given > last.into() {
        return Some(format!(
            "provided port is not in the valid range. The range of valid ports is {first}-{last}"
        ));
    }
    (!free(pools, given)).then(|| TAKEN.to_owned())
}

fn free(pools: &Pools, port: i64) -> bool {
    let own = pools.ranges.own_ports.iter().any(|own| i64::from(*own) == port);
    !own && pools.store.get(&key(port)).is_none()
}

fn next(pools: &Pools, used: impl Fn(i64) -> bool) -> Option<i64> {
    let (first, last) = pools.ranges.ports;
    let size = u64::from(last.saturating_sub(first)) + 1;
    let kept = (size / 32).clamp(16, 128).min(size);
    let at = |place: u64| i64::from(first) + place as i64;
    pools.pick(size, kept, |place| !used(at(place)) && free(pools, at(place))).map(at)
}

fn draw_health(pools: &Pools, new: &mut Object, own: &[i64]) -> Result<(), Status> {
    let given = new.int(HEALTH).unwrap_or(0);
    if given == 0 {
        let drawn = next(pools, |it| own.contains(&it)).ok_or_else(|| {
            Status::internal("failed to allocate a HealthCheck NodePort : range is full")
        })?;
        new.set(HEALTH, drawn);
        return Ok(());
    }
    match unavailable(pools, given) {
        None => Ok(()),
        Some(why) => Err(Status::internal(format!(
            "failed to allocate requested HealthCheck NodePort {given}: {why}"
        ))),
    }
}
