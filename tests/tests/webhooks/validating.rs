//! Validating webhooks: their answers and failures, whom they hold up, and what they see.

use crate::bench::*;
use expect_test::expect;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn what_validating_webhooks_say_counts_and_what_they_fail_to_say_as_they_wish() {
    let b = bench("webhooks-validating", &[]);
    let maps = || rule("", "configmaps", &["*"]);
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": "hooks"}});
    let more = |policy: &str, timeout_s: u64| json!({"namespaceSelector": here, "failurePolicy": policy, "timeoutSeconds": timeout_s});
    b.configure("Validating", "check", maps(), more("Fail", 2));
    let mut out = String::new();
    let deny = |status: Value| json!({"response": {"allowed": false, "status": status}});
    let raw = |text: &str| json!({"raw": text});
    let v1 = |response: Value| {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        json!({"raw": review.to_string()})
    };
    let patch = "W10=";
    let cases = [
        ("allowed", json!({"response": {"warnings": ["mind this"]}})),
        ("denied", deny(Value::Null)),
        ("message", deny(json!({"message": "not today", "code": 418, "reason": "Teapot"}))),
        ("reason", deny(json!({"reason": "Forbidden"}))),
        ("low-code", deny(json!({"message": "m", "code": 200, "status": "Success"}))),
        ("details", deny(json!({"message": "m", "code": 422, "details": {"name": "x"}}))),
        ("garbage", raw("<html>")),
        ("empty", raw("")),
        ("list", raw("[]")),
        ("cut", raw("{\"kind\": ")),
        ("other", raw("{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}")),
        ("status", raw("{\"kind\":\"Status\",\"apiVersion\":\"v1\"}")),
        ("absent", v1(Value::Null)),
        ("uid", json!({"response": {"uid": "another"}})),
        ("beta", json!({"review": {"apiVersion": "admission.k8s.io/v1beta1"}})),
        ("no-kind", json!({"review": {"kind": "", "apiVersion": ""}})),
        ("type", json!({"response": {"allowed": "yes"}})),
        ("patches", json!({"response": {"patch": patch, "patchType": "JSONPatch"}})),
        ("patch-type", json!({"response": {"patchType": "JSONPatch"}})),
        (
            "redirect",
            json!({"code": 307, "headers": {"Location": "https://192.0.2.10:6443/"}, "raw": ""}),
        ),
        ("broken", json!({"code": 500, "headers": {"Content-Type": "text/plain"}, "raw": "boom"})),
        ("missing", json!({"code": 404, "raw": "{}"})),
        ("closes", json!({"closes": true})),
        ("never", json!({"never": true})),
        ("long", raw(&format!("{{\"a\":\"{}\"}}", "x".repeat(7 << 20)))),
    ];
    for (name, answer) in &cases {
        b.answers("check", answer.clone());
        let made = b.create_map("hooks", name);
        let reason = made.body["reason"].as_str().unwrap_or("");
        let text = format!("{} {reason} {}", made.code, made.message());
        writeln!(out, "{name:12}{} {}", text.trim(), made.warnings.join(" ")).expect("a String");
    }
    expect![[r#"
        allowed     201 299 - "mind this"
        denied      400  admission webhook "check.example.com" denied the request without explanation 
        message     418 Teapot admission webhook "check.example.com" denied the request: not today 
        reason      400 Forbidden admission webhook "check.example.com" denied the request: Forbidden 
        low-code    400  admission webhook "check.example.com" denied the request: m 
        details     422  admission webhook "check.example.com" denied the request: m 
        garbage     500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } 
        empty       500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: 0-length response with status code: 200 and content type: application/json 
        list        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } 
        cut         500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: couldn't get version/kind; json parse error: unexpected end of JSON input 
        other       500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: no kind "Pod" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111" 
        status      500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: converting (v1.Status) to (v1.AdmissionReview): unknown conversion 
        absent      500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: webhook response was absent 
        uid         500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: expected response.uid="*", got "another" 
        beta        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion 
        no-kind     500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind= 
        type        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool 
        patches     500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: validating webhook may not return response.patch 
        patch-type  500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: validating webhook may not return response.patchType 
        redirect    500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: the server responded with the status code 307 but did not return more information 
        broken      500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: an error on the server ("boom") has prevented the request from succeeding 
        missing     500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: the server could not find the requested resource 
        closes      500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9443/check?timeout=2s": EOF 
        never       500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9443/check?timeout=2s": context deadline exceeded 
        long        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: unexpected error when reading response body. Please retry. Original error: the answer is larger than 6291456 bytes 
    "#]].assert_eq(&plain(&out));
    let page = b.c.k.ok("get --raw /metrics");
    let figures = page.lines().filter(|line| {
        line.starts_with("apiserver_admission_webhook_") && !line.contains("duration_seconds_")
    });
    expect![[r#"
        apiserver_admission_webhook_request_total{code="200",name="check.example.com",operation="CREATE",rejected="false",type="validating"} 1
        apiserver_admission_webhook_request_total{code="307",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="400",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 3
        apiserver_admission_webhook_request_total{code="404",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="418",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="422",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="500",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="503",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 16
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="307",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="404",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="500",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="503",type="validating"} 16
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="check.example.com",operation="CREATE",rejection_code="400",type="validating"} 3
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="check.example.com",operation="CREATE",rejection_code="418",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="check.example.com",operation="CREATE",rejection_code="422",type="validating"} 1"#]].assert_eq(&figures.collect::<Vec<_>>().join("\n"));

    // The same, where failures do not count: refusals do.
    b.configure("Validating", "check", maps(), more("Ignore", 1));
    let refused: Vec<&str> = cases
        .iter()
        .filter(|(name, answer)| {
            b.answers("check", answer.clone());
            b.create_map("hooks", &format!("{name}-ignored")).code != "201"
        })
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(refused, ["denied", "message", "reason", "low-code", "details"]);
    let noted = b.noted("never-ignored");
    let open = "failed-open.validating.webhook.admission.k8s.io/round_0_index_0";
    assert_eq!(noted, [(open.to_owned(), "check.example.com".to_owned())]);

    // Streams and deletes are asked about too, and whoever is nowhere.
    b.answers("check", json!({"response": {"allowed": false}}));
    let gone = b.ask("DELETE", "/api/v1/namespaces/hooks/configmaps", &json!({}));
    assert_eq!(
        gone.message(),
        "admission webhook \"check.example.com\" denied the request without explanation"
    );
    let mut out = String::new();
    let service = |name: &str, port: u16| {
        let service = json!({"namespace": "hooks", "name": name, "port": port});
        json!({"service": service, "caBundle": b.ca})
    };
    let clients = [
        ("no service", service("none", 443)),
        ("no port", service("hook", 445)),
        ("no endpoint", service("hook", 444)),
        ("nobody", json!({"url": "https://192.0.2.10:9/x", "caBundle": b.ca})),
        ("stranger", json!({"url": format!("{SERVER}/x")})),
        ("the API", json!({"url": "https://192.0.2.10:6443/x", "caBundle": b.ca})),
        ("loopback", json!({"url": "https://127.0.0.1:9443/check", "caBundle": b.ca})),
        ("metadata", json!({"url": "https://169.254.169.254/x", "caBundle": b.ca})),
    ];
    for (name, client) in clients {
        let mut more = more("Fail", 2);
        more["clientConfig"] = client;
        b.configure("Validating", "check", maps(), more);
        writeln!(out, "{name:12}{}", b.create_map("hooks", "x").message()).expect("a String");
    }
    expect![[r#"
        no service  Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://none.hooks.svc:443/?timeout=2s": service "none" not found
        no port     Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://hook.hooks.svc:445/?timeout=2s": no service port 445 found for service "hook"
        no endpoint Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://hook.hooks.svc:444/?timeout=2s": no endpoints available for service "hook"
        nobody      Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9/x?timeout=2s": dial tcp 192.0.2.10:9: connect: connection refused
        stranger    Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9443/x?timeout=2s": tls: failed to verify certificate: x509: certificate signed by unknown authority
        the API     Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:6443/x?timeout=2s": dial tcp 192.0.2.10:6443: address not allowed: it is the server's own
        loopback    Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://127.0.0.1:9443/check?timeout=2s": dial tcp 127.0.0.1:9443: address not allowed: loopback and link-local addresses are called with --allow-local-webhooks only
        metadata    Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://169.254.169.254/x?timeout=2s": dial tcp 169.254.169.254:443: address not allowed: loopback and link-local addresses are called with --allow-local-webhooks only
    "#]].assert_eq(&plain(&out));
}

#[test]
fn nobody_locks_everybody_out_or_holds_others_up() {
    let b = bench("webhooks-others", &["--allow-local-webhooks=true"]);
    b.answers("deny", json!({"response": {"allowed": false}}));
    // At loopback, as the machine's owner allows.
    let client = json!({"url": "https://127.0.0.1:9443/deny", "caBundle": b.ca});
    let everything = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]});
    let here = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
                                            "values": ["kube-system"]}]});
    b.configure(
        "Validating",
        "deny",
        everything,
        json!({"clientConfig": client, "namespaceSelector": here}),
    );
    let refused = b.create_map("default", "no");
    assert_eq!(
        refused.message(),
        "admission webhook \"deny.example.com\" denied the request without explanation"
    );
    // Reviews are nobody's affair, and neither are these configurations.
    assert_eq!(b.c.k.ok("auth can-i create pods").trim(), "yes");
    b.c.k.ok("delete validatingwebhookconfiguration deny");

    // One that never answers holds up those that ask it.
    let maps = || rule("", "configmaps", &["CREATE"]);
    let of = |label: &str| json!({"objectSelector": {"matchLabels": {"of": label}}, "timeoutSeconds": 30});
    b.answers("slow", json!({"never": true}));
    b.answers("quick", json!({}));
    b.configure("Validating", "slow", maps(), of("slow"));
    b.configure("Validating", "quick", maps(), of("quick"));
    let create = |number: &str, label: &str| {
        format!(
            "cd {} && curl -s -o /dev/null -w '%{{http_code}}\\n' --cacert ca --cert cert --key key \
             -H 'Content-Type: application/json' \"$(cat server)/api/v1/namespaces/default/configmaps\" \
             -d '{{\"metadata\":{{\"name\":\"{label}-{number}\",\"labels\":{{\"of\":\"{label}\"}}}}}}'",
            b.home.display()
        )
    };
    let at_once = |count: usize, label: &str| {
        let line = create("{}", label).replace('\'', "'\\''");
        format!("seq {count} | xargs -P {count} -I {{}} bash -c '{line}'")
    };
    let mut slow = b.c.inside(Path::new("bash"));
    slow.args(["-c", &at_once(64, "slow")]);
    let mut slow = slow.stdout(std::process::Stdio::null()).spawn().expect("bash is there");
    let asked = b.home.join("asked");
    b.c.shell(&format!(
        "timeout 60 bash -c 'until [ $(grep -c /slow {}) -ge 64 ]; do read -rt 0.1 < <(:) || :; done'",
        asked.display()
    ));
    // All sixty-four are there, and wait; nobody else does.
    for number in 0..4 {
        assert_eq!(b.c.shell(&create(&number.to_string(), "quick")).trim(), "201");
        assert_eq!(b.create_map("default", &format!("free-{number}")).code, "201");
    }
    assert!(slow.try_wait().expect("it can be asked").is_none(), "they still wait");
    // Sixty-four that answer when all have come: they are all asked at once.
    b.answers("barrier", json!({"together": 64}));
    b.configure("Validating", "barrier", maps(), of("barrier"));
    let codes = b.c.shell(&at_once(64, "barrier"));
    assert_eq!(codes.lines().filter(|code| *code == "201").count(), 64, "{codes}");
    slow.kill().expect("it is the test's own");
    slow.wait().expect("it ends");
}

#[test]
fn a_webhook_sees_the_version_that_its_rules_name() {
    let b = bench("webhooks-versions", &[]);
    for name in ["equal", "exact"] {
        b.answers(name, json!({}));
        let policy = if name == "equal" { "Equivalent" } else { "Exact" };
        let rule = json!({"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["*"],
                          "resources": ["horizontalpodautoscalers"]});
        b.configure("Validating", name, rule, json!({"matchPolicy": policy}));
    }
    let scaler = json!({"metadata": {"name": "s"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 7}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = b.ask("POST", path, &scaler);
    assert_eq!((&*made.code, &made.body["apiVersion"]), ("201", &"autoscaling/v2".into()));
    assert_eq!(b.asked("exact").len(), 0);
    let asked = b.asked("equal");
    assert_eq!(asked.len(), 1);
    let request = &asked[0]["review"]["request"];
    assert_eq!(request["kind"]["version"], "v1");
    assert_eq!(request["requestKind"]["version"], "v2");
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 7);
    // What a mutating one makes of the other version comes back into that of the request.
    let patch =
        json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 9}]);
    b.answers("change", json!({"patch": patch}));
    let scalers = json!({"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"],
                         "resources": ["horizontalpodautoscalers"]});
    b.configure("Mutating", "change", scalers, json!({}));
    let mut second = scaler;
    second["metadata"]["name"] = "t".into();
    let made = b.ask("POST", path, &second);
    let target = "/spec/metrics/0/resource/target/averageUtilization";
    assert_eq!(made.body.pointer(target), Some(&9.into()), "{}", made.body);
    // A scale is asked about as one.
    b.answers("scales", json!({}));
    let scale = rule("apps", "deployments/scale", &["UPDATE"]);
    b.configure("Validating", "scales", scale, json!({}));
    b.c.k.ok("create deployment d --image=i --replicas=0");
    b.c.k.ok("scale deployment d --replicas=0 --current-replicas=0");
    let asked = b.asked("scales");
    let request = &asked.first().expect("it was asked")["review"]["request"];
    assert_eq!(
        (&request["kind"]["kind"], &request["subResource"]),
        (&"Scale".into(), &"scale".into())
    );
    assert_eq!(request["object"]["kind"], "Scale");
}
