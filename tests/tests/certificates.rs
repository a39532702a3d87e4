//! What pods get from certificates, what bootstrap tokens open, and the clients that speak SPDY: what needs a node or a
//! server of one's own.

use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::kit;

/// A shell line with `k` for kubectl, in the machine of a cluster.
fn line(c: &Cluster, line: &str) -> String {
    let kubectl = kit::kubectl().expect("the kit").display().to_string();
    let config = c.config();
    c.shell(&format!(
        "set -eu; export KUBECONFIG={config}; k() {{ timeout ${{T:-60}} {kubectl} \"$@\"; }}; cd $(mktemp -d); {line}"
    ))
}

/// Runs for long, with this projected volume at /v.
fn pod(name: &str, sources: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"terminationGracePeriodSeconds":0,
        "volumes":[{{"name":"v","projected":{{"sources":[{sources}]}}}}],"containers":[{{"name":"c","image":"{BUSYBOX}",
        "volumeMounts":[{{"name":"v","mountPath":"/v"}}],"command":["sh","-c","sleep 3600"]}}]}}}}"#
    )
}

#[test]
fn pods_trust_and_are_certified() {
    let c = Cluster::start("certificates-pods");
    c.load_busybox();
    line(
        &c,
        r#"
        authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $1.key -subj /CN=$1 -out $1.crt 2> /dev/null; }
        bundle() { # name, signer or nothing, certificates
          cat > b.yaml <<Y
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {name: "$1", labels: {of: a}}
spec:
  ${2:+signerName: $2}
  trustBundle: |
$(sed 's/^/    /' "${@:3}")
Y
          k apply -f b.yaml; }
        authority one; authority two; mkdir -p /root/x; cp one.key one.crt /root/x
        bundle plain '' one.crt; bundle a.b:c:1 a.b/c one.crt two.crt; bundle a.b:c:2 a.b/c two.crt"#,
    );
    c.k.apply(&pod(
        "trusting",
        r#"{"clusterTrustBundle":{"name":"plain","path":"plain.crt"}},
        {"clusterTrustBundle":{"signerName":"a.b/c","labelSelector":{"matchLabels":{"of":"a"}},"path":"all.crt"}},
        {"clusterTrustBundle":{"name":"none","optional":true,"path":"none.crt"}}"#,
    ));
    c.k.wait("--for=condition=Ready pod/trusting");
    let count = |file: &str| {
        c.k.args(&[
            "exec",
            "trusting",
            "--",
            "sh",
            "-c",
            &format!("grep -c BEGIN /v/{file} || true"),
        ])
    };
    assert_eq!(count("plain.crt") + &count("all.crt") + &count("none.crt"), "1\n2\n0\n");
    // A bundle that goes is no longer trusted.
    c.k.ok("delete clustertrustbundle a.b:c:1");
    let gone = "until [ $(grep -c BEGIN /v/all.crt) = 1 ]; do usleep 100000; done; echo gone";
    assert_eq!(c.k.args(&["exec", "trusting", "--", "sh", "-c", gone]), "gone\n");

    c.k.apply(&pod(
        "certified",
        r#"{"podCertificate":{"signerName":"a.b/c","keyType":"ECDSAP256","credentialBundlePath":"both.pem",
        "keyPath":"key.pem","certificateChainPath":"chain.pem"}}"#,
    ));
    let asked = line(
        &c,
        r#"
        for i in $(seq 100); do r=$(k get podcertificaterequests -o name); [ -n "$r" ] && break; sleep 0.1; done
        r=${r#*/}
        k get podcertificaterequest $r -o jsonpath='{.spec.podName} {.spec.serviceAccountName} {.spec.maxExpirationSeconds}'
        k get podcertificaterequest $r -o jsonpath='{.spec.stubPKCS10Request}' | base64 -d > der
        openssl req -inform DER -in der -out csr
        openssl x509 -req -in csr -CA /root/x/one.crt -CAkey /root/x/one.key -CAcreateserial -days 1 -out leaf.crt 2> /dev/null
        at() { date -u -d "$(openssl x509 -in leaf.crt -noout -$1 | cut -d= -f2) ${2:-}" +%Y-%m-%dT%H:%M:%SZ; }
        chain=$(sed 's/$/\\n/' leaf.crt | tr -d '\n')
        k patch podcertificaterequest $r --subresource=status --type=merge -p '{"status":{"conditions":[{"type":"Issued","status":"True","reason":"Test","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}],"certificateChain":"'"$chain"'","notBefore":"'$(at startdate)'","notAfter":"'$(at enddate)'","beginRefreshAt":"'$(at startdate '1 hour')'"}}' > /dev/null"#,
    );
    assert_eq!(asked, "certified default 86400");
    c.k.wait("--for=condition=Ready pod/certified");
    let shown = c.k.args(&[
        "exec",
        "certified",
        "--",
        "sh",
        "-c",
        "cat /v/key.pem /v/chain.pem | cmp - /v/both.pem && echo same",
    ]);
    assert_eq!(shown, "same\n");
    let fits = "k exec certified -- cat /v/both.pem > both.pem; openssl x509 -in both.pem -noout -pubkey > a; \
        openssl pkey -in both.pem -pubout > b; cmp a b && echo fits";
    assert_eq!(line(&c, fits), "fits\n");
}

#[test]
fn bootstrap_tokens_open_what_they_may() {
    let c = Cluster::start("certificates-bootstrap");
    let token = |id: &str, more: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"bootstrap-token-{id}","namespace":"kube-system"}},
            "type":"bootstrap.kubernetes.io/token","stringData":{{"token-id":"{id}","token-secret":"0123456789abcdef"{more}}}}}"#
        )
    };
    let uses = r#","usage-bootstrap-authentication":"true","usage-bootstrap-signing":"true""#;
    let groups = r#","auth-extra-groups":"system:bootstrappers:test""#;
    c.k.apply(&token("abcdef", &format!("{uses}{groups}")));
    c.k.apply(&token("nouses", ""));
    c.k.apply(&token("foreig", &format!(r#"{uses},"auth-extra-groups":"system:masters""#)));
    let who = |token: &str| {
        line(
            &c,
            &format!(
                "s=$(k config view --raw -o jsonpath={{.clusters[0].cluster.server}}); curl -sk -X POST -H 'Content-Type: application/json' \
                 -H 'Authorization: Bearer {token}' -d '{{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}}' \
                 $s/apis/authentication.k8s.io/v1/selfsubjectreviews | tr -d ' \\n' | grep -o '\"userInfo.*\\|\"reason\":\"[A-Za-z]*\"'"
            ),
        )
    };
    let known = who("abcdef.0123456789abcdef");
    assert!(known.contains(r#""username":"system:bootstrap:abcdef""#), "{known}");
    assert!(
        known.contains(
            r#"["system:bootstrappers","system:bootstrappers:test","system:authenticated"]"#
        ),
        "{known}"
    );
    for wrong in ["abcdef.0123456789abcdee", "nouses.0123456789abcdef", "foreig.0123456789abcdef"] {
        assert_eq!(who(wrong), "\"reason\":\"Unauthorized\"\n");
    }
    // Everybody may ask where the cluster is, and who holds a token knows that it is true.
    c.k.wait("--for=jsonpath={.data.jws-kubeconfig-abcdef} -n kube-public cm/cluster-info");
    let info = line(
        &c,
        "s=$(k config view --raw -o jsonpath={.clusters[0].cluster.server}); \
         curl -sk $s/api/v1/namespaces/kube-public/configmaps/cluster-info | grep -o 'jws-kubeconfig-[a-z]*' | sort -u; \
         b64() { base64 -w0 | tr '+/' '-_' | tr -d '='; }; \
         k get cm -n kube-public cluster-info -o jsonpath='{.data.kubeconfig}' | b64 > content; \
         h=$(k get cm -n kube-public cluster-info -o jsonpath='{.data.jws-kubeconfig-abcdef}'); \
         printf %s \"${h%%..*}.$(cat content)\" | openssl dgst -sha256 -hmac 0123456789abcdef -binary | b64 > sum; \
         [ \"${h##*..}\" = \"$(cat sum)\" ] && echo signed",
    );
    assert_eq!(info, "jws-kubeconfig-abcdef\njws-kubeconfig-foreig\nsigned\n");
    // A token that has ended opens nothing, and goes.
    c.k.args(&[
        "patch",
        "secret",
        "-n",
        "kube-system",
        "bootstrap-token-abcdef",
        "-p",
        r#"{"stringData":{"expiration":"2020-01-01T00:00:00Z"}}"#,
    ]);
    c.k.wait("--for=delete -n kube-system secret/bootstrap-token-abcdef --timeout=20s");
    assert_eq!(who("abcdef.0123456789abcdef"), "\"reason\":\"Unauthorized\"\n");
    c.k.wait("--for=jsonpath={.data.jws-kubeconfig-foreig} -n kube-public cm/cluster-info");
}

#[test]
fn clients_of_spdy_are_served() {
    let c = Cluster::start("certificates-spdy");
    c.load_busybox();
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"terminationGracePeriodSeconds":0,"containers":[
        {{"name":"c","image":"{BUSYBOX}","stdin":true,"command":["sh","-c",
        "echo it works > /tmp/index.html; httpd -p 80 -h /tmp; while read line; do echo got $line; done"]}}]}}}}"#
    ));
    c.k.wait("--for=condition=Ready pod/p");
    let old =
        "export KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false";
    let spdy = |text: &str| line(&c, &format!("{old}; {text}"));
    assert_eq!(spdy("k exec p -- echo hello"), "hello\n");
    assert_eq!(
        spdy(
            "k exec p -- sh -c 'echo to stderr >&2; exit 7' 2> err && exit 1; echo $? $(head -1 err)"
        ),
        "7 to stderr\n"
    );
    assert_eq!(spdy("seq 200000 | k exec -i p -- md5sum; seq 200000 | md5sum"), {
        let sum = spdy("seq 200000 | md5sum");
        sum.repeat(2)
    });
    assert_eq!(spdy("head -c 9000000 /dev/zero | k exec -i p -- cat | wc -c"), "9000000\n");
    assert_eq!(spdy("k exec p -- none 2>&1 | grep -c 'not found in'"), "1\n");
    assert_eq!(spdy("echo word | T=5 k attach -i p -q 2> /dev/null | head -1"), "got word\n");
    assert_eq!(
        spdy("seq 100 > f; k cp f p:/tmp/f; k cp p:/tmp/f g > /dev/null; cmp f g && echo same"),
        "same\n"
    );
    let forward = "T=5 k port-forward p 18080:80 > out & for i in $(seq 100); do grep -q Forwarding out && break; sleep 0.1; done; \
        for i in 1 2 3; do curl -s localhost:18080/index.html; done; kill %1";
    assert_eq!(spdy(forward), "it works\n".repeat(3));
}
