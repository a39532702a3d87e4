//! Files that the node keeps for a pod: host names and name servers (API reference:
//! PodSpec.hostAliases, dnsPolicy, dnsConfig, hostname, subdomain). Pure texts.

use crate::node::Config;
use skiff_api::views::Pod;
use skiff_api::views::pod::DnsConfig;

/// A host name of Linux has at most so many letters.
const HOSTNAME_MOST: usize = 63;
/// What upstream sets for names of the cluster.
const CLUSTER_OPTION: &str = "ndots:5";

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

/// /etc/resolv.conf; `of_machine` is the machine's own.
pub fn resolv_conf(pod: &Pod, config: &Config, of_machine: &str) -> String {
    let machine = parse(of_machine);
    let cluster_first = match &*pod.spec.dns_policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.spec.host_network,
        _ => false,
    };
    let mut dns = match (&*pod.spec.dns_policy, config.cluster_dns.filter(|_| cluster_first)) {
        ("None", _) => Dns::default(),
        (_, None) => machine,
        (_, Some(server)) => {
            let (namespace, domain) = (&pod.metadata.namespace, &config.cluster_domain);
            let mut searches =
                vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(machine.searches);
            let options = vec![CLUSTER_OPTION.into()];
            Dns { servers: vec![server.to_string()], searches, options }
        }
    };
    dns.add(&pod.spec.dns_config);
    dns.text()
}

#[derive(Default)]
struct Dns {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words.next()),
            Some("search" | "domain") => dns.searches = words.collect(),
            Some("options") => dns.options = words.collect(),
            _ => {}
        }
    }
    dns
}

impl Dns {
    /// What the pod asks for is added; an option of the same name is replaced.
    fn add(&mut self, config: &DnsConfig) {
        let new = |list: &[String], item: &&String| !list.contains(item);
        let servers = config.nameservers.iter().filter(|item| new(&self.servers, item)).cloned();
        self.servers = self.servers.iter().cloned().chain(servers).collect();
        let searches = config.searches.iter().filter(|item| new(&self.searches, item)).cloned();
        self.searches = self.searches.iter().cloned().chain(searches).collect();
        for option in &config.options {
            self.options.retain(|old| old.split(':').next() != Some(&option.name));
            self.options.push(match option.value.as_deref() {
                None | Some("") => option.name.clone(),
                Some(value) => format!("{}:{value}", option.name),
            });
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text += &format!("search {}\n", self.searches.join(" "));
        }
        for server in &self.servers {
            text += &format!("nameserver {server}\n");
        }
        if !self.options.is_empty() {
            text += &format!("options {}\n", self.options.join(" "));
        }
        text
    }
}
