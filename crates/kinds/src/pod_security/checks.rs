//! The checks of the Pod Security Standards, each with the versions of Kubernetes that know it.
//!
//! The table is in the order in which refusals name them. A check says what it found; it never decides who is asked.

use super::{Level, Pod, volumes};
use skiff_api::object::{at, text, texts};
use skiff_json::Value;
use std::collections::BTreeSet;

/// A reason, and where the pod gives it.
pub(super) type Found = Option<(String, String)>;

struct Check {
    level: Level,
    /// The first minor version that has it, and the first that has not.
    minors: (u64, u64),
    /// From this minor version on, `restricted` has a stricter one of its own.
    replaced: u64,
    find: fn(Pod, u64) -> Found,
}

const EVER: u64 = u64::MAX;

const fn baseline(minors: (u64, u64), replaced: u64, find: fn(Pod, u64) -> Found) -> Check {
    Check { level: Level::Baseline, minors, replaced, find }
}

const fn restricted(since: u64, find: fn(Pod, u64) -> Found) -> Check {
    Check { level: Level::Restricted, minors: (since, EVER), replaced: EVER, find }
}

const CHECKS: [Check; 20] = [
    baseline((0, EVER), EVER, app_armor),
    baseline((0, EVER), 22, capabilities),
    baseline((0, EVER), EVER, host_namespaces),
    baseline((0, EVER), 0, volumes::host_path),
    baseline((0, EVER), EVER, host_ports),
    baseline((34, EVER), EVER, probe_hosts),
    baseline((0, EVER), EVER, privileged),
    baseline((0, EVER), 35, proc_mount_outside_users),
    baseline((0, EVER), EVER, selinux),
    baseline((0, 19), EVER, seccomp_annotations),
    baseline((19, EVER), 19, seccomp),
    baseline((0, EVER), EVER, sysctls),
    baseline((0, EVER), EVER, host_process),
    restricted(8, escalation),
    restricted(22, dropped_capabilities),
    restricted(35, proc_mount),
    restricted(0, volumes::restricted),
    restricted(0, non_root),
    restricted(23, user),
    restricted(19, required_seccomp),
];

/// What the checks of a level and version find.
pub(super) fn run(pod: Pod, level: Level, minor: u64) -> Vec<(String, String)> {
    // `latest` is above every version, and `EVER` ends none.
    let known = |it: &&Check| it.minors.0 <= minor && (minor < it.minors.1 || it.minors.1 == EVER);
    let counts = |it: &&Check| {
        it.level <= level
            && (level < Level::Restricted || minor < it.replaced || it.replaced == EVER)
    };
    let checks = CHECKS.iter().filter(known).filter(counts);
    checks.filter_map(|check| (check.find)(pod, minor)).collect()
}

impl<'a> Pod<'a> {
    fn at(self, path: &str) -> Option<&'a Value> {
        at(self.value, path)
    }

    pub(super) fn list(self, path: &str) -> &'a [Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.at("metadata.annotations").and_then(Value::as_object).into_iter().flat_map(texts)
    }

    /// All containers, in the order in which refusals name them.
    fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];
        lists.into_iter().flat_map(move |path| self.list(path))
    }

    /// The names of the containers that are `bad`.
    fn bad(self, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|it| bad(it)).map(|it| text(it, "name")).collect()
    }

    /// The values of a field of the security contexts: the pod's, and those of the containers.
    fn secured(self, field: &str) -> (Option<&'a Value>, Vec<(&'a str, &'a Value)>) {
        let path = format!("securityContext.{field}");
        let own = self.containers().filter_map(|it| Some((text(it, "name"), at(it, &path)?)));
        (at(self.value, &format!("spec.{path}")), own.collect())
    }

    fn runs_windows(self) -> bool {
        self.at("spec.os.name").and_then(Value::as_str) == Some("windows")
    }

    /// It has a user namespace, and `minor` knows how little root is in there (KEP-127).
    fn has_own_users(self, minor: u64) -> bool {
        minor >= 35 && self.at("spec.hostUsers") == Some(&Value::Bool(false))
    }
}

fn texts_at<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a str> {
    at(value, path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is(value: &Value, path: &str, wanted: bool) -> bool {
    at(value, path) == Some(&Value::Bool(wanted))
}

/// `a`, `b`, each in quotes.
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> String {
    names.into_iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn named(word: &str, names: &[&str]) -> String {
    format!("{} {}", plural(word, names.len()), quoted(names))
}

/// Who sets something: the pod, some containers, or both; nobody is `None`.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let own = (!containers.is_empty()).then(|| named("container", containers));
    match (pod, own) {
        (true, Some(own)) => Some(format!("pod and {own}")),
        (true, None) => Some("pod".to_owned()),
        (false, own) => own,
    }
}

fn found(reason: &str, detail: String) -> Found {
    Some((reason.to_owned(), detail))
}

/// A reason against containers, whose names begin the detail; nothing when there are none.
fn against(reason: &str, bad: &[&str], detail: &str) -> Found {
    (!bad.is_empty()).then(|| (reason.to_owned(), format!("{} {detail}", named("container", bad))))
}

fn app_armor(pod: Pod, _: u64) -> Found {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let (own, containers) = pod.secured("appArmorProfile");
    let (setters, values) = profiles(own, &containers);
    let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    let mut setters: Vec<String> = setters.into_iter().collect();
    let allowed =
        |it: &str| it.is_empty() || it == "runtime/default" || it.starts_with("localhost/");
    let annotations = pod.annotations().filter(|(key, it)| key.starts_with(PREFIX) && !allowed(it));
    let annotations: BTreeSet<String> =
        annotations.map(|(key, value)| format!("{key}={value:?}")).collect();
    if !annotations.is_empty() {
        setters.push(plural("annotation", annotations.len()));
        values.extend(annotations);
    }
    if setters.is_empty() {
        return None;
    }
    let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    let (who, what) = (setters.join(" and "), quoted.join(", "));
    let detail = format!("{who} must not set AppArmor profile type to {what}");
    Some((plural("forbidden AppArmor profile", values.len()), detail))
}

/// Who sets a profile that the runtime does not confine by, and which.
fn profiles<'a>(
    own: Option<&'a Value>,
    containers: &[(&'a str, &'a Value)],
) -> (Option<String>, BTreeSet<&'a str>) {
    let bad = |profile: &&Value| !["RuntimeDefault", "Localhost"].contains(&text(profile, "type"));
    let pod = own.filter(bad);
    let bad: Vec<_> = containers.iter().filter(|(_, profile)| bad(profile)).collect();
    let values = bad.iter().map(|(_, profile)| text(profile, "type"));
    let values = values.chain(pod.map(|it| text(it, "type"))).collect();
    (setters(pod.is_some(), &bad.iter().map(|(name, _)| *name).collect::<Vec<_>>()), values)
}

fn capabilities(pod: Pod, _: u64) -> Found {
    /// What containers have by default.
    const DEFAULT: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (bad, added) = adding(pod, &DEFAULT);
    let detail = format!("must not include {} in securityContext.capabilities.add", quoted(&added));
    against("non-default capabilities", &bad, &detail)
}

/// The containers that add other capabilities than these, and which.
fn adding<'a>(pod: Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut added = BTreeSet::new();
    let bad = pod.bad(|it| {
        let add = texts_at(it, "securityContext.capabilities.add");
        let more: Vec<&str> = add.filter(|it| !allowed.contains(it)).collect();
        added.extend(&more);
        !more.is_empty()
    });
    (bad, added)
}

fn host_namespaces(pod: Pod, _: u64) -> Found {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let set = fields.iter().filter(|field| is(pod.value, &format!("spec.{field}"), true));
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    (!set.is_empty()).then(|| ("host namespaces".into(), set.join(", ")))
}

fn host_ports(pod: Pod, _: u64) -> Found {
    let mut ports = BTreeSet::new();
    let bad = pod.bad(|it| {
        let all = at(it, "ports").and_then(Value::as_array).into_iter().flatten();
        let host = all.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0);
        let before: Vec<String> = host.map(|port| port.to_string()).collect();
        ports.extend(before.iter().cloned());
        !before.is_empty()
    });
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    let list = ports.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    against("hostPort", &bad, &format!("{uses} {} {list}", plural("hostPort", ports.len())))
}

/// A probe with a host of its own makes the node ask others in its name (KEP-4940).
fn probe_hosts(pod: Pod, _: u64) -> Found {
    const PLACES: [&str; 5] = [
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle.postStart",
        "lifecycle.preStop",
    ];
    let mut hosts = BTreeSet::new();
    let bad = pod.bad(|it| {
        let of = |place| ["httpGet", "tcpSocket"].map(|how| format!("{place}.{how}.host"));
        let named = PLACES.into_iter().flat_map(of).map(|path| text(it, &path));
        let named: Vec<&str> = named.filter(|host| !host.is_empty()).collect();
        hosts.extend(&named);
        !named.is_empty()
    });
    let bad: Vec<&str> = bad.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    let what = plural("probe or lifecycle host", hosts.len());
    against("probe or lifecycle host", &bad, &format!("{uses} {what} {}", quoted(&hosts)))
}

fn privileged(pod: Pod, _: u64) -> Found {
    let bad = pod.bad(|it| is(it, "securityContext.privileged", true));
    against("privileged", &bad, "must not set securityContext.privileged=true")
}

fn proc_mount(pod: Pod, _: u64) -> Found {
    let mut mounts = BTreeSet::new();
    let bad = pod.bad(|it| {
        let mount = text(it, "securityContext.procMount");
        let other = !mount.is_empty() && mount != "Default";
        mounts.extend(other.then_some(mount));
        other
    });
    let detail = format!("must not set securityContext.procMount to {}", quoted(&mounts));
    against("procMount", &bad, &detail)
}

fn proc_mount_outside_users(pod: Pod, minor: u64) -> Found {
    if pod.has_own_users(minor) { None } else { proc_mount(pod, minor) }
}

fn selinux(pod: Pod, minor: u64) -> Found {
    const TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];
    let allowed = |it: &&str| TYPES.contains(it) || (minor >= 31 && *it == "container_engine_t");
    let fine = |it: &Value| {
        allowed(&text(it, "type")) && text(it, "user").is_empty() && text(it, "role").is_empty()
    };
    let (own, containers) = pod.secured("seLinuxOptions");
    let own = own.filter(|it| !fine(it));
    let bad: Vec<_> = containers.into_iter().filter(|(_, it)| !fine(it)).collect();
    let who = setters(own.is_some(), &bad.iter().map(|(name, _)| *name).collect::<Vec<_>>())?;
    let options: Vec<&Value> = own.into_iter().chain(bad.iter().map(|(_, it)| *it)).collect();
    let types: BTreeSet<&str> =
        options.iter().map(|it| text(it, "type")).filter(|it| !allowed(it)).collect();
    let mut wrong = Vec::new();
    if !types.is_empty() {
        wrong.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    for field in ["user", "role"] {
        if options.iter().any(|it| !text(it, field).is_empty()) {
            wrong.push(format!("{field} may not be set"));
        }
    }
    let what = wrong.join("; ");
    found("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
}

/// Before there were fields for it.
fn seccomp_annotations(pod: Pod, _: u64) -> Found {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let fine = |it: &str| {
        ["runtime/default", "docker/default"].contains(&it) || it.starts_with("localhost/")
    };
    let counts = |key: &str| {
        let container = key.strip_prefix(CONTAINER);
        key == POD || pod.containers().any(|it| container == Some(text(it, "name")))
    };
    let bad = pod.annotations().filter(|(key, value)| counts(key) && !fine(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    if bad.is_empty() {
        return None;
    }
    let list: Vec<&str> = bad.iter().map(String::as_str).collect();
    let what = plural("annotation", bad.len());
    found("seccompProfile", format!("forbidden {what} {}", list.join(", ")))
}

fn seccomp(pod: Pod, _: u64) -> Found {
    let (own, containers) = pod.secured("seccompProfile");
    let (who, values) = profiles(own, &containers);
    let what = quoted(&values);
    let detail = format!("{} must not set securityContext.seccompProfile.type to {what}", who?);
    found("seccompProfile", detail)
}

/// The safe ones, with the minor version since which they are.
const SYSCTLS: [(&str, u64); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

fn sysctls(pod: Pod, minor: u64) -> Found {
    let safe = |it: &&str| SYSCTLS.iter().any(|(name, since)| name == it && *since <= minor);
    let set = pod.list("spec.securityContext.sysctls").iter().map(|it| text(it, "name"));
    let bad: Vec<&str> = set.filter(|it| !safe(it)).collect();
    (!bad.is_empty()).then(|| ("forbidden sysctls".into(), bad.join(", ")))
}

fn host_process(pod: Pod, _: u64) -> Found {
    const FIELD: &str = "securityContext.windowsOptions.hostProcess";
    let own = is(pod.value, &format!("spec.{FIELD}"), true);
    let who = setters(own, &pod.bad(|it| is(it, FIELD, true)))?;
    found("hostProcess", format!("{who} must not set {FIELD}=true"))
}

fn escalation(pod: Pod, minor: u64) -> Found {
    if minor >= 25 && pod.runs_windows() {
        return None;
    }
    let bad = pod.bad(|it| !is(it, "securityContext.allowPrivilegeEscalation", false));
    let detail = "must set securityContext.allowPrivilegeEscalation=false";
    against("allowPrivilegeEscalation != false", &bad, detail)
}

fn dropped_capabilities(pod: Pod, minor: u64) -> Found {
    if minor >= 25 && pod.runs_windows() {
        return None;
    }
    let kept =
        pod.bad(|it| !texts_at(it, "securityContext.capabilities.drop").any(|it| it == "ALL"));
    let (adders, added) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !kept.is_empty() {
        let who = named("container", &kept);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adders.is_empty() {
        let (who, what) = (named("container", &adders), quoted(&added));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| ("unrestricted capabilities".into(), details.join("; ")))
}

fn non_root(pod: Pod, minor: u64) -> Found {
    const REASON: &str = "runAsNonRoot != true";
    if pod.has_own_users(minor) {
        return None;
    }
    let own = at(pod.value, "spec.securityContext.runAsNonRoot").and_then(Value::as_bool);
    let said = pod.bad(|it| is(it, "securityContext.runAsNonRoot", false));
    if let Some(who) = setters(own == Some(false), &said) {
        return found(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.bad(|it| own.is_none() && at(it, "securityContext.runAsNonRoot").is_none());
    (!silent.is_empty()).then(|| {
        let who = named("container", &silent);
        (REASON.into(), format!("pod or {who} must set securityContext.runAsNonRoot=true"))
    })
}

fn user(pod: Pod, minor: u64) -> Found {
    if pod.has_own_users(minor) {
        return None;
    }
    let root = |value: &Value, path| at(value, path).and_then(Value::as_i64) == Some(0);
    let own = root(pod.value, "spec.securityContext.runAsUser");
    let who = setters(own, &pod.bad(|it| root(it, "securityContext.runAsUser")))?;
    found("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn required_seccomp(pod: Pod, minor: u64) -> Found {
    if minor >= 25 && pod.runs_windows() {
        return None;
    }
    if let Some(bad) = seccomp(pod, minor) {
        return Some(bad);
    }
    let own = at(pod.value, "spec.securityContext.seccompProfile").is_some();
    let silent = pod.bad(|it| !own && at(it, "securityContext.seccompProfile").is_none());
    let wanted =
        "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    (!silent.is_empty()).then(|| {
        let who = named("container", &silent);
        ("seccompProfile".into(), format!("pod or {who} {wanted}"))
    })
}
