//! Files that the node keeps for a pod: its names (API reference: PodSpec.hostAliases, hostname,
//! subdomain). Pure texts.

use skiff_kinds::views::Pod;

/// A host name of Linux has at most so many letters.
const HOSTNAME_MOST: usize = 63;

/// The pod's host name, and the domain that it is in (empty without a subdomain).
pub fn hostname(pod: &Pod, domain: &str) -> (String, String) {
    let spec = &pod.spec;
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), String::new());
    }
    let mut name =
        if spec.hostname.is_empty() { &pod.metadata.name } else { &spec.hostname }.clone();
    if name.len() > HOSTNAME_MOST {
        name.truncate(HOSTNAME_MOST);
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    let domain = match &*spec.subdomain {
        "" => String::new(),
        subdomain => format!("{subdomain}.{}.svc.{domain}", pod.metadata.namespace),
    };
    (name, domain)
}

/// What the kernel of the pod calls itself.
pub fn kernel_name(pod: &Pod, domain: &str) -> String {
    let (name, domain) = hostname(pod, domain);
    match pod.spec.set_hostname_as_fqdn && !domain.is_empty() {
        true => format!("{name}.{domain}"),
        false => name,
    }
}

/// /etc/hosts; `of_machine` is the machine's own, for a pod in its network.
pub fn hosts(pod: &Pod, ip: &str, domain: &str, of_machine: &str) -> String {
    let mut text = if pod.spec.host_network {
        format!("# Kubernetes-managed hosts file (host network).\n{of_machine}")
    } else {
        let (name, domain) = hostname(pod, domain);
        let own = match &*domain {
            "" => format!("{ip}\t{name}\n"),
            domain => format!("{ip}\t{name}.{domain}\t{name}\n"),
        };
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{own}"
        )
    };
    if !pod.spec.host_aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for alias in &pod.spec.host_aliases {
            text += &format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t"));
        }
    }
    text
}
