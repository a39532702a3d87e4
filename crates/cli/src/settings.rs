//! Settings: one table says what can be set; flags, environment, files, help and completion are read off it.
//!
//! A setting is a word (`listen`). It is given as a flag (`--listen X`), in the environment (`SKIFF_LISTEN=X`), or in a
//! file (`listen: X`); flags win over the environment, that over what an earlier `skiff up` of this cluster was told by
//! flags, that over the file, and the default comes last. What a cluster stands on (`FIXED`) is kept from its first
//! start. A file with a word that is not in the table is refused, as is a value that cannot be.
//! Nothing here decides what a setting does: the last column says who does.

mod file;
mod value;
mod who;

pub use file::{read_file, text};
pub use who::Who;

use value::Shape;

use anyhow::{Result, bail};
use skiff_base::Cidr;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// One row of the table.
pub struct Setting {
    pub name: &'static str,
    shape: Shape,
    /// Empty: the doc says what happens then.
    pub default: &'static str,
    pub doc: &'static str,
    pub used_by: &'static str,
}

/// How requests and the events about them hang together; the first is the default.
const MODES: &[&str] = &["batch", "blocking", "blocking-strict"];

/// A row of those about the audit log, which are called as upstream's flags are.
const fn for_audit(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, shape, default, doc, used_by: "server" }
}

/// Everything that can be set.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "advertise",
        shape: Shape::Address,
        default: "",
        doc: "The address at which pods and other machines reach the API [default: that of the default route]",
        used_by: "server certificate, `kubernetes` Service, node",
    },
    Setting {
        name: "allow-local-webhooks",
        shape: Shape::Switch,
        default: "false",
        doc: "Webhooks may be at loopback and link-local addresses of this machine, and at the API's own",
        used_by: "server",
    },
    Setting {
        name: "allowed-unsafe-sysctls",
        shape: Shape::Sysctls,
        default: "",
        doc: "A sysctl that pods may set beside the safe ones, at your own risk: kernel.msgmax, net.core.* \
              (may be repeated)",
        used_by: "node",
    },
    Setting {
        name: "anonymous-auth",
        shape: Shape::Switch,
        default: "true",
        doc: "Whether callers who say nothing about themselves are let in as system:anonymous: true or false",
        used_by: "server",
    },
    Setting {
        name: "api-audiences",
        shape: Shape::Text,
        default: "",
        doc: "What means this API in tokens (may be repeated) [default: the issuers of service account \
              tokens]",
        used_by: "server",
    },
    for_audit(
        "audit-log-batch-buffer-size",
        Shape::Count,
        "10000",
        "How many events may wait for the file before more are lost",
    ),
    for_audit(
        "audit-log-compress",
        Shape::Switch,
        "false",
        "Whether the backups of the file are zipped: true or false",
    ),
    for_audit(
        "audit-log-format",
        Shape::OneOf(&["json", "legacy"]),
        "json",
        "How events are written: json, or a line of text that says less (legacy)",
    ),
    for_audit(
        "audit-log-maxage",
        Shape::Count,
        "366",
        "How many days a backup of the file is kept; 0: for ever",
    ),
    for_audit(
        "audit-log-maxbackup",
        Shape::Count,
        "100",
        "How many backups of the file are kept; 0: all",
    ),
    for_audit(
        "audit-log-maxsize",
        Shape::Count,
        "100",
        "How many megabytes the file may have before it becomes a backup; 0: any",
    ),
    for_audit(
        "audit-log-mode",
        Shape::OneOf(MODES),
        "batch",
        "Whether requests wait until their events are in the file: batch, blocking, or \
         blocking-strict, which refuses those that cannot be told of",
    ),
    for_audit(
        "audit-log-path",
        Shape::File,
        "",
        "The file to which events are written; it and its backups are for its owner alone",
    ),
    for_audit(
        "audit-log-truncate-enabled",
        Shape::Switch,
        "false",
        "Whether events that are too large lose their bodies: true or false",
    ),
    for_audit(
        "audit-log-truncate-max-event-size",
        Shape::Count,
        "102400",
        "How many bytes an event may have then",
    ),
    for_audit(
        "audit-policy-file",
        Shape::File,
        "",
        "The policy (audit.k8s.io/v1) that says which requests are told to the audit log, and how \
     much; without one, none is",
    ),
    for_audit(
        "audit-webhook-batch-buffer-size",
        Shape::Count,
        "10000",
        "How many events may wait for the server before more are lost",
    ),
    for_audit(
        "audit-webhook-batch-max-size",
        Shape::Count,
        "400",
        "How many events are sent at once",
    ),
    for_audit(
        "audit-webhook-batch-max-wait",
        Shape::Duration,
        "30s",
        "How long an event waits for others to be sent with",
    ),
    for_audit(
        "audit-webhook-batch-throttle-burst",
        Shape::Count,
        "15",
        "How many lists may be sent at once after a rest",
    ),
    for_audit(
        "audit-webhook-batch-throttle-enable",
        Shape::Switch,
        "true",
        "Whether lists are sent at a limited rate: true or false",
    ),
    for_audit(
        "audit-webhook-batch-throttle-qps",
        Shape::Count,
        "10",
        "How many lists are sent in a second",
    ),
    for_audit(
        "audit-webhook-config-file",
        Shape::File,
        "",
        "A kubeconfig of the server to which events are sent",
    ),
    for_audit(
        "audit-webhook-initial-backoff",
        Shape::Duration,
        "10s",
        "How long the first pause is after the server did not take a list",
    ),
    for_audit(
        "audit-webhook-mode",
        Shape::OneOf(MODES),
        "batch",
        "As audit-log-mode, for the server",
    ),
    for_audit(
        "audit-webhook-truncate-enabled",
        Shape::Switch,
        "false",
        "As audit-log-truncate-enabled, for the server",
    ),
    for_audit(
        "audit-webhook-truncate-max-batch-size",
        Shape::Count,
        "10485760",
        "How many bytes a list may have then",
    ),
    for_audit(
        "audit-webhook-truncate-max-event-size",
        Shape::Count,
        "102400",
        "How many bytes an event may have then",
    ),
    Setting {
        name: "authentication-config",
        shape: Shape::File,
        default: "",
        doc: "An AuthenticationConfiguration: issuers of tokens (OIDC) and what anonymous callers may see; \
              read again when it changes",
        used_by: "server",
    },
    Setting {
        name: "authentication-token-webhook-cache-ttl",
        shape: Shape::Duration,
        default: "2m",
        doc: "How long answers of the webhook about tokens are believed: 2m, 30s",
        used_by: "server",
    },
    Setting {
        name: "authentication-token-webhook-config-file",
        shape: Shape::File,
        default: "",
        doc: "A kubeconfig of the webhook that is asked about tokens nobody else knows (TokenReview v1)",
        used_by: "server",
    },
    Setting {
        name: "authorization-config",
        shape: Shape::File,
        default: "",
        doc: "An AuthorizationConfiguration: who is asked whether a user may do something, in which order; \
              read again when it changes",
        used_by: "server",
    },
    Setting {
        name: "cgroup",
        shape: Shape::Cgroup,
        default: "skiff",
        doc: "The cgroup that holds everything of the cluster, below the root of each hierarchy; \
              further profiles: with -NAME behind it",
        used_by: "runtime",
    },
    Setting {
        name: "cluster-domain",
        shape: Shape::Name,
        default: "cluster.local",
        doc: "The domain of the cluster's DNS",
        used_by: "dns, node",
    },
    Setting {
        name: "cluster-signing-duration",
        shape: Shape::Duration,
        default: "8760h",
        doc: "How long certificates live at most that nodes ask for: 8760h, 1h30m",
        used_by: "server",
    },
    Setting {
        name: "data",
        shape: Shape::Folder,
        default: "/var/lib/skiff",
        doc: "The folder that holds everything of the cluster; further profiles: with -NAME behind it",
        used_by: "everything",
    },
    Setting {
        name: "deny-service-external-ips",
        shape: Shape::Switch,
        default: "false",
        doc: "Whether new externalIPs of Services are refused (upstream's DenyServiceExternalIPs): true or false",
        used_by: "server",
    },
    Setting {
        name: "encryption-config",
        shape: Shape::File,
        default: "",
        doc: "An EncryptionConfiguration (apiserver.config.k8s.io/v1) that says what is encrypted on the disk, and \
              with which keys; only its owner may read it, and a change counts at once",
        used_by: "server",
    },
    Setting {
        name: "insecure-registry",
        shape: Shape::Registry,
        default: "",
        doc: "A registry that is asked over plain HTTP, without credentials: 192.0.2.7:5000 (may be repeated; \
              those on loopback are anyway)",
        used_by: "node, image",
    },
    Setting {
        name: "listen",
        shape: Shape::Socket,
        default: "0.0.0.0:6443",
        doc: "The address and port that the API listens on",
        used_by: "server",
    },
    Setting {
        name: "log-level",
        shape: Shape::Level,
        default: "info",
        doc: "What the daemon logs: error, warn, info, debug, trace, or by part (info,skiff_node=debug)",
        used_by: "daemon",
    },
    Setting {
        name: "node",
        shape: Shape::Name,
        default: "",
        doc: "The name of this machine's node [default: the host name]",
        used_by: "node, server certificate",
    },
    Setting {
        name: "pod-cidr",
        shape: Shape::Ranges,
        default: "10.244.0.0/16",
        doc: "The range of pod addresses; each node gets a /24 of it",
        used_by: "net, node",
    },
    Setting {
        name: "pod-security-default",
        shape: Shape::Standard,
        default: "",
        doc: "What counts in namespaces without a Pod Security label for it: enforce=baseline, \
              warn=restricted:v1.30 (may be repeated)",
        used_by: "server",
    },
    Setting {
        name: "pod-security-exempt",
        shape: Shape::Exemption,
        default: "",
        doc: "Whom Pod Security asks nothing of: namespace=kube-system, user=NAME, runtime-class=NAME \
              (may be repeated)",
        used_by: "server",
    },
    Setting {
        name: "registry-mirror",
        shape: Shape::Mirrors,
        default: "",
        doc: "Where to ask first for the images of a registry: registry.k8s.io=http://127.0.0.1:5000 \
              (may be repeated; * is every registry)",
        used_by: "node, image",
    },
    Setting {
        name: "secrets-encryption",
        shape: Shape::Switch,
        default: "false",
        doc: "Whether secrets are encrypted on the disk with keys that Skiff makes itself: true or false",
        used_by: "server",
    },
    Setting {
        name: "service-account-issuer",
        shape: Shape::Url,
        default: "",
        doc: "Who issues tokens of service accounts; the first issues, all are believed (may be repeated) \
              [default: https://kubernetes.default.svc.cluster.local]",
        used_by: "server",
    },
    Setting {
        name: "service-account-jwks-uri",
        shape: Shape::Url,
        default: "",
        doc: "Where the discovery document says that the keys of tokens are [default: this API]",
        used_by: "server",
    },
    Setting {
        name: "service-account-key-file",
        shape: Shape::File,
        default: "",
        doc: "Public keys (PEM) that signed tokens of service accounts elsewhere (may be repeated)",
        used_by: "server",
    },
    Setting {
        name: "service-cidr",
        shape: Shape::Ranges,
        default: "10.96.0.0/16",
        doc: "The range of service addresses; the first is the API's, the tenth the cluster DNS's",
        used_by: "server, net, dns",
    },
];

/// Settings that a cluster keeps from its first start: addresses, names and certificates stand on them.
pub const FIXED: [&str; 4] = ["cluster-domain", "node", "pod-cidr", "service-cidr"];

/// What the settings of the audit log begin with.
const AUDIT: &str = "audit-";

/// The bits that name a node's part of the pod range.
pub const NODE_BITS: u8 = 24;

/// The profile that is the host itself.
pub const HOST_PROFILE: &str = "skiff";

/// What one cluster was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `skiff` is the host's; any other has a machine of its own.
    pub profile: String,
    pub advertise: Option<IpAddr>,
    pub allow_local_webhooks: bool,
    pub allowed_unsafe_sysctls: Vec<String>,
    /// All that begin with `audit-` and are not as they are without a word; [`Settings::audit`] knows the others.
    pub audit: BTreeMap<&'static str, String>,
    pub cgroup: String,
    pub cluster_domain: String,
    pub cluster_signing_duration: Duration,
    pub data: PathBuf,
    pub deny_service_external_ips: bool,
    pub encryption_config: Option<PathBuf>,
    pub insecure_registries: Vec<String>,
    pub listen: SocketAddr,
    pub log_level: String,
    pub node: String,
    pub pod_cidrs: Vec<Cidr>,
    /// As `pod_security::Policy::set` reads them.
    pub pod_security_defaults: Vec<String>,
    /// As `pod_security::Exemptions::add` reads them.
    pub pod_security_exemptions: Vec<String>,
    /// Registry and URL.
    pub registry_mirrors: Vec<(String, String)>,
    pub secrets_encryption: bool,
    pub service_cidrs: Vec<Cidr>,
    /// Who callers may be, and who says what they may.
    pub who: Who,
}

/// Values as they were written, by the setting's name.
pub type Written = BTreeMap<&'static str, Vec<String>>;

/// Where values come from, the strongest first.
#[derive(Debug, Default)]
pub struct Sources {
    pub flags: Written,
    pub environment: Written,
    pub remembered: Written,
    pub file: Written,
    /// The file's name, for people.
    pub file_path: PathBuf,
    /// What the cluster was made with, of [`FIXED`]: nothing beats it.
    pub made: Written,
}

impl Setting {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("SKIFF_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// What stands for the value in the help.
    pub fn placeholder(&self) -> &'static str {
        self.shape.placeholder()
    }

    pub fn repeats(&self) -> bool {
        let by_shape = matches!(
            self.shape,
            Shape::Mirrors
                | Shape::Registry
                | Shape::Standard
                | Shape::Exemption
                | Shape::Sysctls
                | Shape::Text
        );
        by_shape || ["service-account-issuer", "service-account-key-file"].contains(&self.name)
    }

    pub fn is_path(&self) -> bool {
        matches!(self.shape, Shape::Folder | Shape::File)
    }

    /// What is wrong with a value.
    pub fn check(&self, value: &str) -> Result<(), String> {
        self.shape.check(value)
    }
}

impl Settings {
    /// Puts the sources together for one profile.
    pub fn resolve(profile: &str, host_name: &str, sources: &Sources) -> Result<Settings> {
        let mut found = Written::new();
        for (_, layer) in sources.layers().iter().rev() {
            found.extend(layer.iter().map(|(name, values)| (*name, values.clone())));
        }
        for setting in SETTINGS {
            for value in found.get(setting.name).into_iter().flatten() {
                let wrong = setting.check(value);
                wrong.map_err(|why| anyhow::anyhow!("{} {value:?}: {why}", setting.name))?;
            }
        }
        let own_data = data_folder(profile, sources);
        let own_node = if profile == HOST_PROFILE { &value::as_name(host_name) } else { profile };
        let one = |name: &str| -> String {
            let default = SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
            found.get(name).and_then(|values| values.last()).map_or(default, |v| v).to_owned()
        };
        let many = |name: &str| found.get(name).cloned().unwrap_or_default();
        let named = |name: &str, otherwise: &str| match one(name) {
            text if text.is_empty() => otherwise.to_owned(),
            text => text,
        };
        let advertise = one("advertise");
        let settings = Settings {
            profile: profile.to_owned(),
            advertise: if advertise.is_empty() { None } else { Some(advertise.parse()?) },
            allow_local_webhooks: one("allow-local-webhooks") == "true",
            allowed_unsafe_sysctls: many("allowed-unsafe-sysctls"),
            audit: SETTINGS
                .iter()
                .filter(|setting| one(setting.name) != setting.default)
                .filter_map(|setting| Some((setting.name.strip_prefix(AUDIT)?, one(setting.name))))
                .collect(),
            cgroup: one("cgroup"),
            cluster_domain: one("cluster-domain"),
            cluster_signing_duration: value::duration(&one("cluster-signing-duration"))
                .map_err(anyhow::Error::msg)?,
            data: own_data,
            deny_service_external_ips: one("deny-service-external-ips") == "true",
            encryption_config: Some(one("encryption-config"))
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            insecure_registries: many("insecure-registry"),
            listen: one("listen").parse()?,
            log_level: one("log-level"),
            node: named("node", own_node),
            pod_cidrs: value::ranges(&one("pod-cidr")).map_err(anyhow::Error::msg)?,
            pod_security_defaults: many("pod-security-default"),
            pod_security_exemptions: many("pod-security-exempt"),
            registry_mirrors: many("registry-mirror")
                .iter()
                .filter_map(|text| text.split_once('='))
                .map(|(registry, url)| (registry.to_owned(), url.to_owned()))
                .collect(),
            secrets_encryption: one("secrets-encryption") == "true",
            service_cidrs: value::ranges(&one("service-cidr")).map_err(anyhow::Error::msg)?,
            who: Who::read(&one, &many)?,
        };
        settings.fit()
    }

    /// Refuses what fits each for itself, but not together.
    fn fit(self) -> Result<Settings> {
        for pods in &self.pod_cidrs {
            if let Some(services) = self.service_cidrs.iter().find(|it| it.overlaps(pods)) {
                bail!("pod-cidr {pods} and service-cidr {services} overlap");
            }
        }
        if let Some(range) = self.pod_cidrs.iter().find(|range| range.prefix() > NODE_BITS) {
            bail!("pod-cidr {range}: the node needs a /{NODE_BITS} of it");
        }
        if let Some(range) = self.service_cidrs.iter().find(|range| range.size() < 16) {
            bail!("service-cidr {range}: it has to hold 16 addresses or more");
        }
        if self.secrets_encryption && self.encryption_config.is_some() {
            bail!(
                "encryption-config and secrets-encryption: one of them says which keys there are"
            );
        }
        Ok(self)
    }

    /// A setting of the audit log, by its name without `audit-`.
    pub fn audit(&self, name: &str) -> &str {
        let default = || {
            let found = SETTINGS.iter().find(|it| it.name.strip_prefix(AUDIT) == Some(name));
            found.map_or("", |setting| setting.default)
        };
        self.audit.get(name).map_or_else(default, String::as_str)
    }

    /// What the cluster keeps, as it was written.
    pub fn fixed(&self) -> Written {
        let values = [
            self.cluster_domain.clone(),
            self.node.clone(),
            value::listed(&self.pod_cidrs),
            value::listed(&self.service_cidrs),
        ];
        FIXED.into_iter().zip(values.map(|value| vec![value])).collect()
    }

    /// The flags that say the same again, for the daemon.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--profile".to_owned(), self.profile.clone()];
        let mut flag = |name: &str, value: String| flags.extend([format!("--{name}"), value]);
        if let Some(address) = self.advertise {
            flag("advertise", address.to_string());
        }
        flag("allow-local-webhooks", self.allow_local_webhooks.to_string());
        for sysctl in &self.allowed_unsafe_sysctls {
            flag("allowed-unsafe-sysctls", sysctl.clone());
        }
        for (name, value) in &self.audit {
            flag(&format!("{AUDIT}{name}"), value.clone());
        }
        flag("cgroup", self.cgroup.clone());
        flag("cluster-domain", self.cluster_domain.clone());
        let signing = self.cluster_signing_duration.as_secs();
        flag("cluster-signing-duration", format!("{signing}s"));
        flag("data", self.data_flag().display().to_string());
        flag("deny-service-external-ips", self.deny_service_external_ips.to_string());
        if let Some(path) = &self.encryption_config {
            flag("encryption-config", path.display().to_string());
        }
        for registry in &self.insecure_registries {
            flag("insecure-registry", registry.clone());
        }
        flag("listen", self.listen.to_string());
        flag("log-level", self.log_level.clone());
        flag("node", self.node.clone());
        flag("pod-cidr", value::listed(&self.pod_cidrs));
        for text in &self.pod_security_defaults {
            flag("pod-security-default", text.clone());
        }
        for text in &self.pod_security_exemptions {
            flag("pod-security-exempt", text.clone());
        }
        for (registry, url) in &self.registry_mirrors {
            flag("registry-mirror", format!("{registry}={url}"));
        }
        flag("secrets-encryption", self.secrets_encryption.to_string());
        flag("service-cidr", value::listed(&self.service_cidrs));
        self.who.flags(&mut flag);
        flags
    }

    /// The data folder as a flag names it: without the profile's name.
    pub fn data_flag(&self) -> PathBuf {
        let data = self.data.display().to_string();
        let ending = format!("-{}", self.profile);
        let base = data.strip_suffix(&ending).filter(|_| !self.is_host());
        PathBuf::from(base.unwrap_or(&data))
    }

    /// The name of its context in a kubeconfig.
    pub fn context(&self) -> String {
        context(&self.profile)
    }

    pub fn is_host(&self) -> bool {
        self.profile == HOST_PROFILE
    }

    /// The cgroup of a profile's machine.
    pub fn machine_cgroup(&self) -> String {
        format!("{}-{}", self.cgroup, self.profile)
    }

    /// The cgroup of supervisor and pods. A machine's own processes are beside it.
    pub fn pods_cgroup(&self) -> String {
        if self.is_host() { self.cgroup.clone() } else { self.machine_cgroup() + "/pods" }
    }

    /// The range that the pods of a cluster's first node get.
    pub fn first_pods(&self) -> Cidr {
        let all = self.pod_cidrs[0];
        Cidr::new(all.base(), NODE_BITS).unwrap_or(all)
    }

    /// The address of the `kubernetes` Service.
    pub fn api_service(&self) -> IpAddr {
        self.service(1)
    }

    /// The address of the cluster DNS.
    pub fn dns_service(&self) -> IpAddr {
        self.service(10)
    }

    /// The address at this place of the first range, whose settings are checked to have it.
    fn service(&self, place: u64) -> IpAddr {
        let range = self.service_cidrs[0];
        range.nth(place).unwrap_or_else(|| range.last())
    }
}

/// `skiff` or `skiff-NAME`.
pub fn context(profile: &str) -> String {
    if profile == HOST_PROFILE { profile.to_owned() } else { format!("{HOST_PROFILE}-{profile}") }
}

impl Sources {
    /// Each source with its name, the strongest first.
    pub fn layers(&self) -> [(&'static str, &Written); 5] {
        [
            ("the cluster was made with it", &self.made),
            ("flag", &self.flags),
            ("environment", &self.environment),
            ("flag of an earlier `up`", &self.remembered),
            ("file", &self.file),
        ]
    }

    /// How a source writes a setting.
    fn as_written(&self, source: &str, name: &str, value: &str) -> String {
        match source {
            "environment" => format!("SKIFF_{}={value}", name.replace('-', "_").to_uppercase()),
            "file" => format!("{name}: {value} in {}", self.file_path.display()),
            _ => format!("--{name} {value}"),
        }
    }

    /// Refuses another value for what the cluster stands on.
    pub fn keep_what_is_made(&self, delete: &str) -> Result<()> {
        for (source, layer) in &self.layers()[1..] {
            for (name, made) in &self.made {
                let Some(value) = layer.get(name).and_then(|values| values.last()) else {
                    continue;
                };
                if Some(value) != made.last() {
                    let wanted = self.as_written(source, name, value);
                    let made = made.join(",");
                    bail!(
                        "{wanted}: the cluster was made with {made}, which cannot change: \
                         `{delete}` first, or leave it out"
                    );
                }
            }
        }
        Ok(())
    }

    /// What the file says in vain, since a flag of an earlier `up` says something else.
    pub fn beaten(&self) -> Vec<String> {
        let stronger =
            |name: &str| [&self.flags, &self.environment].iter().any(|l| l.contains_key(name));
        let mut beaten = Vec::new();
        for (name, values) in self.file.iter().filter(|(name, _)| !stronger(name)) {
            if let Some(remembered) = self.remembered.get(name).filter(|known| *known != values) {
                beaten.push(format!(
                    "{} counts for nothing: --{name} {} of an earlier `up` is remembered",
                    self.as_written("file", name, &values.join(",")),
                    remembered.join(","),
                ));
            }
        }
        beaten
    }
}

/// The data folder, which has to be known before what is remembered in it can be read. A further profile's carries its
/// name whoever named it: no two clusters share one.
pub fn data_folder(profile: &str, sources: &Sources) -> PathBuf {
    let given = [&sources.flags, &sources.environment, &sources.file];
    let given = given.iter().find_map(|layer| layer.get("data").and_then(|v| v.last()));
    let base = given.map_or("/var/lib/skiff", |v| v).trim_end_matches('/');
    match profile == HOST_PROFILE {
        true => PathBuf::from(base),
        false => PathBuf::from(format!("{base}-{profile}")),
    }
}

#[cfg(test)]
mod tests;
