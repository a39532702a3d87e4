//! Quotas of a whole server: many at once, two that match, what is given back.

use crate::testkit::{Bench, MAPS, Told, bench, map};
use futures_util::future::join_all;
use http::Method;
use skiff_json::{Value, json};

const QUOTAS: &str = "/api/v1/namespaces/n/resourcequotas";

/// A namespace with quotas of these names that allow so many config maps; the status is what their loop would say.
async fn limited(quotas: &[(&str, &str)]) -> Bench {
    let bench = bench().await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    for (name, most) in quotas {
        let hard = json!({"count/configmaps": most});
        let quota = json!({"metadata": {"name": name}, "spec": {"hard": hard}});
        let Told(code, _, mut made) = bench.create(QUOTAS, quota).await;
        assert_eq!(code, 201, "{made}");
        made["status"] = json!({"hard": hard, "used": {"count/configmaps": "0"}});
        let status = format!("{QUOTAS}/{name}/status");
        assert_eq!(bench.ask(Method::PUT, &status, made).await.0, 200);
    }
    bench
}

async fn used(bench: &Bench, quota: &str) -> String {
    let Told(_, _, quota) = bench.ask(Method::GET, &format!("{QUOTAS}/{quota}"), Value::Null).await;
    quota["status"]["used"]["count/configmaps"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn exactly_as_many_as_a_quota_allows() {
    let bench = limited(&[("a", "50"), ("b", "40")]).await;
    let names: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let made = join_all(names.iter().map(|name| bench.create(MAPS, map(name)))).await;
    let codes = |wanted| made.iter().filter(|Told(code, ..)| *code == wanted).count();
    assert_eq!((codes(201), codes(403)), (40, 60));
    assert_eq!((used(&bench, "a").await, used(&bench, "b").await), ("40".into(), "40".into()));
    let Told(_, _, refused) = bench.create(MAPS, map("more")).await;
    assert_eq!(
        refused["message"],
        "configmaps \"more\" is forbidden: exceeded quota: b, requested: count/configmaps=1, used: \
         count/configmaps=40, limited: count/configmaps=40"
    );
}

#[tokio::test]
async fn what_did_not_come_to_be_is_given_back() {
    let bench = limited(&[("a", "2")]).await;
    assert_eq!(bench.create(MAPS, map("x")).await.0, 201);
    for _ in 0..3 {
        assert_eq!(bench.create(MAPS, map("x")).await.0, 409);
    }
    bench.server.ledger.settled("n").await;
    assert_eq!(bench.create(&format!("{MAPS}?dryRun=All"), map("y")).await.0, 201);
    assert_eq!(used(&bench, "a").await, "1");
    assert_eq!(bench.create(MAPS, map("y")).await.0, 201);
    assert_eq!(bench.create(&format!("{MAPS}?dryRun=All"), map("z")).await.0, 403);
}
