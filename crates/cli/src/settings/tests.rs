//! Tests of the table: sources, refusals, and that what is written reads back.

use super::file::parse;
use super::*;
use expect_test::expect;
use std::path::Path;

fn written(pairs: &[(&'static str, &str)]) -> Written {
    pairs.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])).collect()
}

#[test]
fn the_table_is_sorted_and_its_defaults_fit() {
    assert!(SETTINGS.is_sorted_by(|a, b| a.name < b.name));
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        setting.check(setting.default).unwrap();
    }
}

#[test]
fn the_strongest_source_wins() {
    let mut sources = Sources { file: written(&[("node", "file")]), ..Sources::default() };
    let node = |sources: &Sources| Settings::resolve("skiff", "Host", sources).unwrap().node;
    assert_eq!(node(&Sources::default()), "host");
    assert_eq!(node(&sources), "file");
    sources.remembered = written(&[("node", "remembered")]);
    assert_eq!(node(&sources), "remembered");
    sources.environment = written(&[("node", "environment")]);
    assert_eq!(node(&sources), "environment");
    sources.flags = written(&[("node", "flag")]);
    assert_eq!(node(&sources), "flag");
}

#[test]
fn a_profile_has_places_of_its_own() {
    let settings = Settings::resolve("dev", "host", &Sources::default()).unwrap();
    assert_eq!(settings.data, Path::new("/var/lib/skiff-dev"));
    assert_eq!(settings.node, "dev");
    assert_eq!(settings.context(), "skiff-dev");
    assert_eq!(settings.pods_cgroup(), "skiff-dev/pods");
}

#[test]
fn a_folder_that_was_named_carries_the_profiles_name() {
    for (given, host, dev) in
        [("/d", "/d", "/d-dev"), ("/d/", "/d", "/d-dev"), ("/d-dev", "/d-dev", "/d-dev-dev")]
    {
        for layer in 0..3 {
            let mut sources = Sources::default();
            let written = written(&[("data", given)]);
            match layer {
                0 => sources.flags = written,
                1 => sources.environment = written,
                _ => sources.file = written,
            }
            let data = |profile| Settings::resolve(profile, "host", &sources).unwrap().data;
            assert_eq!(data("skiff"), Path::new(host));
            assert_eq!(data("dev"), Path::new(dev));
        }
    }
}

#[test]
fn what_the_cluster_was_made_with_stays() {
    let made = written(&[("node", "first"), ("pod-cidr", "10.1.0.0/16")]);
    let mut sources = Sources { made, ..Sources::default() };
    sources.keep_what_is_made("skiff delete").unwrap();
    assert_eq!(Settings::resolve("skiff", "renamed", &sources).unwrap().node, "first");
    sources.flags = written(&[("node", "first"), ("listen", "127.0.0.1:1")]);
    sources.keep_what_is_made("skiff delete").unwrap();
    let mut refused = String::new();
    let mut try_it = |sources: &Sources| {
        refused += &format!("{}\n", sources.keep_what_is_made("skiff delete").unwrap_err());
    };
    sources.flags = written(&[("node", "other")]);
    try_it(&sources);
    sources.flags.clear();
    sources.environment = written(&[("pod-cidr", "10.2.0.0/16")]);
    try_it(&sources);
    sources.environment.clear();
    sources.file = written(&[("pod-cidr", "10.3.0.0/16")]);
    sources.file_path = "/etc/skiff/config.yaml".into();
    try_it(&sources);
    expect![[r#"
        --node other: the cluster was made with first, which cannot change: `skiff delete` first, or leave it out
        SKIFF_POD_CIDR=10.2.0.0/16: the cluster was made with 10.1.0.0/16, which cannot change: `skiff delete` first, or leave it out
        pod-cidr: 10.3.0.0/16 in /etc/skiff/config.yaml: the cluster was made with 10.1.0.0/16, which cannot change: `skiff delete` first, or leave it out
    "#]]
    .assert_eq(&refused);
}

#[test]
fn a_host_name_becomes_a_nodes_name() {
    for (host, node) in
        [("Host", "host"), ("Anns_MacBook", "anns-macbook"), ("a.b-.c", "a.b.c"), ("_", "node")]
    {
        assert_eq!(Settings::resolve("skiff", host, &Sources::default()).unwrap().node, node);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut seen = String::new();
    for (name, value) in [
        ("listen", "6443"),
        ("listen", "[::1]:6443"),
        ("pod-cidr", "10.244.0.1/16"),
        ("pod-cidr", "10.244.0.0/25"),
        ("pod-cidr", "10.96.0.0/12"),
        ("service-cidr", "10.96.0.0/29"),
        ("data", "relative"),
        ("data", "/var/../etc"),
        ("node", "UPPER"),
        ("log-level", "loud"),
        ("log-level", "info,skiff_node"),
        ("registry-mirror", "registry.k8s.io"),
        ("deny-service-external-ips", "yes"),
        ("pod-security-default", "deny=baseline"),
        ("pod-security-default", "enforce=strict"),
        ("pod-security-default", "enforce=baseline:1.30"),
        ("pod-security-exempt", "namespace=A"),
        ("pod-security-exempt", "user="),
        ("pod-security-exempt", "kube-system"),
    ] {
        let sources = Sources { flags: written(&[(name, value)]), ..Sources::default() };
        let error = Settings::resolve("skiff", "host", &sources).unwrap_err();
        seen += &format!("{error}\n");
    }
    expect![[r#"
        listen "6443": it has to be an IPv4 address and a port, as in 0.0.0.0:6443
        listen "[::1]:6443": it has to be an IPv4 address and a port, as in 0.0.0.0:6443
        pod-cidr "10.244.0.1/16": its address has bits behind the prefix
        pod-cidr 10.244.0.0/25: the node needs a /24 of it
        pod-cidr 10.96.0.0/12 and service-cidr 10.96.0.0/16 overlap
        service-cidr 10.96.0.0/29: it has to hold 16 addresses or more
        data "relative": it has to be an absolute path without . and ..
        data "/var/../etc": it has to be an absolute path without . and ..
        node "UPPER": it has to be a name of a-z, 0-9, - and .
        log-level "loud": it has to be error, warn, info, debug or trace, or by part, as in info,skiff_node=debug
        log-level "info,skiff_node": it has to be error, warn, info, debug or trace, or by part, as in info,skiff_node=debug
        registry-mirror "registry.k8s.io": it has to be a registry and a URL, as in registry.k8s.io=http://127.0.0.1:5000
        deny-service-external-ips "yes": it has to be true or false
        pod-security-default "deny=baseline": it has to begin with one of enforce=, audit=, warn=
        pod-security-default "enforce=strict": its level must be one of privileged, baseline, restricted
        pod-security-default "enforce=baseline:1.30": its version must be "latest" or "v1.x"
        pod-security-exempt "namespace=A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        pod-security-exempt "user=": it names nobody
        pod-security-exempt "kube-system": it has to begin with one of namespace=, runtime-class=, user=
    "#]]
    .assert_eq(&seen);
}

#[test]
fn a_file_reads_back_and_unknown_words_are_refused() {
    let given = written(&[("listen", "127.0.0.1:1"), ("registry-mirror", "a=http://b")]);
    assert_eq!(parse(text(&given).unwrap().as_bytes()).unwrap(), given);
    assert_eq!(parse(b"# nothing\n").unwrap(), Written::new());
    let error = parse(b"listn: x").unwrap_err().to_string();
    assert!(error.starts_with("there is no setting \"listn\"; there are: advertise, "), "{error}");
    for text in ["x: [", "- a", "a: *b"] {
        let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
        assert!(error.starts_with("no ") && error.lines().count() == 1, "{error}");
    }
    assert_eq!(parse(b"data: [a]").unwrap_err().to_string(), "data has to be a text");
}

#[test]
fn the_daemon_is_told_the_same() {
    let sources = Sources {
        flags: written(&[
            ("advertise", "10.0.0.1"),
            ("audit-log-maxsize", "7"),
            ("audit-log-path", "/a/b"),
            ("deny-service-external-ips", "true"),
            ("encryption-config", "/etc/skiff/encryption.yaml"),
            ("pod-security-default", "enforce=baseline:v1.30"),
            ("pod-security-exempt", "user=system:serviceaccount:kube-system:builder"),
            ("registry-mirror", "a=http://b"),
        ]),
        ..Sources::default()
    };
    let settings = Settings::resolve("dev", "host", &sources).unwrap();
    let mut again = Sources::default();
    for pair in settings.flags().chunks(2).skip(1) {
        let name = pair[0].trim_start_matches('-');
        let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
        again.flags.entry(setting.name).or_default().push(pair[1].clone());
    }
    assert_eq!(Settings::resolve("dev", "other", &again).unwrap(), settings);
}

/// The table as a page for people; `UPDATE_EXPECT=1` writes it anew.
#[test]
fn the_page_says_what_the_table_says() {
    let mut page = "# Settings\n\n\
        A setting is given as a flag (`skiff up --listen X`), in the environment (`SKIFF_LISTEN=X`) or in a file\n\
        (`listen: X` in `/etc/skiff/config.yaml`, for profile NAME in `/etc/skiff/NAME.yaml`; `--config FILE` or\n\
        `$SKIFF_CONFIG` name another). The first of these wins. What `skiff up` was told by flags it remembers below\n\
        the data folder, and uses it before the file from then on; `skiff config` lists what counts and where it\n\
        comes from, `skiff config reset NAME` and `skiff delete` forget it. `cluster-domain`, `node`, `pod-cidr` and\n\
        `service-cidr` stay what they were at the first `up`: another value is refused until `skiff delete`. A file\n\
        with an unknown word is refused.\n\n\
        | setting | value | default | what it does | who uses it |\n|---|---|---|---|---|\n"
        .to_owned();
    for setting in SETTINGS {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let (name, doc) = (setting.name, setting.doc.replace('|', "\\|"));
        let shape = setting.placeholder();
        page += &format!("| `{name}` | {shape} | {default} | {doc} | {} |\n", setting.used_by);
    }
    expect_test::expect_file!["../../../../docs/settings.md"].assert_eq(&page);
}
