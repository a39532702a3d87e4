//! A server of the tests' own: what it is told of who calls, streams both ways, and everything that it can do wrong.

use crate::bench::*;
use expect_test::expect;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

const GROUP: &str = "sample.example.com";
const NAME: &str = "v1.sample.example.com";
const HERE: &str = "/apis/sample.example.com/v1";

fn begun(test: &str) -> Bench {
    let mut b = bench(test);
    behave(&b, "well");
    std::fs::write(b.home.join("server.py"), include_str!("server.py")).expect("so");
    let (script, home) = (b.home.join("server.py"), b.home.clone());
    let (script, home) = (script.display().to_string(), home.display().to_string());
    b.begin("liar", Path::new("python3"), &[&script, &home]);
    b.wait_for_file("server.pid");
    b
}

fn behave(b: &Bench, mode: &str) {
    std::fs::write(b.home.join("mode.new"), mode).expect("it can be written");
    std::fs::rename(b.home.join("mode.new"), b.home.join("mode")).expect("it lies beside");
}

#[test]
fn a_request_goes_there_as_who_sent_it_and_streams_go_both_ways() {
    let b = begun("aggregation-forward");
    b.register("v1", GROUP, Value::Null);
    assert_eq!(b.becomes(NAME, "Passed"), "all checks passed");

    // Whatever a caller says of itself is not what is heard.
    let lies = "-H 'X-Remote-User: root' -H 'X-Remote-Group: g' -H 'X-Remote-Extra-A: b' -H 'X-Kept: 1' \
                -H 'Impersonate-User: jane' -H 'Impersonate-Group: friends' -H 'Impersonate-Extra-a%2fb: c' \
                -H 'Impersonate-Uid: 7' -X POST -d '{\"a\":1}' -H 'Content-Type: application/json'";
    b.c.k.ok("create clusterrole echoes --verb=create,get,list,watch --resource=echoes.sample.example.com,flunders.sample.example.com");
    b.c.k.ok("create clusterrolebinding echoes --clusterrole=echoes --user=jane");
    let made = b.ask(lies, &format!("{HERE}/namespaces/n/echoes?a=b%20c"));
    let told = made.json();
    let mut out = format!("{} {} {} {}\n", made.code, told["method"], told["path"], told["query"]);
    writeln!(out, "by {} body {}", told["by"], told["body"]).expect("a String");
    let passing =
        ["x-remote", "x-kept", "authorization", "impersonate", "x-forwarded-proto", "host"];
    for header in told["headers"].as_array().expect("headers") {
        let name = header[0].as_str().expect("a name");
        if passing.iter().any(|it| name.starts_with(it)) {
            writeln!(out, "{name}: {}", header[1]).expect("a String");
        }
    }
    expect![[r#"
        200 "POST" "/apis/sample.example.com/v1/namespaces/n/echoes" "a=b%20c"
        by "front-proxy-client" body "{\"a\":1}"
        host: "server.ext.svc:443"
        x-forwarded-proto: "https"
        x-kept: "1"
        x-remote-extra-a%2fb: "c"
        x-remote-group: "friends"
        x-remote-group: "system:authenticated"
        x-remote-uid: "7"
        x-remote-user: "jane"
    "#]]
    .assert_eq(&out);
    let refused = b.ask("-H 'Impersonate-User: jim'", &format!("{HERE}/namespaces/n/echoes/e"));
    expect![[r#"403 "echoes.sample.example.com \"e\" is forbidden: User \"jim\" cannot get resource \"echoes\" in API group \"sample.example.com\" in the namespace \"n\"""#]].assert_eq(&format!("{} {}", refused.code, refused.json()["message"]));
    // A path is what was authorized, or nothing.
    let odd = b.ask("--path-as-is", &format!("{HERE}/namespaces/n/echoes/../../x"));
    assert_eq!(odd.code, "400", "{}", odd.text);
    let encoded = b.ask("", &format!("{HERE}/namespaces/n%2fechoes/e%3fx")).json();
    assert_eq!(encoded["path"], format!("{HERE}/namespaces/n/echoes/e%3Fx"));

    // A watch comes piece by piece, and an upgraded connection is the two's own.
    let watched = b.c.shell(&format!(
        "cd {} && curl -sN --cacert ca --cert cert --key key \"$(cat server){HERE}/flunders?watch=1\" | \
         while read -r line; do echo \"$line\"; touch seen; done",
        b.home.display()
    ));
    assert_eq!(
        watched,
        "{\"type\":\"ADDED\",\"object\":{\"n\":1}}\n{\"type\":\"ADDED\",\"object\":{\"n\":2}}\n"
    );
    let piped = b.c.shell(&format!(
        "cd {} && server=$(cat server) && {{ printf 'GET {HERE}/namespaces/n/flunders/f/pipe HTTP/1.1\\r\\nHost: x\\r\\n\
         Connection: Upgrade\\r\\nUpgrade: shout\\r\\n\\r\\n'; read -rt 2 < <(:) || :; echo hello; sleep 2; }} | \
         openssl s_client -quiet -connect \"${{server#https://}}\" -cert cert -key key -CAfile ca -alpn http/1.1 -no_ign_eof \
         2> /dev/null | tr -d '\\r'",
        b.home.display()
    ));
    assert!(piped.starts_with("HTTP/1.1 101"), "{piped}");
    assert!(piped.ends_with("HELLO\n"), "{piped}");

    // Its group stands among the others, in every form.
    assert_eq!(b.ask("", &format!("/apis/{GROUP}")).json()["preferredVersion"]["version"], "v1");
    let found = b.discovered(GROUP);
    assert_eq!(found[0]["versions"][0]["freshness"], "Current");
    assert_eq!(found[0]["versions"][0]["resources"][0]["resource"], "flunders");
    assert_eq!(b.ask("", HERE).json()["groupVersion"], "sample.example.com/v1");
    let groups = b.ask("", "/apis").json();
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(names.last(), Some(&GROUP), "{names:?}");
    let index = b.ask("", "/openapi/v3").json();
    let at =
        index["paths"]["apis/sample.example.com/v1"]["serverRelativeURL"].as_str().expect("a path");
    assert_eq!(at, "/openapi/v3/apis/sample.example.com/v1?hash=AB12");
    assert_eq!(b.ask("", at).json()["info"]["title"], "sample");

    // Gone with its registration.
    b.c.k.ok(&format!("delete apiservice {NAME}"));
    assert_eq!(b.ask("", HERE).code, "404");
    assert_eq!(b.discovered(GROUP), json!([]));
}

#[test]
fn who_misbehaves_costs_its_own_group_only() {
    let b = begun("aggregation-liar");
    let mut out = String::new();
    b.register("v1", GROUP, Value::Null);
    b.becomes(NAME, "Passed");
    // What is there and lies is available, and is believed nothing.
    for mode in ["html", "other group", "huge", "endless"] {
        behave(&b, mode);
        // A change of the registration has it looked at again.
        let print = out.len() as i64 % 100 + 1;
        b.register("v1", GROUP, json!({"versionPriority": print}));
        b.c.shell(&format!(
            "cd {} && timeout 60 bash -c 'until curl -s --cacert ca --cert cert --key key \
             -H \"Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\" $(cat server)/apis \
             | grep -q Stale; do read -rt 0.2 < <(:) || :; done'",
            b.home.display()
        ));
        let shown = b.discovered(GROUP);
        writeln!(out, "{mode}: {} {}", b.becomes(NAME, "Passed"), shown[0]["versions"])
            .expect("a String");
        behave(&b, "well");
        b.register("v1", GROUP, json!({"versionPriority": print + 100}));
        b.c.shell(&format!(
            "cd {} && timeout 60 bash -c 'while curl -s --cacert ca --cert cert --key key \
             -H \"Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\" $(cat server)/apis \
             | grep -q Stale; do read -rt 0.2 < <(:) || :; done'",
            b.home.display()
        ));
    }
    let redirected = b.ask("", &format!("{HERE}/redirect"));
    writeln!(out, "redirect: {} {}", redirected.code, redirected.text).expect("a String");
    let late = b.ask("", &format!("{HERE}/namespaces/n/echoes/never?timeout=1s"));
    writeln!(out, "never: {} {}", late.code, late.text.trim()).expect("a String");
    // What is not there, or does not answer as it should, is not available.
    for mode in ["redirect", "broken", "closes", "never"] {
        behave(&b, mode);
        b.register("v1", GROUP, json!({"versionPriority": 300 + out.len() as i64 % 100}));
        writeln!(out, "{mode}: {}", b.becomes(NAME, "FailedDiscoveryCheck")).expect("a String");
        let refused = b.ask("", &format!("{HERE}/namespaces/n/echoes"));
        writeln!(out, "  {} {}", refused.code, refused.text.trim()).expect("a String");
        behave(&b, "well");
        b.becomes(NAME, "Passed");
    }
    for (address, port) in [("192.0.2.10", 6443), ("192.0.2.10", 9)] {
        b.leads_to(address, port);
        writeln!(out, "{address}:{port}: {}", b.becomes(NAME, "FailedDiscoveryCheck"))
            .expect("a String");
        b.leads_to(ADDRESS, 9443);
        b.becomes(NAME, "Passed");
    }
    for (what, more, reason) in [
        ("stranger", json!({"caBundle": ""}), "FailedDiscoveryCheck"),
        ("no service", json!({"service": {"namespace": "ext", "name": "none"}}), "ServiceNotFound"),
        (
            "no port",
            json!({"service": {"namespace": "ext", "name": "server", "port": 445}}),
            "ServicePortError",
        ),
        (
            "loopback",
            json!({"service": {"namespace": "ext", "name": "near"}}),
            "FailedDiscoveryCheck",
        ),
        (
            "no endpoint",
            json!({"service": {"namespace": "ext", "name": "server", "port": 444}}),
            "MissingEndpoints",
        ),
    ] {
        b.register("v1", GROUP, more);
        writeln!(out, "{what}: {}", b.becomes(NAME, reason)).expect("a String");
    }
    b.c.k.ok("-n ext delete endpointslice server-1");
    b.register("v1", GROUP, Value::Null);
    writeln!(out, "no slice: {}", b.becomes(NAME, "EndpointsNotFound")).expect("a String");
    expect![[r#"
        html: all checks passed [{"freshness":"Stale","version":"v1"}]
        other group: all checks passed [{"freshness":"Stale","version":"v1"}]
        huge: all checks passed [{"freshness":"Stale","version":"v1"}]
        endless: all checks passed [{"freshness":"Stale","version":"v1"}]
        redirect: 502 the backend attempted to redirect this request, which is not permitted
        never: 504 {"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}
        redirect: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: bad status from https://server.ext.svc:443/apis/sample.example.com/v1: 302
          503 service unavailable
        broken: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: bad status from https://server.ext.svc:443/apis/sample.example.com/v1: 500
          503 service unavailable
        closes: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: Get "https://server.ext.svc:443/apis/sample.example.com/v1": EOF
          503 service unavailable
        never: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: Get "https://server.ext.svc:443/apis/sample.example.com/v1": context deadline exceeded (Client.Timeout exceeded while awaiting headers)
          503 service unavailable
        192.0.2.10:6443: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: Get "https://server.ext.svc:443/apis/sample.example.com/v1": dial tcp 192.0.2.10:6443: address not allowed: it is the server's own
        192.0.2.10:9: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: Get "https://server.ext.svc:443/apis/sample.example.com/v1": dial tcp 192.0.2.10:9: connect: connection refused
        stranger: failing or missing response from https://server.ext.svc:443/apis/sample.example.com/v1: Get "https://server.ext.svc:443/apis/sample.example.com/v1": tls: failed to verify certificate: x509: certificate signed by unknown authority
        no service: service/none in "ext" is not present
        no port: service/server in "ext" is not listening on port 445
        loopback: failing or missing response from https://near.ext.svc:443/apis/sample.example.com/v1: Get "https://near.ext.svc:443/apis/sample.example.com/v1": dial tcp 127.0.0.1:443: address not allowed: loopback and link-local addresses are called with --allow-local-webhooks only
        no endpoint: endpointslices for service/server in "ext" have no addresses with port name "other"
        no slice: cannot find endpointslices for service/server in "ext"
    "#]].assert_eq(&out);
    b.leads_to(ADDRESS, 9443);
    b.register("v1", GROUP, json!({"caBundle": "", "insecureSkipTLSVerify": true}));
    b.becomes(NAME, "Passed");

    // What is served here stays here, whatever an APIService says.
    let lie = json!({"spec": {"service": {"namespace": "ext", "name": "server", "port": 443},
        "insecureSkipTLSVerify": true}});
    b.c.k.args(&["patch", "apiservice", "v1.apps", "--type=merge", "-p", &lie.to_string()]);
    b.becomes("v1.apps", "FailedDiscoveryCheck");
    assert_eq!(b.ask("", "/apis/apps/v1").json()["groupVersion"], "apps/v1");
    assert_eq!(b.ask("", "/apis/apps/v1/deployments").json()["kind"], "DeploymentList");
    assert_eq!(b.discovered("apps")[0]["versions"][0]["freshness"], "Current");
    let asked = std::fs::read_to_string(b.home.join("asked")).expect("it is there");
    assert!(!asked.contains("deployments"), "nobody was asked");
    assert!(
        asked.lines().all(|it| it.contains("\"by\": \"front-proxy-client\"")),
        "each call is certified"
    );
}
