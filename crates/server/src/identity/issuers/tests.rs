use super::*;
use crate::configured::fake::Fake;
use crate::identity::keys::signing::SigningKey;
use crate::identity::keys::signing::tests::pem;
use skiff_json::{Value, json};

fn key() -> SigningKey {
    SigningKey::from_pem(&pem().0).expect("it reads")
}

/// A file with one issuer, with these further fields.
fn file(url: &str, authority: &str, more: Value) -> Vec<u8> {
    let mut jwt = json!({
        "issuer": {"url": url, "certificateAuthority": authority, "audiences": ["us"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": "p:"}},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        jwt[name] = value.clone();
    }
    let head = ("apiserver.config.k8s.io/v1", "AuthenticationConfiguration");
    json!({"apiVersion": head.0, "kind": head.1, "jwt": [jwt]}).to_string().into_bytes()
}

struct Bench {
    world: World,
    fake: Fake,
    key: SigningKey,
    issuers: Issuers,
}

async fn bench(more: Value) -> Bench {
    let (world, fake, key) = (World::real(), Fake::secret().await, key());
    let keys = format!("{}/keys", fake.url);
    fake.answers(
        "/.well-known/openid-configuration",
        200,
        json!({"issuer": fake.url, "jwks_uri": keys}),
    );
    fake.answers("/keys", 200, key.jwks());
    let text = file(&fake.url, &fake.authority, more);
    let issuers = configure(&text, &[], &world).map_err(|why| panic!("{why}"));
    let issuers = issuers.expect("it is right").issuers;
    issuers.ready().await;
    Bench { world, fake, key, issuers }
}

impl Bench {
    fn token(&self, key: &SigningKey, change: Value) -> String {
        let now = self.world.now().as_second();
        let mut claims = json!({"iss": self.fake.url, "aud": "us", "sub": "bob", "exp": now + 600});
        for (name, value) in change.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        key.sign(&claims).expect("it signs")
    }

    async fn says(&self, token: &str) -> String {
        let said = match self.issuers.user(token).await {
            Ok(Some(User { name, uid, groups, extra })) => {
                format!("{name} {uid:?} {groups:?} {extra:?}")
            }
            Ok(None) => "nobody".to_owned(),
            Err(why) => why,
        };
        said.replace(&self.fake.url, "URL")
    }

    async fn claims(&self, change: Value) -> String {
        format!("{change}: {}\n", self.says(&self.token(&self.key, change.clone())).await)
    }
}

#[tokio::test]
async fn tokens_are_checked_before_they_are_believed() {
    let bench =
        bench(json!({"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]})).await;
    let mut out = String::new();
    for change in [
        json!({"hd": "x"}),
        json!({"hd": "x", "aud": ["them", "us"], "jti": "7", "nbf": 1}),
        json!({"hd": "x", "aud": ["them"]}),
        json!({"hd": "x", "aud": 1}),
        json!({"hd": "x", "exp": 1_000_000_000}),
        json!({"hd": "x", "exp": null}),
        json!({"hd": "x", "exp": "soon"}),
        json!({"hd": "x", "iss": "https://other"}),
        json!({"hd": "x", "sub": null}),
        json!({"hd": "x", "sub": 7}),
        json!({"hd": "y"}),
        json!({"hd": ["x"]}),
        json!({}),
    ] {
        out += &bench.claims(change).await;
    }
    out += &format!("no token: {}\n", bench.says("a.b").await);
    let good = bench.token(&bench.key, json!({"hd": "x"}));
    let (text, _) = good.rsplit_once('.').expect("three parts");
    out += &format!("no signature: {}\n", bench.says(&format!("{text}.")).await);
    let unsigned = BASE64URL.encode(r#"{"alg":"none"}"#);
    let claims = good.split('.').nth(1).expect("three parts");
    out += &format!("no algorithm: {}\n", bench.says(&format!("{unsigned}.{claims}.")).await);
    expect_test::expect![[r#"
        {"hd":"x"}: p:bob "" [] []
        {"aud":["them","us"],"hd":"x","jti":"7","nbf":1}: p:bob "" [] [("authentication.kubernetes.io/credential-id", ["JTI=7"])]
        {"aud":["them"],"hd":"x"}: oidc: verify token: oidc: expected audience "us" got ["them"]
        {"aud":1,"hd":"x"}: oidc: verify token: oidc: failed to unmarshal claims: json: cannot unmarshal number into Go value of type string
        {"exp":1000000000,"hd":"x"}: oidc: verify token: oidc: token is expired (Token Expiry: 2001-09-09 01:46:40 +0000 UTC)
        {"exp":null,"hd":"x"}: oidc: verify token: oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)
        {"exp":"soon","hd":"x"}: oidc: verify token: oidc: failed to unmarshal claims: json: cannot unmarshal string into Go value of type json.Number
        {"hd":"x","iss":"https://other"}: nobody
        {"hd":"x","sub":null}: p: "" [] []
        {"hd":"x","sub":7}: oidc: parse username claims "sub": json: cannot unmarshal number into Go value of type string
        {"hd":"y"}: oidc: required claim hd value does not match. Got = y, want = x
        {"hd":["x"]}: oidc: parse claim hd: json: cannot unmarshal array into Go value of type string
        {}: oidc: required claim hd not present in ID token
        no token: nobody
        no signature: oidc: verify token: failed to verify signature: failed to verify id token signature
        no algorithm: oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"] got "none"
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn keys_change_and_go_wrong_without_harm() {
    let bench = bench(json!({})).await;
    let (old, new) = (bench.token(&bench.key, json!({})), key());
    let fresh = bench.token(&new, json!({}));
    let mut out = format!("an old key: {}\n", bench.says(&old).await);
    out += &format!("a key of nobody: {}\n", bench.says(&fresh).await);
    bench.fake.answers("/keys", 200, new.jwks());
    out += &format!("a new key: {}\n", bench.says(&fresh).await);
    out += &format!("the old one is gone: {}\n", bench.says(&old).await);
    bench.fake.answers("/keys", 200, "no keys");
    out += &format!("a known key needs nobody: {}\n", bench.says(&fresh).await);
    out += &format!("garbage: {}\n", bench.says(&old).await);
    bench.fake.answers("/keys", 200, "x".repeat(3 << 20));
    out += &format!("huge: {}\n", bench.says(&old).await);
    bench.fake.answers("/moved", 200, bench.key.jwks());
    bench.fake.answers("/keys", 302, format!("{}/moved", bench.fake.url));
    out += &format!("elsewhere: {}\n", bench.says(&old).await);
    assert!(bench.fake.asked().iter().all(|(path, _)| path != "/moved"));
    bench.fake.answers("/keys", 503, "later");
    out += &format!("away: {}\n", bench.says(&old).await);
    // However many ask at once, the issuer is asked once for all of them.
    bench.fake.asked();
    let many = (0..50).map(|_| bench.says(&old));
    futures_util::future::join_all(many).await;
    let fetches = bench.fake.asked().len();
    expect_test::expect![[r#"
        an old key: p:bob "" [] []
        a key of nobody: oidc: verify token: failed to verify signature: failed to verify id token signature
        a new key: p:bob "" [] []
        the old one is gone: oidc: verify token: failed to verify signature: failed to verify id token signature
        a known key needs nobody: p:bob "" [] []
        garbage: oidc: verify token: failed to verify signature: fetching keys oidc: failed to decode keys: got Content-Type = application/json, but could not unmarshal as JSON: expected ident at line 1 column 2 no keys
        huge: oidc: verify token: failed to verify signature: fetching keys oidc: get keys failed Get "URL/keys": the answer is larger than 1048576 bytes
        elsewhere: oidc: verify token: failed to verify signature: fetching keys oidc: get keys failed: 302 Found URL/moved
        away: oidc: verify token: failed to verify signature: fetching keys oidc: get keys failed: 503 Service Unavailable later
    "#]].assert_eq(&out);
    assert_eq!(fetches, 1);
}

/// A token of any head and claims, with what signs its text.
fn made(head: Value, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", BASE64URL.encode(head.to_string()), BASE64URL.encode(claims));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", BASE64URL.encode(signature))
}

#[tokio::test]
async fn nothing_but_the_issuers_own_key_makes_a_token() {
    let bench = bench(json!({})).await;
    let good = bench.token(&bench.key, json!({}));
    let claims = good.split('.').nth(1).and_then(|part| BASE64URL.decode(part).ok());
    let claims = String::from_utf8(claims.expect("it is ours")).expect("it is text");
    let jwk = &bench.key.jwks()["keys"][0];
    let id = jwk["kid"].clone();
    let hmac = |secret: Vec<u8>| {
        move |text: &[u8]| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            ring::hmac::sign(&key, text).as_ref().to_vec()
        }
    };
    let coordinate = |name: &str| BASE64URL.decode(jwk[name].as_str().unwrap_or("")).expect("one");
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let (mut out, own) = (String::new(), good.rsplit_once('.').expect("three parts").1);
    let own = BASE64URL.decode(own).expect("a signature");
    for (what, token) in [
        ("none", made(json!({"alg": "none", "kid": id}), &claims, |_| Vec::new())),
        ("None", made(json!({"alg": "None", "kid": id}), &claims, |_| Vec::new())),
        ("no algorithm", made(json!({"kid": id}), &claims, |_| Vec::new())),
        ("a digest", made(json!({"alg": "HS256", "kid": id}), &claims, hmac(point.clone()))),
        (
            "a digest by the set",
            made(json!({"alg": "HS256"}), &claims, hmac(jwk.to_string().into_bytes())),
        ),
        ("a digest as a signature", made(json!({"alg": "ES256", "kid": id}), &claims, hmac(point))),
        (
            "of another text",
            made(json!({"alg": "ES256", "kid": id, "typ": "JWT"}), &claims, |_| own.clone()),
        ),
        ("zeros", made(json!({"alg": "ES256", "kid": id}), &claims, |_| vec![0; 64])),
        ("as RSA", made(json!({"alg": "RS256", "kid": id}), &claims, |_| vec![1; 256])),
        ("a key in the head", {
            let (other, text) = (key(), claims.clone());
            let jwk = other.jwks()["keys"][0].clone();
            let signed = other.sign(&skiff_json::from_str(&text).expect("claims")).expect("signed");
            let signature = signed.rsplit_once('.').expect("three parts").1;
            let signature = BASE64URL.decode(signature).expect("a signature");
            made(json!({"alg": "ES256", "jwk": jwk}), &text, |_| signature.clone())
        }),
        ("a critical word", made(json!({"alg": "ES256", "crit": ["b64"]}), &claims, |_| vec![])),
        ("deep claims", {
            let deep = format!("{{\"iss\":\"{}\",\"x\":{}", bench.fake.url, "[".repeat(100_000));
            made(json!({"alg": "ES256", "kid": id}), &deep, |_| own.clone())
        }),
    ] {
        out += &format!("{what}: {}\n", bench.says(&token).await);
    }
    // Signed, and deeper than anything is read.
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    out += &format!("signed deep claims: {}\n", {
        let token = bench.token(&bench.key, json!({"x": deep}));
        bench.says(&token).await
    });
    expect_test::expect![[r#"
        none: oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"] got "none"
        None: oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"] got "None"
        no algorithm: oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"] got ""
        a digest: oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"] got "HS256"
        a digest by the set: oidc: verify token: oidc: id token signed with unsupported algorithm, expected ["ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "RS256" "RS384" "RS512"] got "HS256"
        a digest as a signature: oidc: verify token: failed to verify signature: failed to verify id token signature
        of another text: oidc: verify token: failed to verify signature: failed to verify id token signature
        zeros: oidc: verify token: failed to verify signature: failed to verify id token signature
        as RSA: oidc: verify token: failed to verify signature: failed to verify id token signature
        a key in the head: oidc: verify token: failed to verify signature: failed to verify id token signature
        a critical word: oidc: verify token: oidc: malformed jwt: unsupported crit header
        deep claims: nobody
        signed deep claims: oidc: verify token: oidc: failed to unmarshal claims: recursion limit exceeded at line 1 column 204
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn each_issuer_speaks_for_itself_alone() {
    let (one, two) = (bench(json!({})).await, bench(json!({})).await);
    let mut both: Value =
        skiff_json::from_slice(&file(&one.fake.url, &one.fake.authority, json!({})))
            .expect("it is JSON");
    let other: Value = skiff_json::from_slice(&file(&two.fake.url, &two.fake.authority, json!({})))
        .expect("it is JSON");
    both["jwt"].as_array_mut().expect("a list").push(other["jwt"][0].clone());
    let Ok(configured) = configure(both.to_string().as_bytes(), &[], &one.world) else {
        panic!("it is right")
    };
    configured.issuers.ready().await;
    let says = async |token: String| match configured.issuers.user(&token).await {
        Ok(user) => user.map_or("nobody".to_owned(), |user| user.name),
        Err(why) => why,
    };
    assert_eq!(says(one.token(&one.key, json!({}))).await, "p:bob");
    assert_eq!(says(two.token(&two.key, json!({}))).await, "p:bob");
    let unsigned =
        "oidc: verify token: failed to verify signature: failed to verify id token signature";
    // A token in the name of one, by the key of the other.
    assert_eq!(says(one.token(&two.key, json!({}))).await, unsigned);
    assert_eq!(says(two.token(&one.key, json!({}))).await, unsigned);
    assert_eq!(says(one.token(&one.key, json!({"iss": "https://x"}))).await, "nobody");
}

#[tokio::test]
async fn every_field_of_an_issuer_counts() {
    let (world, fake, key) = (World::real(), Fake::secret().await, key());
    let name = "https://issuer.example";
    let keys = format!("{}/keys", fake.url);
    fake.answers("/found", 200, json!({"issuer": name, "jwks_uri": keys}));
    fake.answers("/keys", 200, key.jwks());
    let more = json!({
        "issuer": {"url": name, "discoveryURL": format!("{}/found", fake.url), "audiences": ["us", "them"],
            "audienceMatchPolicy": "MatchAny", "certificateAuthority": fake.authority},
        "claimMappings": {"username": {"claim": "email", "prefix": ""}, "uid": {"claim": "sub"},
            "groups": {"claim": "roles", "prefix": "r:"}},
    });
    let Ok(configured) = configure(&file("", "", more), &[], &world) else { panic!("it is right") };
    configured.issuers.ready().await;
    let bench = Bench { world, fake, key, issuers: configured.issuers };
    let mut out = String::new();
    for change in [
        json!({"iss": name, "email": "b@x", "roles": ["a"]}),
        json!({"iss": name, "email": "b@x", "roles": "a", "aud": ["x", "them"]}),
        json!({"iss": name, "email": "b@x", "aud": "x"}),
        json!({"iss": name, "email": "b@x", "email_verified": false}),
        json!({"iss": name, "email": "b@x", "roles": [1]}),
        json!({"iss": name, "email": "b@x", "_claim_names": {"roles": "there"}}),
        json!({"email": "b@x"}),
    ] {
        out += &bench.claims(change).await;
    }
    let out = out.replace(&bench.fake.url, "URL");
    expect_test::expect![[r#"
        {"email":"b@x","iss":"https://issuer.example","roles":["a"]}: b@x "bob" ["r:a"] []
        {"aud":["x","them"],"email":"b@x","iss":"https://issuer.example","roles":"a"}: b@x "bob" ["r:a"] []
        {"aud":"x","email":"b@x","iss":"https://issuer.example"}: oidc: verify token: oidc: expected audience in ["them" "us"] got ["x"]
        {"email":"b@x","email_verified":false,"iss":"https://issuer.example"}: oidc: email not verified
        {"email":"b@x","iss":"https://issuer.example","roles":[1]}: oidc: parse groups claim "roles": json: cannot unmarshal array into Go value of type string
        {"_claim_names":{"roles":"there"},"email":"b@x","iss":"https://issuer.example"}: oidc: could not expand distributed claims: claim "roles" is at another endpoint, which is not asked here
        {"email":"b@x"}: nobody
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn an_issuer_that_is_silent_costs_its_time_alone() {
    let bench = bench(json!({})).await;
    let token = bench.token(&bench.key, json!({}));
    bench.fake.silent("/keys");
    // Nothing will be heard any more: time may run.
    tokio::time::pause();
    let begun = bench.world.uptime();
    let said = bench.says(&token).await;
    assert!(
        said.ends_with(
            "fetching keys oidc: get keys failed Get \"URL/keys\": context deadline exceeded"
        ),
        "{said}"
    );
    assert!(bench.world.uptime() - begun < std::time::Duration::from_secs(31));
}

#[tokio::test]
async fn an_issuer_whose_document_is_of_another_is_none() {
    let mut out = String::new();
    for (status, document) in [
        (200, json!({"issuer": "https://other", "jwks_uri": "URL/keys"}).to_string()),
        (200, json!({"issuer": "URL/", "jwks_uri": "URL/keys"}).to_string()),
        (200, json!({"jwks_uri": "URL/keys"}).to_string()),
        (200, json!({"issuer": "URL"}).to_string()),
        (200, json!({"issuer": "URL", "jwks_uri": "http://127.0.0.1/keys"}).to_string()),
        (200, json!({"issuer": "URL", "jwks_uri": "file:///etc/passwd"}).to_string()),
        (200, "<html>".to_owned()),
        (200, "[".repeat(100_000)),
        (200, "x".repeat(2 << 20)),
        (302, "URL/elsewhere".to_owned()),
        (404, "none".to_owned()),
    ] {
        let (world, fake) = (World::real(), Fake::secret().await);
        let document = document.replace("URL", &fake.url);
        fake.answers("/.well-known/openid-configuration", status, document);
        let text = file(&fake.url, &fake.authority, json!({}));
        let Ok(configured) = configure(&text, &[], &world) else { panic!("it is right") };
        let before = configured.issuers.unready();
        let mut at = configured.issuers.all[0].keys.tried();
        at.wait_for(|at| at.as_ref().is_err_and(|why| !before.ends_with(why.as_str())))
            .await
            .expect("it is looked for");
        let token = Bench { world, fake, key: key(), issuers: configured.issuers };
        out += &format!("{}\n", token.issuers.unready().replace(&token.fake.url, "URL"));
        let said = token.says(&token.token(&token.key, json!({}))).await;
        assert_eq!(said, "oidc: authenticator not initialized");
        assert!(token.fake.asked().iter().all(|(path, _)| path != "/elsewhere"));
    }
    expect_test::expect![[r#"
        oidc: authenticator for issuer "URL" is not healthy: oidc: issuer did not match the issuer returned by provider, expected "URL" got "https://other"
        oidc: authenticator for issuer "URL" is not healthy: oidc: issuer did not match the issuer returned by provider, expected "URL" got "URL/"
        oidc: authenticator for issuer "URL" is not healthy: oidc: issuer did not match the issuer returned by provider, expected "URL" got ""
        oidc: authenticator for issuer "URL" is not healthy: provider did not return JWKS URL
        oidc: authenticator for issuer "URL" is not healthy: the provider's JWKS URL must be https, got "http://127.0.0.1/keys"
        oidc: authenticator for issuer "URL" is not healthy: the provider's JWKS URL must be https, got "file:///etc/passwd"
        oidc: authenticator for issuer "URL" is not healthy: oidc: failed to decode provider discovery object: got Content-Type = application/json, but could not unmarshal as JSON: expected value at line 1 column 1
        oidc: authenticator for issuer "URL" is not healthy: oidc: failed to decode provider discovery object: got Content-Type = application/json, but could not unmarshal as JSON: invalid type: sequence, expected a string at line 1 column 1
        oidc: authenticator for issuer "URL" is not healthy: Get "URL/.well-known/openid-configuration": the answer is larger than 1048576 bytes
        oidc: authenticator for issuer "URL" is not healthy: 302 Found: URL/elsewhere
        oidc: authenticator for issuer "URL" is not healthy: 404 Not Found: none
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn an_expression_that_explodes_is_ended() {
    let text = "claims.l.all(a, claims.l.all(b, claims.l.all(c, a + b + c != '')))";
    let bench =
        bench(json!({"claimValidationRules": [{"expression": text, "message": "m"}]})).await;
    let many: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    let mut out = bench.says(&bench.token(&bench.key, json!({"l": many}))).await + "\n";
    let deep = format!("{}claims.sub{}", "(".repeat(10_000), ")".repeat(10_000));
    for text in [deep, "x".repeat(200_000)] {
        let claims = json!({"claimMappings": {"username": {"expression": text}}});
        let told = configure(&file("https://a", "", claims), &[], &bench.world);
        let why = told.map(|_| "right".to_owned()).unwrap_or_else(|why| why);
        let why = why.rsplit("ERROR").next().unwrap_or_default().to_owned();
        out += &format!(
            "{}\n",
            why.lines().next().unwrap_or_default().chars().take(160).collect::<String>()
        );
    }
    expect_test::expect![[r#"
        oidc: error evaluating claim validation expression: expression 'claims.l.all(a, claims.l.all(b, claims.l.all(c, a + b + c != '')))' resulted in error: operation cancelled: actual cost limit exceeded
        : <input>:-1:0: expression recursion limit exceeded: 250
        : <input>:-1:0: expression code point size exceeds limit: size: 200000, limit 100000
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn claims_become_users_by_expressions() {
    let bench = bench(json!({
        "claimMappings": {
            "username": {"expression": "claims.email.split('@')[0]"},
            "groups": {"expression": "claims.?roles.orValue([]).map(r, 'role:' + r)"},
            "uid": {"expression": "string(claims.sub)"},
            "extra": [{"key": "example.com/dept", "valueExpression": "claims.?dept.orValue('')"}],
        },
        "claimValidationRules": [
            {"expression": "claims.?email_verified.orValue(true) == true", "message": "it is not verified"},
        ],
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "it is reserved"}],
    }))
    .await;
    let mut out = String::new();
    for change in [
        json!({"email": "bob@x", "roles": ["a", "b"], "dept": "d"}),
        json!({"email": "bob@x", "roles": "a"}),
        json!({"email": "system:x@y"}),
        json!({"email": "@y"}),
        json!({"email": "bob@x", "email_verified": false}),
        json!({}),
    ] {
        out += &bench.claims(change).await;
    }
    expect_test::expect![[r#"
        {"dept":"d","email":"bob@x","roles":["a","b"]}: bob "bob" ["role:a", "role:b"] [("example.com/dept", ["d"])]
        {"email":"bob@x","roles":"a"}: oidc: error evaluating group claim expression: expression 'claims.?roles.orValue([]).map(r, 'role:' + r)' resulted in error: no such overload
        {"email":"system:x@y"}: oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: it is reserved
        {"email":"@y"}: oidc: empty username via CEL expression is not allowed
        {"email":"bob@x","email_verified":false}: oidc: error evaluating claim validation expression: validation expression 'claims.?email_verified.orValue(true) == true' failed: it is not verified
        {}: oidc: error evaluating username claim expression: expression 'claims.email.split('@')[0]' resulted in error: no such key: email
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_found_later() {
    let (world, fake) = (World::real(), Fake::secret().await);
    fake.answers("/.well-known/openid-configuration", 500, "not yet");
    let text = file(&fake.url, &fake.authority, json!({}));
    let Ok(configured) = configure(&text, &[], &world) else { panic!("it is right") };
    let bench = Bench { world, fake, key: key(), issuers: configured.issuers };
    let token = bench.token(&bench.key, json!({}));
    assert_eq!(bench.says(&token).await, "oidc: authenticator not initialized");
    assert!(bench.issuers.unready().starts_with("oidc: authenticator for issuer"));
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let world = World::real();
    let check = |text: &[u8]| match configure(text, &["https://own".to_owned()], &world) {
        Ok(_) => "right\n".to_owned(),
        Err(why) => why + "\n",
    };
    let mut out = String::new();
    for (url, authority, more) in [
        ("", "", json!({})),
        ("https://own", "", json!({})),
        ("http://a@b/?c#d", "x", json!({})),
        ("https://a", "", json!({"issuer": {"url": "https://a", "discoveryURL": "https://a/"}})),
        ("https://a", "", json!({"issuer": {"url": "https://a", "audiences": ["a", "", "a"]}})),
        (
            "https://a",
            "",
            json!({"issuer": {"url": "https://a", "audiences": ["a"], "audienceMatchPolicy": "All",
            "egressSelectorType": "cluster"}}),
        ),
        ("https://a", "", json!({"claimMappings": {"username": {}}})),
        ("https://a", "", json!({"claimMappings": {"username": {"claim": "sub"}}})),
        (
            "https://a",
            "",
            json!({"claimMappings": {"username": {"claim": "sub", "expression": "claims.sub"}}}),
        ),
        ("https://a", "", json!({"claimMappings": {"username": {"expression": "claims.email"}}})),
        (
            "https://a",
            "",
            json!({"claimMappings": {"username": {"expression": "claims."}, "extra": [
            {"key": "X", "valueExpression": "''"}, {"key": "a.k8s.io/x"}, {"key": "a.b/c", "valueExpression": "1"},
            {"key": "a.b/c", "valueExpression": "1"}]}}),
        ),
        (
            "https://a",
            "",
            json!({"claimValidationRules": [{}, {"claim": "a", "message": "m"}, {"claim": "a"},
            {"expression": "claims.a"}, {"expression": "true", "requiredValue": "x"}, {"expression": "true"}]}),
        ),
        (
            "https://a",
            "",
            json!({"userValidationRules": [{}, {"expression": "user.name"}, {"expression": "'a'"}]}),
        ),
    ] {
        out += &check(&file(url, authority, more));
    }
    out += &check(
        br#"{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": false, "conditions": [{"path": "/x"}]}}"#,
    );
    expect_test::expect![[r#"
        invalid authentication configuration: jwt[0].issuer.url: Required value
        invalid authentication configuration: jwt[0].issuer.url: Invalid value: "https://own": URL must not overlap with disallowed issuers: [https://own]
        invalid authentication configuration: [jwt[0].issuer.url: Invalid value: "http://a@b/?c#d": URL scheme must be https, jwt[0].issuer.url: Invalid value: "http://a@b/?c#d": URL must not contain a username or password, jwt[0].issuer.url: Invalid value: "http://a@b/?c#d": URL must not contain a query, jwt[0].issuer.url: Invalid value: "http://a@b/?c#d": URL must not contain a fragment, jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates]
        invalid authentication configuration: [jwt[0].issuer.discoveryURL: Invalid value: "https://a/": discoveryURL must be different from URL, jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required]
        invalid authentication configuration: [jwt[0].issuer.audiences[1]: Required value, jwt[0].issuer.audiences[2]: Duplicate value: "a", jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences]
        invalid authentication configuration: [jwt[0].issuer.audienceMatchPolicy: Invalid value: "All": audienceMatchPolicy must be empty or MatchAny for single audience, jwt[0].issuer.egressSelectorType: Invalid value: "cluster": egress selectors are not supported here]
        invalid authentication configuration: jwt[0].claimMappings.username: Required value: claim or expression is required
        invalid authentication configuration: jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing
        invalid authentication configuration: jwt[0].claimMappings.username: Invalid value: "": claim and expression can't both be set
        invalid authentication configuration: jwt[0].claimMappings.username.expression: Invalid value: "claims.email": claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression
        invalid authentication configuration: [jwt[0].claimMappings.username.expression: Invalid value: "claims.": compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'
         | claims.
         | .......^, jwt[0].claimMappings.extra[0].key: Invalid value: "X": must be a domain-prefixed path (such as "acme.io/foo"), jwt[0].claimMappings.extra[0].key: Invalid value: "X": must be lowercase, jwt[0].claimMappings.extra[1].key: Invalid value: "a.k8s.io/x": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use, jwt[0].claimMappings.extra[1].valueExpression: Required value, jwt[0].claimMappings.extra[3].key: Duplicate value: "a.b/c"]
        invalid authentication configuration: [jwt[0].claimValidationRules[0]: Required value: claim or expression is required, jwt[0].claimValidationRules[1].message: Invalid value: "m": may not be specified when claim is set, jwt[0].claimValidationRules[2].claim: Duplicate value: "a", jwt[0].claimValidationRules[3].expression: Invalid value: "claims.a": must evaluate to bool, jwt[0].claimValidationRules[4].requiredValue: Invalid value: "x": may not be specified when expression is set, jwt[0].claimValidationRules[5].expression: Duplicate value: "true"]
        invalid authentication configuration: [jwt[0].userValidationRules[0].expression: Required value, jwt[0].userValidationRules[1].expression: Invalid value: "user.name": compilation failed: ERROR: <input>:1:5: undefined field 'name'
         | user.name
         | ....^, jwt[0].userValidationRules[2].expression: Invalid value: "'a'": must evaluate to bool]
        invalid authentication configuration: anonymous.conditions: Invalid value: [{"Path":"/x"}]: enabled should be set to true when conditions are defined
    "#]].assert_eq(&out);
}
