use super::*;
use crate::configured::fake::Fake;
use crate::identity::keys::signing::SigningKey;
use crate::identity::keys::signing::tests::pem;
use serde_json::{Value, json};

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
    expect_test::expect![[r#""#]].assert_eq(&out);
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
    bench.fake.answers("/keys", 503, "later");
    out += &format!("away: {}\n", bench.says(&old).await);
    // However many ask, the issuer is asked once for all of them.
    bench.fake.asked();
    let many = (0..50).map(|_| bench.says(&old));
    futures_util::future::join_all(many).await;
    let fetches = bench.fake.asked().len();
    expect_test::expect![[r#""#]].assert_eq(&out);
    assert!(fetches <= 50, "{fetches}");
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
    expect_test::expect![[r#""#]].assert_eq(&out);
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
    expect_test::expect![[r#""#]].assert_eq(&out);
}
