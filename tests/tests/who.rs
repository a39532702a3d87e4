//! Who calls and what they may, when files of the machine's owner say it: an issuer of tokens and webhooks beside the
//! cluster, in its machine. They are a program of a page (`SERVER`); what it says is changed by files.

use skiff_tests::cluster::Cluster;
use skiff_tests::kit;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};

/// An issuer (`/issuer`) and two webhooks (`/tokens`, `/access`) over TLS, by the files of its folder.
const SERVER: &str = r#"
import json, ssl, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
folder = sys.argv[1]
def text(name): return open(f"{folder}/{name}").read()
class Handler(BaseHTTPRequestHandler):
    def say(self, body, status=200):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        self.say(text("jwks" if self.path == "/issuer/keys" else "discovery"))
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(f"{folder}/asked", "a") as asked: asked.write(json.dumps(review) + "\n")
        if self.path == "/tokens":
            known = review["spec"]["token"] == "known-elsewhere"
            review["status"] = {"authenticated": known, "user": {"username": "hook-user", "groups": ["hooked"]}} if known else {"authenticated": False}
        else:
            verdict = json.loads(text("access")).get(review["spec"].get("user"), {"allowed": False})
            if verdict == "silent": time.sleep(60)
            review["status"] = verdict
        self.say(json.dumps(review))
    def log_message(self, *words): pass
server = ThreadingHTTPServer(("127.0.0.1", 9443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
open(f"{folder}/ready", "w").close()
server.serve_forever()
"#;

/// Makes keys, sets of keys and tokens by openssl.
const TOOL: &str = r#"
import base64, json, subprocess, sys, time
folder, what, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
def b64(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
def run(*words, data=None): return subprocess.run(words, input=data, capture_output=True, check=True).stdout
if what == "jwks":
    keys = []
    for name in rest:
        n = run("openssl", "rsa", "-in", f"{folder}/{name}.pem", "-noout", "-modulus").decode().strip().split("=")[1]
        keys.append({"kty": "RSA", "kid": name, "use": "sig", "alg": "RS256", "n": b64(bytes.fromhex(n)), "e": "AQAB"})
    open(f"{folder}/jwks", "w").write(json.dumps({"keys": keys}))
else:
    name, claims = rest[0], json.loads(rest[1])
    claims = {"iss": "https://127.0.0.1:9443/issuer", "aud": "us", "sub": "bob", "exp": int(time.time()) + 600, **claims}
    head = {"alg": "RS256", "kid": name} if name else {"alg": "RS256"}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    print(text + "." + b64(run("openssl", "dgst", "-sha256", "-sign", f"{folder}/{name or 'one'}.pem", data=text.encode())))
"#;

struct Beside<'a> {
    c: &'a Cluster,
    folder: String,
    server: Option<Child>,
    /// How many changes of files were seen, by what they are about and what came of them.
    reloads: BTreeMap<(&'static str, &'static str), u32>,
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            _ = server.kill();
            _ = server.wait();
        }
    }
}

impl<'a> Beside<'a> {
    fn new(c: &'a Cluster) -> Beside<'a> {
        let folder = format!("{}-beside", c.machine().data().display());
        c.shell(&format!(
            "mkdir -p {folder}; cd {folder}; echo '{{}}' > access
             for key in one two; do openssl genrsa -out $key.pem 2048 2> /dev/null; done
             new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
             openssl req -x509 $new -keyout ca.key -subj /CN=authority -out ca.crt 2> /dev/null
             openssl req $new -keyout tls.key -subj /CN=beside -out tls.csr 2> /dev/null
             echo subjectAltName=IP:127.0.0.1 > names
             openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out tls.crt 2> /dev/null"
        ));
        let beside = Beside { c, folder, server: None, reloads: BTreeMap::new() };
        beside.write("server.py", SERVER);
        beside.write("tool.py", TOOL);
        beside.tool(&["jwks", "one"]);
        beside.write(
            "discovery",
            r#"{"issuer": "https://127.0.0.1:9443/issuer", "jwks_uri": "https://127.0.0.1:9443/issuer/keys"}"#,
        );
        for path in ["tokens", "access"] {
            beside.write(
                &format!("{path}.kubeconfig"),
                &format!(
                    "{{current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{}}}}],
                      clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:9443/{path}\", certificate-authority: ca.crt}}}}]}}"
                ),
            );
        }
        beside
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn write(&self, name: &str, text: &str) {
        let fresh = self.path("fresh");
        std::fs::write(&fresh, text).expect("written");
        std::fs::rename(fresh, self.path(name)).expect("it lies beside");
    }

    fn tool(&self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let (tool, folder) = (self.path("tool.py"), &self.folder);
        self.c.shell(&format!("python3 {tool} {folder} {}", words.join(" "))).trim().to_owned()
    }

    fn token(&self, key: &str, claims: &str) -> String {
        self.tool(&["token", key, claims])
    }

    fn serve(&mut self) {
        let mut command = self.c.inside(Path::new("python3"));
        command.args([self.path("server.py"), self.folder.clone()]).stdin(Stdio::null());
        self.server = Some(command.spawn().expect("python3"));
        self.c.shell(&format!(
            "for i in $(seq 200); do [ -e {0} ] && exit; sleep 0.05; done; exit 1",
            self.path("ready")
        ));
    }

    /// The code, and the user that the API says a token is.
    fn who(&self, token: &str) -> String {
        let body = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
        let said = self.ask(token, "-d", body, "/apis/authentication.k8s.io/v1/selfsubjectreviews");
        // The answer is laid out for people.
        match said.split_once("\"userInfo\":") {
            Some((_, user)) => user.split_whitespace().collect(),
            None => said.rsplit('\n').next().unwrap_or_default().to_owned(),
        }
    }

    fn ask(&self, token: &str, flag: &str, value: &str, path: &str) -> String {
        self.c.shell(&format!(
            "curl -s -k -m 20 -w '\\n%{{http_code}}' -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \
             {flag} '{value}' https://127.0.0.1:6443{path}"
        ))
    }

    /// The code of a list that a user of the issuer asks for.
    fn may(&self, user: &str) -> String {
        let token = self.token("two", &format!(r#"{{"sub": "{user}"}}"#));
        let path = "/api/v1/namespaces/default/configmaps?labelSelector=a%3Db";
        let said = self.ask(&token, "-X", "GET", path);
        said.rsplit('\n').next().unwrap_or_default().to_owned()
    }

    /// Waits until one more change of a file is told in the metrics.
    fn reloads(&mut self, subject: &'static str, status: &'static str) {
        let seen = self.reloads.entry((subject, status)).or_default();
        *seen += 1;
        let row = format!(
            "apiserver_{subject}_config_controller_automatic_reloads_total{{status=\"{status}\"}} {seen}\n"
        );
        for _ in 0..200 {
            if self.c.k.ok("get --raw /metrics").contains(&row) {
                return;
            }
            self.c.shell("sleep 0.1");
        }
        panic!("no metric says {row}");
    }

    /// Asks until the answer is another: a changed file counts soon after.
    fn until(&self, token: &str, wanted: impl Fn(&str) -> bool) -> String {
        // An issuer is looked for every ten seconds.
        for _ in 0..300 {
            let said = self.who(token);
            if wanted(&said) {
                return said;
            }
            self.c.shell("sleep 0.1");
        }
        panic!("the changed file does not count: {}", self.who(token));
    }
}

fn issuers(authority: &str, prefix: &str) -> String {
    let authority = authority.replace('\n', "\n        ");
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://127.0.0.1:9443/issuer
    audiences: [us]
    certificateAuthority: |
        {authority}
  claimMappings:
    username: {{expression: \"'{prefix}' + claims.sub\"}}
    groups: {{claim: groups, prefix: \"g:\"}}
  userValidationRules:
  - {{expression: \"!user.username.endsWith('root')\", message: root is reserved}}
anonymous:
  enabled: true
  conditions: [{{path: /livez}}, {{path: /readyz}}, {{path: /healthz}}]
"
    )
}

fn chain(kubeconfig: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: hook
  webhook:
    timeout: 1s
    unauthorizedTTL: 1s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    matchConditions: [{{expression: \"request.user.startsWith('p:')\"}}]
    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {kubeconfig}}}
- {{type: Node, name: node}}
- {{type: RBAC, name: rbac}}
"
    )
}

#[test]
fn tokens_and_rights_come_from_elsewhere() {
    kit::kubectl().expect("the kit");
    let c = Cluster::empty("who");
    let mut beside = Beside::new(&c);
    let authority = std::fs::read_to_string(beside.path("ca.crt")).expect("made");
    beside.write("issuers.yaml", &issuers(&authority, "p:"));
    beside.write("chain.yaml", &chain(&beside.path("access.kubeconfig")));
    // The issuer is not there yet: the cluster comes up all the same.
    c.skiff(&[
        "up",
        "--authentication-config",
        &beside.path("issuers.yaml"),
        "--authorization-config",
        &beside.path("chain.yaml"),
        "--authentication-token-webhook-config-file",
        &beside.path("tokens.kubeconfig"),
    ]);
    let good = beside.token("one", r#"{"groups": ["a"]}"#);
    assert_eq!(beside.who(&good), "401");
    beside.serve();
    let said = beside.until(&good, |said| said != "401");
    assert!(said.contains(r#""username":"p:bob""#) && said.contains(r#""g:a""#), "{said}");
    for (key, claims) in [
        ("one", r#"{"aud": "them"}"#),
        ("one", r#"{"exp": 1000000000}"#),
        ("one", r#"{"iss": "https://other"}"#),
        ("one", r#"{"sub": "root"}"#),
        ("one", r#"{"sub": null}"#),
        ("two", "{}"),
    ] {
        assert_eq!(beside.who(&beside.token(key, claims)), "401", "{key} {claims}");
    }
    // The issuer signs with another key from now on.
    beside.tool(&["jwks", "two"]);
    assert!(beside.who(&beside.token("two", "{}")).contains("p:bob"));
    // What nobody else knows, the webhook may know.
    let said = beside.who("known-elsewhere");
    assert!(
        said.contains(r#""username":"hook-user""#) && said.contains("system:authenticated"),
        "{said}"
    );
    assert_eq!(beside.who("known-nowhere"), "401");
    rights(&beside);
    // Anonymous callers see what the file says and nothing else.
    let code = |path: &str| {
        c.shell(&format!(
            "curl -s -k -m 20 -o /dev/null -w '%{{http_code}}' https://127.0.0.1:6443{path}"
        ))
    };
    assert_eq!([code("/livez"), code("/version")], ["200", "401"]);
    // A wrong file counts for nothing, a right one at once.
    let fresh = beside.token("two", "{}");
    beside.write("issuers.yaml", "kind: Nonsense");
    beside.reloads("authentication", "failure");
    assert!(beside.who(&fresh).contains("p:bob"));
    beside.write("issuers.yaml", &issuers(&authority, "q:"));
    beside.reloads("authentication", "success");
    assert!(beside.who(&fresh).contains("q:bob"));
    // What the file says of anonymous callers stays as it was at the start.
    let open = issuers(&authority, "r:")
        .replace("conditions: [{path: /livez},", "conditions: [{path: /version},");
    beside.write("issuers.yaml", &open);
    beside.reloads("authentication", "failure");
    assert!(beside.who(&fresh).contains("q:bob"));
    assert_eq!(code("/version"), "401");
    // A chain without the authorizers of the start is refused; one that asks nobody else counts.
    beside.write("access", r#"{"q:yes": {"allowed": true}}"#);
    let rule = chain(&beside.path("access.kubeconfig"));
    beside.write("chain.yaml", &rule.replace("- {type: Node, name: node}\n", ""));
    beside.reloads("authorization", "failure");
    assert_eq!(beside.may("yes"), "403");
    beside.write("chain.yaml", &rule.replace("'p:'", "'q:'"));
    beside.reloads("authorization", "success");
    assert_eq!(beside.may("yes"), "200");
    beside.write("chain.yaml", &rule.replace("'p:'", "'none'"));
    beside.reloads("authorization", "success");
    assert_eq!(beside.may("yes"), "403");
}

/// What the webhook allows and denies, and what its silence costs.
fn rights(beside: &Beside) {
    let may = |user: &str| beside.may(user);
    beside.write(
        "access",
        r#"{"p:yes": {"allowed": true}, "p:no": {"allowed": false, "denied": true, "reason": "never"}, "p:silent": "silent"}"#,
    );
    assert_eq!([may("yes"), may("no"), may("other")], ["200", "403", "403"]);
    // One that is silent costs its time; then nobody allows it, and the error is told.
    assert_eq!(may("silent"), "500");
    let asked = std::fs::read_to_string(beside.path("asked")).expect("it was asked");
    let selects =
        r#""labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}"#;
    assert!(asked.contains(selects), "{asked}");
    // The administrator is asked nobody about.
    beside.c.k.ok("get configmaps -n default");
}

#[test]
fn settings_say_who_issues_tokens_of_accounts() {
    kit::kubectl().expect("the kit");
    let c = Cluster::empty("who-issues");
    let beside = Beside::new(&c);
    let public = beside.path("one.pub");
    c.shell(&format!(
        "openssl rsa -in {} -pubout -out {public} 2> /dev/null",
        beside.path("one.pem")
    ));
    let settings = [
        ("service-account-issuer", "https://new.example"),
        ("service-account-issuer", "https://old.example"),
        ("service-account-jwks-uri", "https://keys.example/jwks"),
        ("service-account-key-file", &public),
        ("api-audiences", "us"),
        ("anonymous-auth", "false"),
    ];
    let flags: Vec<String> = settings
        .iter()
        .flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()])
        .collect();
    let up: Vec<&str> = ["up"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    c.skiff(&up);
    let document = c.k.ok("get --raw /.well-known/openid-configuration");
    for part in
        [r#""issuer":"https://new.example""#, r#""jwks_uri":"https://keys.example/jwks""#, "RS256"]
    {
        assert!(document.contains(part), "{part}: {document}");
    }
    assert!(c.k.ok("get --raw /openid/v1/jwks").contains(r#""kty":"RSA""#));
    let anonymous =
        c.shell("curl -s -k -o /dev/null -w '%{http_code}' https://127.0.0.1:6443/livez");
    assert_eq!(anonymous, "401");
    let token = c.k.ok("create token default");
    assert!(beside.who(token.trim()).contains("system:serviceaccount:default:default"));
    let uid = c.k.ok("get serviceaccount default -o jsonpath={.metadata.uid}");
    // A token of before: of the issuer of before, by the key of before.
    let old = |issuer: &str, key: &str| {
        let claims = serde_json::json!({
            "iss": issuer, "aud": ["us"], "sub": "system:serviceaccount:default:default", "iat": 1, "nbf": 1,
            "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "default", "uid": uid}},
        });
        beside.who(&beside.token(key, &claims.to_string()))
    };
    assert!(old("https://old.example", "").contains("system:serviceaccount:default:default"));
    assert_eq!(old("https://other.example", ""), "401");
    assert_eq!(old("https://old.example", "two"), "401");
}

#[test]
fn a_wrong_file_is_told_before_anything_starts() {
    let c = Cluster::empty("who-wrong");
    let folder = c.machine().data().display().to_string() + "-wrong";
    std::fs::create_dir_all(&folder).expect("made");
    let file = format!("{folder}/chain.yaml");
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: []\n";
    std::fs::write(&file, text).expect("written");
    let answer = c.skiff_answers(&["up", "--authorization-config", &file]);
    let said = format!("{answer:?}");
    assert!(
        said.contains(
            "authorizers: Required value: at least one authorization mode must be defined"
        ),
        "{said}"
    );
}
