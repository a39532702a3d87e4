//! A cluster with a webhook server beside it, and how requests are made there.

use serde_json::{Value, json};
use skiff_tests::cluster::Cluster;
use std::path::{Path, PathBuf};
use std::process::Child;

/// Where the server listens: at an address of the machine that is not its own.
pub const SERVER: &str = "https://192.0.2.10:9443";

pub struct Bench {
    pub c: Cluster,
    pub home: PathBuf,
    server: Child,
    pub ca: String,
}

/// What a request was answered.
pub struct Answer {
    pub code: String,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or("")
    }
}

/// A cluster, and beside it the server, which is also the Service `hook` of the namespace `hooks`.
pub fn bench(test: &str, settings: &[&str]) -> Bench {
    let c = Cluster::empty(test);
    let home = c.machine().home();
    std::fs::create_dir(home.join("answers")).expect("the folder is the test's own");
    std::fs::write(home.join("server.py"), include_str!("server.py")).expect("so");
    std::fs::write(home.join("policy.yaml"), POLICY).expect("so");
    c.shell(&format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook \
         -addext subjectAltName=DNS:hook.hooks.svc,IP:192.0.2.10,IP:127.0.0.1 -keyout hook.key -out hook.crt \
         2> /dev/null",
        home.display()
    ));
    let ca = c.shell(&format!("base64 -w0 {}/hook.crt", home.display()));
    let mut server = c.inside(Path::new("python3"));
    server.arg(home.join("server.py")).arg(&home);
    let server = server.spawn().expect("the machine has python3");
    c.shell(&format!(
        "timeout 60 bash -c 'until [ -e {}/hook.pid ]; do read -rt 0.1 < <(:) || :; done'",
        home.display()
    ));
    let (policy, log) = (home.join("policy.yaml"), home.join("audit.log"));
    let (policy, log) = (policy.display().to_string(), log.display().to_string());
    let mut up = vec!["up", "--audit-policy-file", &policy, "--audit-log-path", &log];
    up.extend(["--audit-log-mode", "blocking"]);
    up.extend(settings);
    c.skiff(&up);
    c.unfold(&home);
    let bench = Bench { c, home, server, ca };
    bench.c.k.apply(SERVICE);
    bench
}

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
    - {level: Request, verbs: [create, update], resources: [{group: '', resources: [pods, configmaps]}]}\n\
    - {level: None}\n";

const SERVICE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: hooks}
---
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: hooks}
spec: {ports: [{name: hook, port: 443}, {name: other, port: 444}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hook-1, namespace: hooks, labels: {kubernetes.io/service-name: hook}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.10]}]
ports: [{name: hook, port: 9443}]
";

impl Bench {
    /// What the server answers to a path from now on.
    pub fn answers(&self, path: &str, what: Value) {
        let to = self.home.join("answers").join(path);
        std::fs::write(to.with_extension("new"), what.to_string()).expect("it can be written");
        std::fs::rename(to.with_extension("new"), to).expect("it lies beside");
    }

    /// The questions that were asked at a path.
    pub fn asked(&self, path: &str) -> Vec<Value> {
        let asked = std::fs::read_to_string(self.home.join("asked")).expect("it is there");
        let asked = asked.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        asked.filter(|it| it["path"] == format!("/{path}")).collect()
    }

    pub fn url(&self, path: &str) -> Value {
        json!({"url": format!("{SERVER}/{path}"), "caBundle": self.ca})
    }

    pub fn service(&self, path: &str) -> Value {
        let service = json!({"namespace": "hooks", "name": "hook", "path": format!("/{path}")});
        json!({"service": service, "caBundle": self.ca})
    }

    /// A configuration of one webhook, `NAME.example.com`, which is asked at `/NAME`.
    pub fn configure(&self, sort: &str, name: &str, rule: Value, more: Value) {
        let mut hook = json!({
            "name": format!("{name}.example.com"), "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "rules": [rule], "clientConfig": self.url(name),
        });
        for (key, value) in more.as_object().expect("fields") {
            hook[key] = value.clone();
        }
        let kind = format!("{sort}WebhookConfiguration");
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                            "metadata": {"name": name}, "webhooks": [hook]});
        let said = self.c.k.exits(0, &["apply", "-f", "-"], &object.to_string());
        assert_eq!(said.err, "", "nothing is left to warn of");
    }

    /// A request of the owner.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_as("application/json", method, path, body)
    }

    pub fn ask_as(&self, media_type: &str, method: &str, path: &str, body: &Value) -> Answer {
        std::fs::write(self.home.join("body"), body.to_string()).expect("it can be written");
        let code = self.c.shell(&format!(
            "cd {} && curl -s -D head -o answer -w '%{{http_code}}' --cacert ca --cert cert --key key -X {method} \
             -H 'Content-Type: {media_type}' --data-binary @body \"$(cat server){path}\"",
            self.home.display()
        ));
        let read =
            |name: &str| std::fs::read_to_string(self.home.join(name)).expect("curl wrote it");
        let (head, text) = (read("head"), read("answer"));
        let warnings =
            head.lines().filter_map(|line| line.strip_prefix("warning: ").map(str::to_owned));
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { code, body, warnings: warnings.collect() }
    }

    pub fn create_map(&self, namespace: &str, name: &str) -> Answer {
        let map = json!({"metadata": {"name": name}, "data": {"a": "b"}});
        self.ask("POST", &format!("/api/v1/namespaces/{namespace}/configmaps"), &map)
    }

    /// The annotations of what the audit log has of an object's making.
    pub fn noted(&self, name: &str) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(self.home.join("audit.log")).expect("there is one");
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut about = events.filter(|event| event["objectRef"]["name"] == name);
        let event = about.next_back().expect("it was noted");
        let all = event["annotations"].as_object().expect("some").iter();
        let ours = all
            .filter(|(key, _)| !key.contains("authorization.k8s.io/") && !key.contains("latency"));
        ours.map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned())).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It is the test's own, and goes with it in any case.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What is drawn anew in each run stands as a star.
pub fn plain(text: &str) -> String {
    let hex = "[0-9a-f]";
    let drawn = format!("{hex}{{8}}-{hex}{{4}}-{hex}{{4}}-{hex}{{4}}-{hex}{{12}}");
    regex::Regex::new(&drawn).expect("a pattern").replace_all(text, "*").into_owned()
}

pub fn rule(group: &str, resource: &str, operations: &[&str]) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": operations})
}
