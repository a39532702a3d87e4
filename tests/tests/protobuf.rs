//! Protobuf as clients ask for it: upstream's library that speaks nothing else, and every case that upstream was asked.

use skiff_tests::cluster::Cluster;
use skiff_tests::kit;
use std::process::Command;

#[track_caller]
fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}\n{err}");
    out
}

/// Objects, lists, watches, refusals and metadata, read by upstream's decoder.
#[test]
fn a_client_that_speaks_nothing_else_is_content() {
    let c = Cluster::start("protobuf-client");
    for (namespace, media) in
        [("only", "application/vnd.kubernetes.protobuf"), ("json", "application/json")]
    {
        c.k.ok(&format!("create namespace {namespace}"));
        c.k.wait(&format!("--for=create serviceaccount/default -n {namespace}"));
        let mut command = c.inside(&kit::client().unwrap());
        command.args(["-media", media, namespace]).env("KUBECONFIG", c.config());
        let said = passes(&mut command);
        assert!(said.contains("ok   a large list is whole, compressed or not"), "{said}");
    }
}

#[test]
fn answers_as_upstream_does() {
    let c = Cluster::start("protobuf-cases");
    let mut command = c.inside(std::path::Path::new(env!("CARGO_BIN_EXE_differential")));
    command.args(["check", "--kubeconfig", &c.config(), "--workers", "2", "--show", "100"]);
    passes(command.arg("protobuf").env("SKIFF_KUBECTL", kit::kubectl().unwrap()));
}
