//! A cluster with an aggregated server beside it, and how requests are made there.

use serde_json::{Value, json};
use skiff_tests::cluster::Cluster;
use std::path::{Path, PathBuf};
use std::process::Child;

/// Where servers are: at an address of the machine that is not its own.
pub const ADDRESS: &str = "192.0.2.10";

pub struct Bench {
    pub c: Cluster,
    pub home: PathBuf,
    /// Servers that the test began.
    servers: Vec<Child>,
    /// What the servers' certificate is known by, in base 64.
    pub ca: String,
}

/// What a request was answered.
pub struct Answer {
    pub code: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

/// A cluster, and a certificate for the Service `server` of the namespace `ext`, whose endpoint is a port of the machine.
pub fn bench(test: &str) -> Bench {
    let c = Cluster::empty(test);
    let home = c.machine().home();
    c.shell(&format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=server \
         -addext subjectAltName=DNS:server.ext.svc -keyout server.key -out server.crt 2> /dev/null",
        home.display()
    ));
    let ca = c.shell(&format!("base64 -w0 {}/server.crt", home.display()));
    c.skiff(&["up"]);
    c.unfold(&home);
    let bench = Bench { c, home, servers: Vec::new(), ca };
    bench.c.k.apply(
        "
apiVersion: v1
kind: Namespace
metadata: {name: ext}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: ext}
spec: {ports: [{name: https, port: 443}, {name: other, port: 444}]}
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: ext}
spec: {type: ExternalName, externalName: 127.0.0.1}
",
    );
    bench.leads_to(ADDRESS, 9443);
    // What every server below this one is to know.
    let known = bench.c.k.ok(
        "-n kube-system get cm extension-apiserver-authentication -o jsonpath={.data.requestheader-client-ca-file}",
    );
    std::fs::write(bench.home.join("front.crt"), known).expect("it can be written");
    bench
}

impl Bench {
    /// Where the Service leads from now on.
    pub fn leads_to(&self, address: &str, port: u16) {
        self.c.k.apply(&format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: server-1, namespace: ext, labels: {{kubernetes.io/service-name: server}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}]}}]
ports: [{{name: https, port: {port}}}]
"
        ));
    }

    /// Begins a program of the test, and remembers to end it; its process inside the machine is in `NAME.process`.
    pub fn begin(&mut self, name: &str, program: &Path, args: &[&str]) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.home.join("servers.log"));
        let log = log.expect("the folder can be written to");
        let mut command = self.c.inside(Path::new("bash"));
        let noted = self.home.join(format!("{name}.process")).display().to_string();
        command.args(["-c", "echo $$ > \"$0\"; exec \"$@\"", &noted]).arg(program);
        command.args(args).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.servers.push(command.spawn().expect("the machine runs it"));
    }

    /// Ends a program of the test, at once.
    pub fn end(&mut self, name: &str) {
        let noted = self.home.join(format!("{name}.process"));
        self.c.shell(&format!("kill -9 \"$(cat {})\"", noted.display()));
    }

    pub fn wait_for_file(&self, name: &str) {
        let path = self.home.join(name);
        self.c.shell(&format!(
            "timeout 60 bash -c 'until [ -e {} ]; do read -rt 0.1 < <(:) || :; done'",
            path.display()
        ));
    }

    /// Registers a version of a group at the Service.
    pub fn register(&self, version: &str, group: &str, more: Value) {
        let mut spec = json!({"group": group, "version": version, "groupPriorityMinimum": 100,
            "versionPriority": 10, "caBundle": self.ca,
            "service": {"namespace": "ext", "name": "server", "port": 443}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                            "metadata": {"name": format!("{version}.{group}")}, "spec": spec});
        let said = self.c.k.exits(0, &["apply", "-f", "-"], &object.to_string());
        assert_eq!(said.err, "", "nothing is to be warned of");
    }

    /// Waits until an APIService is (not) available for a reason.
    pub fn becomes(&self, name: &str, reason: &str) -> String {
        self.c.k.ok(&format!(
            "wait --for=jsonpath={{.status.conditions[0].reason}}={reason} apiservice/{name} --timeout=60s"
        ));
        self.c.k.ok(&format!("get apiservice {name} -o jsonpath={{.status.conditions[0].message}}"))
    }

    /// A request of the owner, with further words for curl.
    pub fn ask(&self, words: &str, path: &str) -> Answer {
        let code = self.c.shell(&format!(
            "cd {} && curl -s -o answer -w '%{{http_code}}' --cacert ca --cert cert --key key {words} \
             \"$(cat server){path}\"",
            self.home.display()
        ));
        let read = |name: &str| std::fs::read_to_string(self.home.join(name)).unwrap_or_default();
        Answer { code, text: read("answer") }
    }

    /// What discovery shows of a group, aggregated.
    pub fn discovered(&self, group: &str) -> Value {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let all = self.ask(&format!("-H 'Accept: {accept}'"), "/apis").json();
        let items = all["items"].as_array().expect("a list").iter();
        items.filter(|it| it["metadata"]["name"] == group).cloned().collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // They are the test's own, and go with its machine in any case.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
