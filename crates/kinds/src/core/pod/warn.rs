//! What users are warned of about a pod that is accepted: what is deprecated, has no effect, or hides something else.
//!
//! Pods are judged when they are made; templates of workloads whenever they change. Nothing is refused here.

use super::validate::visit;
use skiff_api::check::*;
use skiff_api::errors::Path;
use skiff_api::object::{Object, at};
use skiff_api::quantity::Quantity;
use skiff_api::{ip, names};
use skiff_json::Value;
use std::collections::{BTreeMap, HashSet};

mod paths;

/// Labels of nodes that selectors should no longer name.
const OLD_NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
/// The resources that are counted in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// The hook of pods: they change too often, and by programs, to be judged at each update.
pub fn pod(new: &Object, old: Option<&Object>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut out = Warnings::default();
    out.host_name("this is used in the Pod's hostname", new.name());
    out.pod(new.value(), None);
    out.0
}

/// The hook of workloads that keep their pods at `spec.template`.
pub fn workload(new: &Object, old: Option<&Object>) -> Vec<String> {
    template_in("spec", new, old, None)
}

/// The same for those whose template is in a spec at `path`; `own`: what they say of themselves.
pub fn template_in(
    path: &str,
    new: &Object,
    old: Option<&Object>,
    own: Option<String>,
) -> Vec<String> {
    let mut out = Warnings::default();
    if old.is_none() {
        out.host_name("this is used in Pod names and hostnames", new.name());
    }
    if changed(new, old) {
        out.0.extend(own);
        out.template(&format!("{path}.template"), new);
    }
    out.0
}

/// What is to be said of the template at a path alone.
pub fn template_at(path: &str, new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut out = Warnings::default();
    if changed(new, old) {
        out.template(path, new);
    }
    out.0
}

/// An update counts where it begins a generation.
fn changed(new: &Object, old: Option<&Object>) -> bool {
    old.is_none_or(|old| old.at("metadata.generation") != new.at("metadata.generation"))
}

#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, path: &Path, why: &str) {
        self.0.push(format!("{path}: {why}"));
    }

    fn host_name(&mut self, used: &str, name: &str) {
        let wrong = names::label(name);
        if !wrong.is_empty() {
            let why = "which can result in surprising behavior; a DNS label is recommended";
            let wrong = wrong.join(" ");
            self.0.push(format!("metadata.name: {used}, {why}: [{wrong}]"));
        }
    }

    fn template(&mut self, path: &str, workload: &Object) {
        if let Some(template) = workload.at(path) {
            self.pod(template, Some(&Path::new(path)));
        }
    }

    /// A pod, or a template at `root`.
    fn pod(&mut self, pod: &Value, root: Option<&Path>) {
        let child = |field: &'static str| match root {
            Some(root) => root.child(field),
            None => Path::new(field),
        };
        let (null, path) = (Value::Null, child("spec"));
        let notes = child("metadata.annotations");
        let spec = at(pod, "spec").unwrap_or(&null);
        let annotations = pod.get("metadata").and_then(|it| it.get("annotations")).unwrap_or(&null);
        self.placement(spec, &path);
        for (key, why) in OLD_ANNOTATIONS {
            if annotations.get(key).is_some() {
                self.add(&notes.key(key), why);
            }
        }
        self.volumes(spec, &path.child("volumes"));
        self.0.extend(paths::overlaps(list(spec, "volumes")));
        self.repeated(spec, "hostAliases", "ip", &path);
        self.repeated(spec, "imagePullSecrets", "name", &path);
        let secrets = path.child("imagePullSecrets");
        for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
            if text(secret, "name").is_empty() {
                self.add(&secrets.index(index).child("name"), "invalid empty name \"\"");
            }
        }
        BYTES.iter().for_each(|name| self.fraction(spec, "overhead", name, &path));
        let key = "seccomp.security.alpha.kubernetes.io/pod";
        if at(spec, "securityContext.seccompProfile").is_none() && annotations.get(key).is_some() {
            self.add(&notes.key(key), SECCOMP);
        }
        visit(spec, &path, &mut |container, here| {
            self.container(container, here, annotations, &notes);
        });
        self.ports(spec, &path);
        if int(spec, "terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
            let why = "must be >= 0; negative values are invalid and will be treated as 1";
            self.add(&path.child("terminationGracePeriodSeconds"), why);
        }
        self.affinity(spec, &path.child("affinity"));
        self.addresses(spec, &path);
    }

    fn placement(&mut self, spec: &Value, path: &Path) {
        let selector = path.child("nodeSelector");
        for (key, _) in entries(spec, "nodeSelector") {
            if let Some(why) = old_node_label(key) {
                self.add(&selector.key(key), why);
            }
        }
        let affinity = path.child("affinity.nodeAffinity");
        let required = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
        let terms = list(spec, &format!("affinity.nodeAffinity.{required}"));
        for (index, term) in terms.iter().enumerate() {
            self.node_term(term, &affinity.child(required).index(index), false);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        let terms = list(spec, &format!("affinity.nodeAffinity.{preferred}"));
        for (index, term) in terms.iter().enumerate() {
            if let Some(term) = at(term, "preference") {
                let here = affinity.child(preferred);
                self.node_term(term, &here.index(index).child("preference"), true);
            }
        }
        let constraints = path.child("topologySpreadConstraints");
        for (index, it) in list(spec, "topologySpreadConstraints").iter().enumerate() {
            let (here, key) = (constraints.index(index), text(it, "topologyKey"));
            if let Some(why) = old_node_label(key) {
                self.add(&here.child("topologyKey"), &format!("{key} is {why}"));
            }
            self.no_selector(it, &here);
        }
    }

    fn node_term(&mut self, term: &Value, path: &Path, check_values: bool) {
        let path = path.child("matchExpressions");
        for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
            let (here, key) = (path.index(index), text(expression, "key"));
            if let Some(why) = old_node_label(key) {
                self.add(&here.child("key"), &format!("{key} is {why}"));
            }
            let values = list(expression, "values").iter().enumerate().filter(|_| check_values);
            for (index, value) in values {
                let value = value.as_str().unwrap_or("");
                for why in names::label_value(value) {
                    let here = here.child("values");
                    self.add(&here.index(index), &format!("{value} is invalid, {why}"));
                }
            }
        }
    }

    fn no_selector(&mut self, term: &Value, path: &Path) {
        if at(term, "labelSelector").is_none() {
            let why = "a null labelSelector results in matching no pod";
            self.add(&path.child("labelSelector"), why);
        }
    }

    fn affinity(&mut self, spec: &Value, path: &Path) {
        for type_ in ["podAffinity", "podAntiAffinity"] {
            let here = path.child(type_);
            let terms = |which: &str| list(spec, &format!("affinity.{type_}.{which}")).iter();
            let which = "requiredDuringSchedulingIgnoredDuringExecution";
            for (index, term) in terms(which).enumerate() {
                self.no_selector(term, &here.child(which).index(index));
            }
            let which = "preferredDuringSchedulingIgnoredDuringExecution";
            for (index, weighted) in terms(which).enumerate() {
                let term = at(weighted, "podAffinityTerm").unwrap_or(&Value::Null);
                let here = here.child(which);
                self.no_selector(term, &here.index(index).child("podAffinityTerm"));
            }
        }
    }

    fn volumes(&mut self, spec: &Value, path: &Path) {
        for (index, volume) in list(spec, "volumes").iter().enumerate() {
            let here = path.index(index);
            for (type_, why) in OLD_VOLUMES {
                if at(volume, type_).is_some() {
                    self.add(&here.child(type_), why);
                }
            }
            if let Some(claim) = at(volume, "ephemeral.volumeClaimTemplate.spec") {
                let here = here.child("ephemeral.volumeClaimTemplate.spec");
                self.fraction(claim, "resources.requests", "storage", &here);
            }
        }
    }

    /// A field by which the elements of a list should differ.
    fn repeated(&mut self, spec: &Value, field: &'static str, key: &'static str, path: &Path) {
        let (mut seen, path) = (HashSet::new(), path.child(field));
        for (index, item) in list(spec, field).iter().enumerate() {
            let name = text(item, key);
            if !seen.insert(name) {
                let why = format!("duplicate {key} {name:?}");
                self.add(&path.index(index).child(key), &why);
            }
        }
    }

    /// An amount of bytes that is no whole number.
    fn fraction(&mut self, value: &Value, set: &'static str, name: &str, path: &Path) {
        let amount = at(value, set).and_then(|set| set.get(name)).and_then(Value::as_str);
        let parsed = amount.and_then(|amount| Quantity::parse(amount).ok());
        let whole = |amount: &Quantity| Quantity::new(amount.value(), amount.format()) == *amount;
        if let Some(amount) = parsed.filter(|amount| !whole(amount)) {
            let amount = amount.to_string();
            let why = format!("fractional byte value {amount:?} is invalid, must be an integer");
            self.add(&path.child(set).key(name), &why);
        }
    }

    fn container(&mut self, container: &Value, path: &Path, annotations: &Value, notes: &Path) {
        let old = [
            ("container.seccomp.security.alpha.kubernetes.io/", "seccompProfile", SECCOMP),
            ("container.apparmor.security.beta.kubernetes.io/", "appArmorProfile", APP_ARMOR),
        ];
        for (prefix, field, why) in old {
            let key = format!("{prefix}{}", text(container, "name"));
            let has_field = at(container, &format!("securityContext.{field}")).is_some();
            if !has_field && annotations.get(&key).is_some() {
                self.add(&notes.key(&key), why);
            }
        }
        for name in BYTES {
            for set in ["resources.limits", "resources.requests"] {
                self.fraction(container, set, name, path);
            }
        }
        let (mut seen, path) = (HashSet::new(), path.child("env"));
        for (index, variable) in list(container, "env").iter().enumerate() {
            let (name, value) = (text(variable, "name"), text(variable, "value"));
            let reference = format!("$({name})");
            let builds_on_it = at(variable, "valueFrom").is_none()
                && value != reference
                && value.contains(&reference);
            if !seen.insert(name) && !builds_on_it {
                let why = "which may be dropped when using apply";
                let why = format!("hides previous definition of {name:?}, {why}");
                self.add(&path.index(index), &why);
            }
        }
    }

    fn ports(&mut self, spec: &Value, path: &Path) {
        let mut taken: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        let mut about_names = Warnings::default();
        visit(spec, path, &mut |container, here| {
            let here = here.child("ports");
            for (index, port) in list(container, "ports").iter().enumerate() {
                let here = here.index(index);
                let (host, ip) = (int(port, "hostPort").unwrap_or(0), text(port, "hostIP"));
                if !ip.is_empty() && host == 0 {
                    let shown = go_port(port);
                    self.add(&here, &format!("hostIP set without hostPort: {shown}"));
                }
                let number = int(port, "containerPort").unwrap_or(0);
                let same = taken.entry(format!("{number}/{}", text(port, "protocol"))).or_default();
                for (other_path, other) in same.iter() {
                    if let Some(how) = clash(port, other) {
                        self.add(&here, &format!("{how} port definition with {other_path}"));
                    }
                }
                same.push((here.to_string(), port.clone()));
                let name = text(port, "name");
                match named.get(name) {
                    _ if name.is_empty() => {}
                    None => drop(named.insert(name.to_owned(), here.to_string())),
                    Some(first) => {
                        let why = format!(
                            "duplicate port name {name:?} with {first}, services and probes that \
                             select ports by name will use {first}"
                        );
                        about_names.add(&here, &why);
                    }
                }
            }
        });
        self.0.append(&mut about_names.0);
    }

    fn addresses(&mut self, spec: &Value, path: &Path) {
        let servers = path.child("dnsConfig.nameservers");
        for (index, server) in list(spec, "dnsConfig.nameservers").iter().enumerate() {
            let here = servers.index(index).to_string();
            self.0.extend(ip::warnings(&here, server.as_str().unwrap_or("")));
        }
        let aliases = path.child("hostAliases");
        for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
            let here = aliases.index(index);
            self.0.extend(ip::warnings(&here.child("ip").to_string(), text(alias, "ip")));
        }
    }
}

/// What is said of such a label.
pub fn old_node_label(key: &str) -> Option<&'static str> {
    OLD_NODE_LABELS.iter().find(|(old, _)| *old == key).map(|(_, why)| *why)
}

/// How two definitions of one container port stand to each other, where that is odd.
fn clash(port: &Value, other: &Value) -> Option<&'static str> {
    let host = |port| int(port, "hostPort").unwrap_or(0);
    let ip = |port| text(port, "hostIP");
    if (host(port), ip(port)) == (host(other), ip(other)) {
        return Some("duplicate");
    }
    if host(port) == 0 || host(other) == 0 {
        return Some("overlapping");
    }
    let one_open = ip(port).is_empty() != ip(other).is_empty();
    (host(port) == host(other) && one_open).then_some("dangerously ambiguous")
}

/// A port as Go prints it.
fn go_port(port: &Value) -> String {
    let number = |field| int(port, field).unwrap_or(0);
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        text(port, "name"),
        number("hostPort"),
        number("containerPort"),
        text(port, "protocol"),
        text(port, "hostIP")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use skiff_json::json;

    #[test]
    fn what_is_odd_about_a_pod_is_said_when_it_is_made() {
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "x"}, {"name": "x"}],
            "containers": [{"name": "c",
                "resources": {"limits": {"memory": "100m"}},
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"},
                        {"name": "A", "value": "3"}],
                "ports": [{"containerPort": 80, "protocol": "TCP", "name": "a"},
                          {"containerPort": 80, "protocol": "TCP", "hostPort": 1, "name": "a"},
                          {"containerPort": 81, "protocol": "TCP", "hostIP": "1.2.3.4"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "m",
                "items": [{"path": "a"}, {"path": "a/b"}]}}],
        });
        let pod = Object::new(json!({"metadata": {"name": "a.b"}, "spec": spec}));
        expect![[r#"
            metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
            spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
            volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"
            spec.imagePullSecrets[1].name: duplicate name "x"
            spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer
            spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply
            spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]
            spec.containers[0].ports[2]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:1.2.3.4}
            spec.containers[0].ports[1]: duplicate port name "a" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]"#]]
        .assert_eq(&super::pod(&pod, None).join("\n"));
        assert!(super::pod(&pod, Some(&pod)).is_empty());
        let set = json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"}}}}});
        let set = Object::new(set);
        assert!(workload(&set, None)[0].starts_with("spec.template.spec.nodeSelector[beta."));
        assert!(workload(&set, Some(&set)).is_empty());
    }
}
