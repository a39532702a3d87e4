//! Locks: addresses belong to their owners, packet rules come back, DNS is for everybody.

use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::machine::ADDRESS;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

/// A pod that serves its name on 8080, with a service before it, and one that may do as it likes
/// with its own network.
fn pods() -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: {BUSYBOX}
    command: [sh, -c, "hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {{name: liar}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: {BUSYBOX}
    command: [sleep, "3600"]
    securityContext: {{capabilities: {{add: [NET_ADMIN, NET_RAW]}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
"#
    )
}

/// A service of a tenant whose name comes before all others.
fn thief(name: &str, address: &str, port: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: aaa}}
spec:
  selector: {{app: thief}}
  externalIPs: ["{address}"]
  ports: [{port}]
"#
    )
}

fn start(test: &str) -> Cluster {
    let c = Cluster::start(test);
    c.load_busybox();
    c.k.apply(&pods());
    c.k.ok("wait --for=condition=Ready pod --all --timeout=60s");
    c
}

#[test]
fn addresses_are_their_owners() {
    let c = start("locks-addresses");
    c.k.ok("create namespace aaa");
    // Without endpoints it would refuse what it has taken.
    c.k.apply(&thief("dns", "10.96.0.10", "{port: 53, protocol: UDP}"));
    c.k.apply(&thief("api", ADDRESS, "{port: 6443}"));
    c.k.apply(&thief("node", ADDRESS, "{port: 10250}"));
    c.k.apply(&thief("pod", &c.k.ok("get pod web -o jsonpath={.status.podIP}"), "{port: 8080}"));
    // The tables are written in order: this one answers when those before it count.
    c.k.apply(&thief("last", "203.0.113.9", "{port: 80}"));
    let refused = "until curl -s -m 1 http://203.0.113.9/; [ $? = 7 ]; do :; done";
    c.shell(&format!("timeout 10 bash -c '{refused}'"));
    let exec = ["exec", "liar", "--"];
    let found = c.k.args(&[&exec[..], &["nslookup", "web.default.svc.cluster.local"]].concat());
    assert!(found.contains("Address"), "{found}");
    let page = c.k.args(&[&exec[..], &["wget", "-q", "-O-", "http://web"]].concat());
    assert_eq!(page, "web\n");
    let version = c.shell(&format!("curl -sk -m 5 https://{ADDRESS}:6443/version"));
    assert!(version.contains("gitVersion"), "{version}");
    assert_eq!(
        c.shell(&format!("curl -sk -m 5 https://{ADDRESS}:10250/healthz -o /dev/null; echo $?")),
        "0\n"
    );

    // Who was heard on the machine: the pod under its own address, never under another.
    let own = c.k.ok("get pod liar -o jsonpath={.status.podIP}");
    let hear = format!(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n\
         s.settimeout(30)\nprint('ready', flush=True)\nseen = set()\n\
         while '{own}' not in seen:\n  data, peer = s.recvfrom(99)\n  \
         if data[20] == 8: seen.add(peer[0])\nprint(*sorted(seen))"
    );
    let mut ear = c.inside(Path::new("python3"));
    let mut ear = ear.args(["-c", &hear]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(ear.stdout.take().unwrap()).lines();
    assert_eq!(out.next().unwrap().unwrap(), "ready");
    let lies = format!(
        "for a in 10.244.0.77 198.51.100.7; do ip address add $a/32 dev eth0; \
           ping -c 1 -W 1 -I $a {ADDRESS} && exit 1; done; ping -c 1 -W 5 -I {own} {ADDRESS}"
    );
    c.k.args(&[&exec[..], &["sh", "-c", &lies]].concat());
    assert_eq!(out.next().unwrap().unwrap(), own);
    ear.wait().unwrap();
}

/// What others do to the machine's packet rules, as firewalls do when they are loaded.
#[test]
fn rules_come_back_and_pass_the_machines_own() {
    let c = start("locks-rules");
    let address = c.k.ok("get service web -o jsonpath={.spec.clusterIP}");
    let soon = |what: &str| {
        // A second, and what a busy machine adds.
        c.shell(&format!("timeout 5 bash -c 'until curl -sf -m 0.5 {what}; do :; done'"))
    };
    for how in [
        "nft flush ruleset",
        "nft delete table ip skiff-services",
        "nft delete table ip skiff0-pods",
        "nft flush chain ip skiff-services own",
    ] {
        c.shell(how);
        assert_eq!(soon(&format!("http://{address}/")), "web\n", "{how}");
    }
    let pods =
        "timeout 5 bash -c 'until nft list table ip skiff0-pods | grep -q iifgroup; do :; done'";
    c.shell(pods);
    let node = c.k.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    let metrics = c.k.ok(&format!("get --raw /api/v1/nodes/{node}/proxy/metrics"));
    let restored = metrics.lines().find_map(|l| l.strip_prefix("skiff_rules_restored_total "));
    assert!(restored.unwrap().parse::<u32>().unwrap() >= 5, "{metrics}");
    assert!(metrics.contains("skiff_dns_unfair_total 0"), "{metrics}");

    c.shell(
        "iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER",
    );
    let pod = c.k.ok("get pod web -o jsonpath={.status.podIP}");
    let until = format!(
        "i=0; until timeout 1 wget -q -O- http://{pod}:8080; do i=$((i+1)); [ $i -lt 5 ] || exit 1; \
         done; wget -q -O- http://{address}"
    );
    assert_eq!(c.k.args(&["exec", "liar", "--", "sh", "-c", &until]), "web\nweb\n");
    let ours = "-A FORWARD -s 10.244.0.0/24 -m comment --comment skiff0 -j ACCEPT";
    let listed = c.shell("iptables -S FORWARD");
    assert!(listed.contains(ours), "as its own tool shows it: {listed}");
    assert!(!c.skiff(&["status"]).contains("network:"));
    c.shell(
        "nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD \
         { type filter hook forward priority 10; policy drop; }'",
    );
    let status = c.skiff(&["status"]);
    let named = "network: the chain filter_FORWARD of the table inet firewalld drops the packets of pods; to \
                 let them pass: nft insert rule inet firewalld filter_FORWARD ip saddr 10.244.0.0/24 accept";
    assert!(status.contains(named), "{status}");
    c.skiff(&["delete"]);
    let rules = c.shell("nft list ruleset; iptables -S FORWARD");
    assert!(rules.contains("-P FORWARD DROP") && !rules.contains("skiff"), "{rules}");
}
