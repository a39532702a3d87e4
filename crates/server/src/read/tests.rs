//! Lists of a whole server.

use crate::testkit::{MAPS, Told, bench, map};
use http::Method;
use skiff_json::{Value, json};
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

#[tokio::test]
async fn what_lies_in_no_namespace_is_listed_page_by_page() {
    let bench = bench().await;
    for name in ["a", "b", "c"] {
        let namespace = json!({"metadata": {"name": name}});
        assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    }
    let (mut all, mut token) = (Vec::new(), String::new());
    for _ in 0..9 {
        let path = format!("/api/v1/namespaces?limit=1&continue={token}");
        let Told(code, _, page) = bench.ask(Method::GET, &path, Value::Null).await;
        assert_eq!((code, names(&page).len()), (200, 1));
        all.extend(names(&page).into_iter().map(str::to_owned));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    let made: Vec<&String> = all.iter().filter(|it| it.len() == 1).collect();
    assert_eq!(made, ["a", "b", "c"]);
}

#[tokio::test]
async fn options_that_say_nothing_are_refused_before_anything_is_done() {
    let bench = bench().await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    for name in ["a", "b", "c"] {
        assert_eq!(bench.create(MAPS, map(name)).await.0, 201);
    }
    for (query, code) in [
        ("limit=x", 400),
        ("limit=", 400),
        ("timeoutSeconds=1.5", 400),
        ("resourceVersion=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("sendInitialEvents=true", 422),
    ] {
        for method in [Method::GET, Method::DELETE] {
            let path = format!("{MAPS}?{query}");
            assert_eq!(bench.ask(method, &path, Value::Null).await.0, code, "{query}");
        }
    }
    let Told(code, _, gone) =
        bench.ask(Method::DELETE, &format!("{MAPS}?limit=2"), Value::Null).await;
    assert_eq!((code, names(&gone)), (200, vec!["a", "b"]));
    assert_eq!(names(&bench.ask(Method::GET, MAPS, Value::Null).await.2), ["c"]);
}
