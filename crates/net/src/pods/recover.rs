//! The ground that pods stand on, and what an earlier process left on it.
//!
//! Everything is read from the kernel: the node's link by its name, pod links by their group, ids
//! from beside the links, addresses from routes, host ports from the rules' map.

use std::net::IpAddr;

use skiff_base::Cidr;

use super::{Attachment, PodNetworkConfig, State, attach, doomed_group, group, rules, sysctl};
use crate::netlink::route::{self, Link, Route};
use crate::netlink::socket::Socket;
use crate::passage;
use crate::{Error, Result};

/// Ethernet's, for a node whose routes say nothing.
const USUAL_MTU: u32 = 1500;

/// The largest packet of the link that the default route leaves by.
pub(super) fn uplink_mtu(socket: &mut Socket) -> Result<u32> {
    let mut defaults = route::routes(socket)?;
    defaults.retain(|r| r.to.prefix() == 0);
    let Some(best) = defaults.iter().min_by_key(|r| r.priority) else { return Ok(USUAL_MTU) };
    let links = route::links(socket)?;
    Ok(links.iter().find(|l| l.index == best.link).map_or(USUAL_MTU, |l| l.mtu))
}

/// The node's own link with address and route, and forwarding.
pub(super) fn ground(
    socket: &mut Socket,
    config: &PodNetworkConfig,
    gateway: IpAddr,
    mtu: u32,
) -> Result<()> {
    let name = &config.link;
    let link = match route::link_by_name(socket, name)? {
        Some(link) => link,
        None => {
            let message = route::add_bridge(name, mtu, group(name));
            socket.request(vec![message], &format!("make link {name}"))?;
            route::link_by_name(socket, name)?
                .ok_or(Error::Decode("link that was just made is not there"))?
        }
    };
    sysctl::forward(socket, &config.namespace, &link)?;
    let mut messages = vec![
        route::set_up(link.index),
        route::add_address(link.index, gateway, Cidr::one(gateway).prefix()),
    ];
    messages.extend(config.services.iter().map(|range| {
        route::add_route(&Route { to: *range, source: Some(gateway), ..Route::on(link.index) })
    }));
    socket.request(messages, &format!("set up link {name}"))
}

/// Finds the pods that are in; what is half made is doomed. Returns how many links shall go.
pub(super) fn pods(state: &mut State, config: &PodNetworkConfig, gateway: IpAddr) -> Result<usize> {
    let (group, doomed) = (group(&config.link), doomed_group(&config.link));
    let links = route::links(&mut state.routes)?;
    let routes = route::routes(&mut state.routes)?;
    let mut ports = rules::host_ports(&mut state.rules, config)?;
    let mut left = links.iter().filter(|link| link.group == doomed).count();
    for link in links.iter().filter(|l| l.group == group && l.name != config.link) {
        match adopt(link, &routes, gateway) {
            Some(mut pod) if state.pool.take(Some(pod.address)).is_ok() => {
                pod.host_ports = ports.remove(&pod.address).into_iter().flatten().collect();
                // An earlier release may have set the link up otherwise.
                let done = attach::set_up_outside(state, &config.namespace, &link.name, &pod);
                let is_gone = |state: &mut State| -> Result<bool> {
                    Ok(route::link_by_name(&mut state.routes, &link.name)?.is_none())
                };
                match done {
                    // Its pod has ended meanwhile, and has taken it along.
                    Err(_) if is_gone(state)? => state.pool.release(pod.address),
                    done => {
                        done?;
                        state.pods.insert(pod.id.clone(), pod);
                    }
                }
            }
            _ => {
                let message = route::set_group(link.index, doomed);
                state.routes.remove(vec![message], "give up half-made link")?;
                left += 1;
            }
        }
    }
    Ok(left)
}

fn adopt(link: &Link, routes: &[Route], gateway: IpAddr) -> Option<Attachment> {
    let route = routes.iter().find(|r| r.link == link.index && r.to.size() == 1)?;
    (!link.alias.is_empty() && link.is_up()).then(|| Attachment {
        id: link.alias.clone(),
        address: route.to.base(),
        gateway,
        link: link.index,
        host_ports: Vec::new(),
    })
}

/// Removes all: pods first, so that no packet finds a node without rules.
pub(super) fn remove_all(state: &mut State, config: &PodNetworkConfig) -> Result<()> {
    if let Some(link) = route::link_by_name(&mut state.routes, &config.link)? {
        sysctl::unforward(&mut state.routes, &config.namespace, &link)?;
    }
    for group in [doomed_group(&config.link), group(&config.link)] {
        let message = route::delete_group(group);
        state.routes.remove(vec![message], "remove pod links")?;
    }
    passage::remove(&mut state.rules, &config.link)?;
    rules::remove_table(&mut state.rules, config)
}
