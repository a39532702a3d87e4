use super::claims::Kubernetes;
use super::*;
use skiff_json::json;
use skiff_store::{Options, Revision, Write};
use std::time::Duration;

struct Bench {
    world: World,
    store: Arc<dyn Store>,
    tokens: Tokens,
}

async fn bench(objects: &[(&str, skiff_json::Value)]) -> Bench {
    let world = World::seeded(1);
    let clock = world.clone();
    let store = skiff_store::memory(Options::new(Arc::new(move || clock.uptime())));
    for (key, object) in objects {
        put(&store, key, object, None).await;
    }
    let (pem, _) = crate::identity::keys::signing::tests::pem();
    let signing = Arc::new(SigningKey::from_pem(&pem).expect("it reads"));
    let tokens = Tokens::new(store.clone(), world.clone(), signing, Naming::default());
    Bench { world, store, tokens }
}

async fn put(
    store: &Arc<dyn Store>,
    key: &str,
    object: &skiff_json::Value,
    expect: Option<Revision>,
) {
    let (body, facets) = (object.to_string().into(), skiff_store::facets(Vec::new()));
    let write = Write::Put { key: key.into(), expect, body, generation: 1, facets };
    store.commit(vec![write]).await.expect("it commits");
}

fn named(uid: &str) -> skiff_json::Value {
    json!({"metadata": {"name": "x", "uid": uid}})
}

fn reference(name: &str, uid: &str) -> Reference {
    Reference { name: name.into(), uid: uid.into() }
}

impl Bench {
    fn issue(&self, edit: impl Fn(&mut Kubernetes)) -> String {
        let mut own = Kubernetes {
            namespace: "a".into(),
            serviceaccount: reference("bob", "u1"),
            ..Kubernetes::default()
        };
        edit(&mut own);
        let now = self.world.now().as_second();
        let claims = Claims::new(ISSUER, own, vec![ISSUER.into()], now, 600, "id".into());
        self.tokens.sign(&claims).expect("it signs")
    }

    fn user(&self, token: &str) -> String {
        match self.tokens.user(token, &[ISSUER]) {
            Ok((user, _)) => {
                format!("{} {} {:?} {:?}", user.name, user.uid, user.groups, user.extra)
            }
            Err(error) => error.to_string(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_names_its_account_until_its_time_is_up() {
    let bench = bench(&[("serviceaccounts/a/bob", named("u1"))]).await;
    let token = bench.issue(|_| {});
    assert_eq!(
        bench.user(&token),
        "system:serviceaccount:a:bob u1 [\"system:serviceaccounts\", \"system:serviceaccounts:a\", \
         \"system:authenticated\"] [(\"authentication.kubernetes.io/credential-id\", [\"JTI=id\"])]"
    );
    assert_eq!(bench.user("abc"), "invalid bearer token");
    let refused = bench.tokens.user(&token, &["x"]).expect_err("for somebody else");
    assert_eq!(
        refused.to_string(),
        "[invalid bearer token, token audiences [\"https://kubernetes.default.svc.cluster.local\"] is \
         invalid for the target audiences [\"x\"]]"
    );
    bench.world.sleep(Duration::from_secs(600)).await;
    assert!(bench.user(&token).starts_with("system:serviceaccount"));
    bench.world.sleep(Duration::from_secs(61)).await;
    assert_eq!(bench.user(&token), "[invalid bearer token, service account token has expired]");
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_what_it_is_bound_to() {
    let (account, pod) = (("serviceaccounts/a/bob", named("u1")), ("pods/a/p", named("p1")));
    let bench = bench(&[account, pod, ("nodes//n", named("n1"))]).await;
    let of_pod = bench.issue(|own| {
        own.pod = Some(reference("p", "p1"));
        own.node = Some(reference("gone", "n9"));
    });
    let of_node = bench.issue(|own| own.node = Some(reference("n", "n1")));
    let of_secret = bench.issue(|own| own.secret = Some(reference("s", "s1")));
    assert!(bench.user(&of_pod).contains("pod-name\", [\"p\"]"), "{}", bench.user(&of_pod));
    assert!(bench.user(&of_node).contains("node-uid\", [\"n1\"]"));
    let gone = "[invalid bearer token, service account token has been invalidated]";
    assert_eq!(bench.user(&of_secret), gone);

    let revision = bench.store.get("pods/a/p").expect("it is there").revision;
    put(&bench.store, "pods/a/p", &named("p2"), Some(revision)).await;
    assert_eq!(
        bench.user(&of_pod),
        "[invalid bearer token, pod UID (p2) does not match service account pod ref claim (p1)]"
    );
    let revision = bench.store.get("nodes//n").expect("it is there").revision;
    let leaving = json!({"metadata": {"uid": "n1", "deletionTimestamp": "2020-01-01T00:00:00Z"}});
    put(&bench.store, "nodes//n", &leaving, Some(revision)).await;
    assert_eq!(bench.user(&of_node), gone);
    let revision = bench.store.get("serviceaccounts/a/bob").expect("it is there").revision;
    let delete =
        Write::Delete { key: "serviceaccounts/a/bob".into(), expect: revision, last: None };
    bench.store.commit(vec![delete]).await.expect("it commits");
    assert_eq!(bench.user(&of_pod), "[invalid bearer token, serviceaccounts \"bob\" not found]");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let bench = bench(&[("serviceaccounts/a/bob", named("u1"))]).await;
    for n in 0..REMEMBERED_MOST + 2 {
        let token = bench.issue(|own| own.warnafter = Some(n as i64));
        assert!(bench.user(&token).starts_with("system:serviceaccount"));
    }
    assert_eq!(bench.tokens.lock().len(), 2);
}
