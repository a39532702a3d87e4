//! A pod's /etc/resolv.conf (API reference: PodSpec.dnsPolicy, dnsConfig; documentation: "DNS for
//! services and pods"). Pure texts.

use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::DnsConfig;
use std::net::IpAddr;

/// What upstream sets for names of the cluster.
const CLUSTER_OPTION: &str = "ndots:5";
/// C libraries read no more than so many (resolv.conf(5)).
const SERVERS_MOST: usize = 3;
/// Limits of the API reference on searches: domains, letters of one, letters of all with the spaces.
const SEARCHES_MOST: usize = 32;
const SEARCH_MOST: usize = 253;
const LETTERS_MOST: usize = 2048;

/// The file, and what users have to be told of it.
#[derive(Debug, PartialEq)]
pub struct Resolv {
    pub text: String,
    pub warnings: Vec<String>,
}

/// The cluster's DNS and its domain.
pub struct Cluster<'a> {
    pub server: Option<IpAddr>,
    pub domain: &'a str,
}

/// `of_machine` is the machine's own.
pub fn resolv_conf(pod: &Pod, cluster: &Cluster<'_>, of_machine: &str) -> Resolv {
    let machine = parse(of_machine);
    let cluster_first = match &*pod.spec.dns_policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod.spec.host_network,
        _ => false,
    };
    let mut dns = match (&*pod.spec.dns_policy, cluster.server.filter(|_| cluster_first)) {
        ("None", _) => Dns::default(),
        (_, None) => machine,
        (_, Some(server)) => {
            let (namespace, domain) = (&pod.metadata.namespace, cluster.domain);
            let mut searches = vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.to_owned(),
            ];
            searches.extend(machine.searches);
            let options = vec![CLUSTER_OPTION.into()];
            Dns { servers: vec![server.to_string()], searches, options }
        }
    };
    dns.add(&pod.spec.dns_config);
    let warnings = dns.cut();
    Resolv { text: dns.text(), warnings }
}

/// Whether the machine's resolver is a stub on its own loopback, which no pod can reach.
pub fn is_stub(text: &str) -> bool {
    let servers = parse(text).servers;
    let loopback = |server: &String| server.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    !servers.is_empty() && servers.iter().all(loopback)
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
            Some("search" | "domain") => {
                // With and without the dot at its end it is one domain.
                dns.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
            }
            Some("options") => dns.options = words.collect(),
            _ => {}
        }
    }
    dns
}

/// The first of each.
fn once(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

impl Dns {
    /// What the pod asks for is added; an option of the same name is replaced.
    fn add(&mut self, config: &DnsConfig) {
        self.servers.extend(config.nameservers.iter().cloned());
        self.searches.extend(config.searches.iter().cloned());
        once(&mut self.servers);
        once(&mut self.searches);
        for option in &config.options {
            self.options.retain(|old| old.split(':').next() != Some(&option.name));
            self.options.push(match option.value.as_deref() {
                None | Some("") => option.name.clone(),
                Some(value) => format!("{}:{value}", option.name),
            });
        }
    }

    /// Leaves what resolvers read, and says what that is where it is less than was asked for.
    fn cut(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        if self.servers.len() > SERVERS_MOST {
            self.servers.truncate(SERVERS_MOST);
            said.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, \
                 the applied nameserver line is: {}",
                self.servers.join(" ")
            ));
        }
        let before = self.searches.len();
        self.searches.truncate(SEARCHES_MOST);
        self.searches.retain(|search| search.len() <= SEARCH_MOST);
        while self.searches.join(" ").len() > LETTERS_MOST {
            self.searches.pop();
        }
        if self.searches.len() < before {
            said.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, \
                 the applied search line is: {}",
                self.searches.join(" ")
            ));
        }
        said
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

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::{Value, json};

    fn check(spec: Value, of_machine: &str) -> Resolv {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        let pod: Pod = skiff_json::from_value(pod).expect("a pod");
        let cluster = Cluster { server: Some([10, 96, 0, 10].into()), domain: "cluster.local" };
        resolv_conf(&pod, &cluster, of_machine)
    }

    #[test]
    fn each_once_and_no_more_than_resolvers_read() {
        let config = json!({
            "nameservers": ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"],
            "searches": ["a.example", "cluster.local", "a.example", "b.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        });
        let spec = json!({"dnsPolicy": "ClusterFirst", "dnsConfig": config});
        let made = check(spec, "search corp.example. cluster.local\nnameserver 127.0.0.53\n");
        expect_test::expect![[r#"
            search n.svc.cluster.local svc.cluster.local cluster.local corp.example a.example b.example
            nameserver 10.96.0.10
            nameserver 192.0.2.1
            nameserver 192.0.2.2
            options ndots:2 edns0
            Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2"#]]
        .assert_eq(&(made.text + &made.warnings.join("\n")));
    }

    #[test]
    fn long_search_lists_are_cut_from_the_end() {
        let searches = |count: usize, length: usize| -> Vec<String> {
            (0..count).map(|n| format!("{n:0>length$}")).collect()
        };
        for (given, left) in [
            (searches(32, 63), 32),
            (searches(33, 10), 32),
            (searches(32, 64), 31),
            (searches(2, 254), 0),
            (searches(9, 253), 8),
        ] {
            let whole = given.len() == left;
            let made = check(json!({"dnsPolicy": "None", "dnsConfig": {"searches": given}}), "");
            let line = made.text.strip_prefix("search ").unwrap_or("").trim_end();
            let found = line.split(' ').filter(|word| !word.is_empty()).count();
            assert_eq!((found, made.warnings.is_empty()), (left, whole), "{line}");
            assert!(line.len() <= 2048);
            let told = format!("the applied search line is: {line}");
            assert!(made.warnings.iter().all(|warning| warning.ends_with(&told)));
        }
    }

    #[test]
    fn a_stub_is_one_that_no_pod_can_reach() {
        for (text, stub) in [
            ("nameserver 127.0.0.53\noptions edns0\n", true),
            ("nameserver ::1\nnameserver 127.0.0.1\n", true),
            ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", false),
            ("# nameserver 127.0.0.1\n", false),
            ("", false),
        ] {
            assert_eq!(is_stub(text), stub, "{text}");
        }
    }
}
