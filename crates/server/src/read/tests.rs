//! Lists of a whole server.

use crate::testkit::{MAPS, Told, bench, map};
use http::Method;
use serde_json::{Value, json};
use skiff_store::Revision;

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn a_list_whose_snapshot_is_gone_can_go_on_from_where_it_was() {
    let bench = bench().await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(bench.create(MAPS, map(name)).await.0, 201);
    }
    let page = async |token: &str| {
        let path = format!("{MAPS}?limit=2&continue={token}");
        bench.ask(Method::GET, &path, Value::Null).await
    };
    let Told(code, _, first) = page("").await;
    assert_eq!((code, names(&first)), (200, vec!["a", "b"]));
    let token = first["metadata"]["continue"].as_str().expect("there is more");
    let path = format!("{MAPS}/c");
    assert_eq!(bench.ask(Method::DELETE, &path, Value::Null).await.0, 200);
    // The snapshot still has what went.
    assert_eq!(names(&page(token).await.2), ["c", "d"]);
    bench.store.compact(Revision(u64::MAX)).await.expect("it compacts");
    let Told(code, _, gone) = page(token).await;
    assert_eq!((code, &gone["reason"]), (410, &"Expired".into()));
    let token = gone["metadata"]["continue"].as_str().expect("a way to go on");
    let Told(code, _, rest) = page(token).await;
    assert_eq!((code, names(&rest)), (200, vec!["d"]));
}
