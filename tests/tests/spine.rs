//! First landing: a server that kubectl talks to, brought up and down by `skiff`.

use std::process::Command;

use skiff_tests::cluster::Cluster;
use skiff_tests::differential::answers;
use skiff_tests::kit;

#[test]
fn up_status_down_up_delete() {
    let c = Cluster::start("spine-life");
    c.skiff(&["up"]); // again: nothing happens, and it succeeds
    assert!(c.skiff(&["status"]).contains("unning"));
    assert_eq!(c.k.ok("config current-context").trim(), "skiff");
    c.k.ok("create configmap kept --from-literal=x=1");
    c.skiff(&["down"]);
    assert!(!c.k.fails("get configmap kept").is_empty());
    c.skiff(&["up"]);
    assert_eq!(c.k.ok("get configmap kept -o jsonpath={.data.x}"), "1");
    c.skiff(&["delete"]);
    assert!(!c.k.fails("config get-contexts skiff").is_empty());
}

#[test]
fn start_and_stop_are_other_names() {
    let c = Cluster::empty("spine-names");
    c.skiff(&["start"]);
    c.k.ok("get namespaces");
    c.skiff(&["stop"]);
    c.k.fails("get namespaces");
}

#[test]
fn status_as_json_names_the_daemon() {
    let c = Cluster::start("spine-status");
    let daemon = c.daemon();
    assert!(!c.machine().processes().unwrap().is_empty());
    assert!(daemon > 1, "the machine has an init of its own");
}

#[test]
fn other_contexts_stay() {
    let c = Cluster::empty("spine-contexts");
    c.k.ok("config set-cluster other --server=https://192.0.2.77:1");
    c.k.ok("config set-context other --cluster=other");
    c.k.ok("config use-context other");
    c.skiff(&["up"]);
    assert_eq!(c.k.ok("config current-context").trim(), "skiff");
    assert!(c.k.ok("config get-contexts -o name").contains("other"));
    c.skiff(&["delete"]);
    assert_eq!(c.k.ok("config get-contexts -o name").trim(), "other");
}

/// What sudo leaves in the environment, with a user of the machine's own.
#[test]
fn through_sudo_the_kubeconfig_is_the_callers() {
    let c = Cluster::empty("spine-sudo");
    let home = c.machine().data().join("ann");
    let skiff = kit::skiff().unwrap();
    let line = format!(
        "mkdir -m 700 {home} && chown 4321:4322 {home} && \
         echo ann:x:4321:4322::{home}:/bin/sh > /run/passwd && cat /etc/passwd >> /run/passwd && \
         mount --bind /run/passwd /etc/passwd && \
         env -u KUBECONFIG SUDO_USER=ann SUDO_UID=4321 SUDO_GID=4322 {skiff} up > /dev/null && \
         stat -c '%u:%g %a' {home}/.kube {home}/.kube/config && \
         setpriv --reuid=4321 --regid=4322 --clear-groups grep current-context {home}/.kube/config && \
         {kubectl} --kubeconfig {home}/.kube/config get nodes -o name",
        home = home.display(),
        skiff = skiff.display(),
        kubectl = kit::kubectl().unwrap().display(),
    );
    let said = c.shell(&line);
    let mut lines = said.lines();
    for line in ["4321:4322 755", "4321:4322 600", "current-context: skiff"] {
        assert_eq!(lines.next(), Some(line), "{said}");
    }
    assert!(lines.next().is_some_and(|line| line.starts_with("node/")), "{said}");
}

#[test]
fn without_root_one_sentence_says_what_to_do() {
    let c = Cluster::empty("spine-root");
    let skiff = kit::skiff().unwrap();
    let line = format!("setpriv --reuid=65534 --clear-groups {} up 2>&1 || true", skiff.display());
    let said = c.shell(&line);
    assert!(said.contains("root"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}

#[test]
fn help_version_and_completion() {
    let c = Cluster::empty("spine-help");
    for word in ["up", "down", "delete", "status", "image", "logs"] {
        assert!(c.skiff(&["--help"]).contains(word));
    }
    assert!(c.skiff(&["version"]).contains("1.37"));
    assert!(c.skiff(&["completion", "bash"]).contains("complete"));
}

#[test]
fn create_list_watch_and_patch() {
    let c = Cluster::start("spine-verbs");
    c.k.ok("create configmap a --from-literal=x=1");
    let mut watch =
        c.k.start("get configmap a --watch --output-watch-events --no-headers").unwrap();
    assert!(first_line(&mut watch).starts_with("ADDED"));
    c.k.args(&["patch", "configmap", "a", "-p", r#"{"data":{"x":"2"}}"#]);
    assert_eq!(c.k.ok("get configmap a -o jsonpath={.data.x}"), "2");
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(c.k.ok("get --raw /readyz?verbose").contains("readyz check passed"));
    assert!(c.k.ok("version").contains("Server Version: v1.37"));
}

#[test]
fn a_token_in_a_secret_lives_with_secret_and_account() {
    let c = Cluster::start("spine-token");
    let secret = |name: &str, account: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
            "metadata":{{"name":"{name}","annotations":
            {{"kubernetes.io/service-account.name":"{account}"}}}}}}"#
        )
    };
    let token = |name: &str| {
        c.k.wait(&format!("--for=jsonpath={{.data.token}} secret/{name}"));
        c.k.args(&["get", "secret", name, "-o", "go-template={{.data.token|base64decode}}"])
    };
    let whose = |token: &str| {
        let review = format!(
            r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview",
            "spec":{{"token":"{token}"}}}}"#
        );
        let args = ["create", "-f", "-", "-o", "jsonpath={.status.user.username}{.status.error}"];
        c.k.exits(0, &args, &review).out
    };
    c.k.ok("create serviceaccount a");
    c.k.apply(&secret("one", "a"));
    c.k.apply(&secret("two", "a"));
    let (one, two) = (token("one"), token("two"));
    assert_eq!(whose(&one), "system:serviceaccount:default:a");
    c.k.ok("delete secret one");
    assert_eq!(whose(&one), "[invalid bearer token, token has been invalidated]");
    assert_eq!(whose(&two), "system:serviceaccount:default:a");
    c.k.ok("delete serviceaccount a");
    c.k.wait("--for=delete secret/two");
    assert_eq!(whose(&two), "[invalid bearer token, token has been invalidated]");
    c.k.apply(&secret("three", "nobody"));
    c.k.wait("--for=delete secret/three");
}

/// What a cluster without pods answers, as upstream does: one case of three. The known differences stand in
/// `tests/differential/known.txt`.
#[test]
fn answers_as_upstream_does() {
    let known = kit::root().join("tests/differential/known.txt");
    answers::known(&known).unwrap();
    let c = Cluster::start("spine-differential");
    // All of them take ten minutes, which is the long tier's affair.
    let every = std::env::var("SKIFF_CASES_EVERY").unwrap_or_else(|_| "3".into());
    let areas = std::env::var("SKIFF_CASES_AREAS").unwrap_or_default();
    let mut command = c.inside(std::path::Path::new(env!("CARGO_BIN_EXE_differential")));
    command.args(["check", "--kubeconfig", &c.config(), "--every", &every]);
    command.args(areas.split_whitespace());
    command.env("SKIFF_KUBECTL", kit::kubectl().unwrap());
    passes(&mut command);
}

/// Upstream's own client library: informers, patches, apply, conflicts.
#[test]
fn a_client_library_is_content() {
    let c = Cluster::start("spine-client");
    c.k.ok("create namespace client");
    c.k.wait("--for=create serviceaccount/default -n client");
    let mut command = c.inside(&kit::client().unwrap());
    passes(command.arg("client").env("KUBECONFIG", c.config()));
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}\n{err}");
}

fn first_line(child: &mut std::process::Child) -> String {
    use std::io::BufRead;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("kubectl was started with a pipe");
    std::io::BufReader::new(stdout).read_line(&mut line).expect("kubectl says something");
    line
}
