//! Sysctls of a pod (documentation: "Using sysctls in a Kubernetes cluster"): those that touch no
//! other pod are free, those that a setting names are at the administrator's risk, the rest is
//! refused. Pure.

use skiff_kinds::views::Pod;
use std::collections::BTreeMap;

/// Namespaced, and without influence on any other pod of the node.
const SAFE: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// What a pod with a network of its own has without asking: root is not needed to listen below
/// 1024, nor to ping. In its own network that harms nobody.
const OWN_NETWORK: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// One spelling of a name: the first separator says which it is, and where that is a `/`, dots
/// belong to names (sysctl(8)).
fn dotted(name: &str) -> String {
    let slashes = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let swap = |c: char| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    if slashes { name.chars().map(swap).collect() } else { name.to_owned() }
}

/// What is set in the pod's namespaces: its own word wins.
pub fn effective(pod: &Pod) -> BTreeMap<String, String> {
    let own = OWN_NETWORK.iter().filter(|_| !pod.spec.host_network);
    let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let asked = pod.spec.security_context.sysctls.iter();
    own.chain(asked.map(|sysctl| (dotted(&sysctl.name), sysctl.value.clone()))).collect()
}

/// Why one of the pod's sysctls is refused.
pub fn forbidden(pod: &Pod, allowed: &[String]) -> Option<String> {
    pod.spec.security_context.sysctls.iter().find_map(|sysctl| {
        let name = dotted(&sysctl.name);
        let why = refused(pod, &name, allowed)?;
        Some(format!("forbidden sysctl: {name:?} {why}"))
    })
}

fn refused(pod: &Pod, name: &str, allowed: &[String]) -> Option<String> {
    let listed = allowed.iter().any(|pattern| {
        let pattern = dotted(pattern);
        match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        }
    });
    // A value is one line of numbers, and a name is words: nothing else reaches a file of the kernel.
    let odd = name.split(['.', '/']).any(|word| word.is_empty());
    if odd || !(SAFE.contains(&name) || listed) {
        return Some("not allowlisted".into());
    }
    let host = |namespace: &str| Some(format!("not allowed with host {namespace} enabled"));
    match name.starts_with("net.") {
        true if pod.spec.host_network => host("net"),
        false if pod.spec.host_ipc => host("ipc"),
        _ => None,
    }
}
