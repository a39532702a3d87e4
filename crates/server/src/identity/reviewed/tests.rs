use super::*;
use crate::configured::fake::{Fake, Folder, kubeconfig};

struct Bench {
    fake: Fake,
    webhook: Webhook,
    _folder: Folder,
}

/// A webhook whose server has `within` for an answer.
async fn bench(name: &str, within: Duration) -> Bench {
    let (world, fake, folder) = (World::real(), Fake::plain().await, Folder::new(name));
    let named = folder.write("config", &kubeconfig(&format!("{}/ask", fake.url)));
    let reviewer = kubeconfig::load(named.as_ref(), within, &world).expect("it reads");
    let webhook = Webhook::new(reviewer, Duration::from_secs(60), &world);
    Bench { fake, webhook, _folder: folder }
}

impl Bench {
    async fn says(&self, token: &str, wanted: &[&str]) -> String {
        let said = match self.webhook.user(token, wanted, &["own".to_owned()]).await {
            Ok(Some((user, meant))) => {
                let User { name, uid, groups, extra } = user;
                format!("{name} {uid:?} {groups:?} {extra:?} for {meant:?}")
            }
            Ok(None) => "nobody".to_owned(),
            Err(why) => why,
        };
        said.replace(&self.fake.url, "URL")
    }
}

fn answer(status: Value) -> Value {
    json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
}

#[tokio::test]
async fn a_webhook_knows_a_user_nobody_or_what_is_wrong() {
    let bench = bench("reviewed", Duration::from_secs(10)).await;
    let yes = json!({"authenticated": true, "user": {"username": "bob", "uid": "7", "groups": ["g"],
        "extra": {"a/b": ["c"]}}});
    let with = |key: &str, value: Value| {
        let mut changed = yes.clone();
        changed[key] = value;
        changed
    };
    let html = "<html>Sign in</html>".to_owned();
    let mut out = String::new();
    for (number, (status, body)) in [
        (200, answer(yes.clone()).to_string()),
        (200, answer(with("audiences", json!(["own", "other"]))).to_string()),
        (200, answer(with("audiences", json!(["other"]))).to_string()),
        (200, answer(with("authenticated", json!("true"))).to_string()),
        (200, answer(with("authenticated", json!(false))).to_string()),
        (200, answer(json!({"authenticated": false, "error": "it is too old"})).to_string()),
        (200, answer(json!(null)).to_string()),
        (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string()),
        (200, html.clone()),
        (200, String::new()),
        (403, html),
        (302, format!("{}/elsewhere", bench.fake.url)),
        (200, "x".repeat(2 << 20)),
        (200, format!("{{\"status\": {}", "[".repeat(100_000))),
    ]
    .into_iter()
    .enumerate()
    {
        bench.fake.answers("/ask", status, body);
        out += &format!("{number}: {}\n", bench.says(&format!("token-{number}"), &["own"]).await);
    }
    // Nobody followed the redirect.
    let mut asked = bench.fake.asked();
    assert!(asked.iter().all(|(path, _)| path == "/ask"));
    out += &format!("{}\n", asked.swap_remove(0).1);
    expect_test::expect![[r#"
        0: bob "7" ["g"] [("a/b", ["c"])] for ["own"]
        1: bob "7" ["g"] [("a/b", ["c"])] for ["own"]
        2: nobody
        3: nobody
        4: nobody
        5: it is too old
        6: nobody
        7: the answer is no "TokenReview" of "authentication.k8s.io/v1"
        8: couldn't get version/kind; json parse error: expected value at line 1 column 1
        9: couldn't get version/kind; json parse error: EOF while parsing a value at line 1 column 0
        10: the server responded with the status code 403 but did not return more information
        11: the server responded with the status code 302 but did not return more information
        12: Post "URL/ask": the answer is larger than 1048576 bytes
        13: couldn't get version/kind; json parse error: recursion limit exceeded at line 1 column 138
        {"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","metadata":{},"spec":{"audiences":["own"],"token":"token-0"},"status":{"user":{}}}
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn what_a_webhook_says_is_remembered_and_that_it_says_nothing_is_not() {
    let bench = bench("remembered", Duration::from_secs(10)).await;
    let yes = json!({"authenticated": true, "user": {"username": "bob"}});
    let mut asked = Vec::new();
    for (token, body, wanted) in [
        ("yes", answer(yes.clone()).to_string(), "own"),
        ("yes", answer(yes.clone()).to_string(), "own"),
        // Another question.
        ("yes", answer(yes).to_string(), "other"),
        ("no", answer(json!({"authenticated": false})).to_string(), "own"),
        ("no", answer(json!({"authenticated": false})).to_string(), "own"),
        ("error", answer(json!({"error": "not now"})).to_string(), "own"),
        ("error", answer(json!({"error": "not now"})).to_string(), "own"),
        ("html", "<html>".to_owned(), "own"),
        ("html", "<html>".to_owned(), "own"),
    ] {
        bench.fake.answers("/ask", 200, body);
        bench.says(token, &[wanted]).await;
        asked.push(bench.fake.asked().len());
    }
    assert_eq!(asked, [1, 0, 1, 1, 0, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_webhook_that_is_silent_costs_its_time_alone() {
    let bench = bench("silent-tokens", Duration::from_millis(300)).await;
    let said = bench.says("token", &["own"]).await;
    assert_eq!(said, "Post \"URL/ask\": context deadline exceeded");
}
