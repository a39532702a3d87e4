//! A port of the machine belongs to one pod, or to the cluster itself.

use super::Refusal;
use crate::state::{NodeInfo, State, host_ports};
use skiff_kinds::views::Pod;

pub fn filter(pod: &Pod, info: &NodeInfo, _: &State) -> Vec<Refusal> {
    let taken = host_ports(pod).into_iter().any(|(ip, protocol, port)| {
        info.ports.iter().chain(&info.own_ports).any(|(other, its_protocol, its_port)| {
            let overlap = ip.is_empty() || other.is_empty() || ip == *other;
            overlap && protocol == *its_protocol && port == *its_port
        })
    });
    match taken {
        true => Refusal::for_now("node(s) didn't have free ports for the requested pod ports"),
        false => Vec::new(),
    }
}
