//! ServiceAccount: every pod runs as an account that exists, and gets a token of it unless somebody says no.

use super::{Admit, Next, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::{Object, at};
use skiff_base::World;
use skiff_json::{Value, json};

pub struct ServiceAccount {
    world: World,
}

/// Where programs look for their token.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// A pod that the node made of a file: it has no account.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// What a token of a pod lives, with a margin for programs that read it only once.
const TOKEN_S: i64 = 3607;
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

impl ServiceAccount {
    pub fn new(world: World) -> ServiceAccount {
        ServiceAccount { world }
    }
}

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, pod: &'a mut Object) -> Verdict<'a, Next> {
        if !at.is("", "pods") || !at.creates() || pod.annotation(MIRROR).is_some() {
            return Ok(Next::GoOn).into();
        }
        Verdict::later(complete(&self.world, at, pod))
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        let pods = at.kind.group.is_empty() && at.kind.plural == "pods";
        // What is added to a pod that runs names secrets like what it began with (CVE-2023-2728).
        let added = at.subresource == "ephemeralcontainers";
        match new {
            Some(pod) if pods && (added || at.subresource.is_empty() && at.creates()) => {
                Verdict::later(check(at, pod))
            }
            _ => Verdict::PASS,
        }
    }
}

async fn complete(world: &World, at: &Admit<'_>, pod: &mut Object) -> Result<Next, Status> {
    if pod.text("spec.serviceAccountName").is_empty() {
        pod.set("spec.serviceAccountName", "default");
        pod.set("spec.serviceAccount", "default");
    }
    let account = account(at, pod).await?;
    let wanted = pod.at("spec.automountServiceAccountToken");
    let wanted = wanted.or_else(|| account.at("automountServiceAccountToken"));
    if wanted.and_then(Value::as_bool).unwrap_or(true) {
        mount_token(world, pod);
    }
    let secrets = account.list("imagePullSecrets");
    if pod.list("spec.imagePullSecrets").is_empty() && !secrets.is_empty() {
        let names = secrets.iter().map(|it| json!({"name": it["name"]}));
        pod.set("spec.imagePullSecrets", names.collect::<Vec<_>>());
    }
    Ok(Next::GoOn)
}

async fn account(at: &Admit<'_>, pod: &Object) -> Result<Object, Status> {
    let (namespace, name) = (at.namespace, pod.text("spec.serviceAccountName"));
    at.read(("", "serviceaccounts"), namespace, name).await?.ok_or_else(|| {
        at.forbid(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        ))
    })
}

fn mount_token(world: &World, pod: &mut Object) {
    let volumes = pod.list("spec.volumes");
    let text = |value: &Value, field: &str| {
        at(value, field).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let there = volumes.iter().map(|it| text(it, "name")).find(|name| name.starts_with(VOLUME));
    let name =
        there.clone().unwrap_or_else(|| format!("{VOLUME}{}", skiff_base::id::suffix(world, 5)));
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
    let mut mounted = false;
    for field in ["spec.initContainers", "spec.containers"] {
        let mut containers = pod.list(field).to_vec();
        for container in &mut containers {
            let mounts = at(container, "volumeMounts").and_then(Value::as_array).cloned();
            let mut mounts = mounts.unwrap_or_else(Vec::new);
            if mounts.iter().any(|it| it["mountPath"] == MOUNT) {
                continue;
            }
            mounts.push(mount.clone());
            container["volumeMounts"] = mounts.into();
            mounted = true;
        }
        if !containers.is_empty() {
            pod.set(field, containers);
        }
    }
    if mounted && there.is_none() {
        let mut volumes = pod.list("spec.volumes").to_vec();
        volumes.push(json!({"name": name, "projected": token_volume()}));
        pod.set("spec.volumes", volumes);
    }
}

/// The token, the cluster's certificate and the namespace, as files.
fn token_volume() -> Value {
    let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    json!({"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]})
}

async fn check(request: &Admit<'_>, pod: &Object) -> Result<(), Status> {
    if pod.annotation(MIRROR).is_some() {
        return validate_mirror(request, pod);
    }
    let account = account(request, pod).await?;
    if account
        .annotation(ENFORCE)
        .is_some_and(|it| matches!(it, "true" | "True" | "TRUE" | "t" | "T" | "1"))
    {
        return validate_secrets(request, &account, pod);
    }
    Ok(())
}

fn validate_mirror(request: &Admit<'_>, pod: &Object) -> Result<(), Status> {
    if !pod.text("spec.serviceAccountName").is_empty() {
        return Err(request.forbid("a mirror pod may not reference service accounts"));
    }
    let uses = |volume: &Value| {
        let sources = at(volume, "projected.sources").and_then(Value::as_array);
        sources.into_iter().flatten().any(|it| at(it, "serviceAccountToken").is_some())
    };
    if names_secret(pod.value()) {
        return Err(request.forbid("a mirror pod may not reference secrets"));
    }
    if pod.list("spec.volumes").iter().any(uses) {
        return Err(
            request.forbid("a mirror pod may not use ServiceAccountToken volume projections")
        );
    }
    Ok(())
}

/// Whether a field anywhere in a pod names a secret.
fn names_secret(value: &Value) -> bool {
    const FIELDS: [&str; 5] =
        ["secret", "secretRef", "secretKeyRef", "secretName", "imagePullSecrets"];
    match value {
        Value::Object(map) => {
            map.iter().any(|(key, value)| FIELDS.contains(&key.as_str()) || names_secret(value))
        }
        Value::Array(list) => list.iter().any(names_secret),
        _ => false,
    }
}

/// Where a volume names a secret of the pod's namespace, beside its projected sources.
const SECRETS_OF_VOLUMES: [&str; 9] = [
    "secret.secretName",
    "azureFile.secretName",
    "cephfs.secretRef.name",
    "csi.nodePublishSecretRef.name",
    "flexVolume.secretRef.name",
    "iscsi.secretRef.name",
    "rbd.secretRef.name",
    "scaleIO.secretRef.name",
    "storageos.secretRef.name",
];

/// The account restricts which secrets its pods may name.
fn validate_secrets(request: &Admit<'_>, account: &Object, pod: &Object) -> Result<(), Status> {
    let known = |list: &str, name: &str| account.list(list).iter().any(|it| it["name"] == name);
    let who = account.name();
    let refuse = |what: String, which: &str| {
        let why = format!(
            "{what} is not allowed because service account {who} does not reference that {which}"
        );
        Err(request.forbid(&why))
    };
    for volume in pod.list("spec.volumes") {
        let direct = SECRETS_OF_VOLUMES.iter().filter_map(|path| Some((*path, at(volume, path)?)));
        let sources = at(volume, "projected.sources").and_then(Value::as_array);
        let projected = sources.into_iter().flatten();
        let projected = projected
            .filter_map(|it| Some(("projected.sources.secret.name", at(it, "secret.name")?)));
        for (path, name) in direct.chain(projected) {
            if let Some(name) = name.as_str().filter(|name| !known("secrets", name)) {
                return refuse(format!("volume with {path}=\"{name}\""), "secret");
            }
        }
    }
    for (field, type_) in [
        ("spec.initContainers", "init container"),
        ("spec.containers", "container"),
        ("spec.ephemeralContainers", "ephemeral container"),
    ] {
        for container in pod.list(field) {
            let own = container["name"].as_str().unwrap_or("");
            for env in at(container, "env").and_then(Value::as_array).into_iter().flatten() {
                let name = at(env, "valueFrom.secretKeyRef.name").and_then(Value::as_str);
                if let Some(name) = name.filter(|name| !known("secrets", name)) {
                    let var = env["name"].as_str().unwrap_or("");
                    let what = format!(
                        "{type_} {own} with envVar {var} referencing secret.secretName=\"{name}\""
                    );
                    return refuse(what, "secret");
                }
            }
            for from in at(container, "envFrom").and_then(Value::as_array).into_iter().flatten() {
                let name = at(from, "secretRef.name").and_then(Value::as_str);
                if let Some(name) = name.filter(|name| !known("secrets", name)) {
                    let what = format!(
                        "{type_} {own} with envFrom referencing secret.secretName=\"{name}\""
                    );
                    return refuse(what, "secret");
                }
            }
        }
    }
    for (index, secret) in pod.list("spec.imagePullSecrets").iter().enumerate() {
        let name = secret["name"].as_str().unwrap_or("");
        if !known("imagePullSecrets", name) {
            return refuse(format!("imagePullSecrets[{index}].name=\"{name}\""), "imagePullSecret");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_anywhere() {
        let env = json!({"spec": {"containers": [{"env": [{"valueFrom": {"secretKeyRef": {}}}]}]}});
        assert!(names_secret(&env));
        assert!(!names_secret(&json!({"spec": {"containers": [{"env": [{"name": "secret"}]}]}})));
    }

    /// CVE-2023-2728 and CVE-2024-3177: each list of containers, and each way to name a secret.
    #[test]
    fn an_account_that_restricts_secrets_restricts_all_of_them() {
        let account = Object::new(json!({"metadata": {"name": "a"}, "secrets": [{"name": "own"}],
            "imagePullSecrets": [{"name": "own"}]}));
        let user = skiff_api::wire::User::default();
        let pods = skiff_api::registry::Kinds::builtin(skiff_kinds::KINDS);
        let kind = pods.now().find("", "v1", "pods").expect("a kind").clone();
        let of = (&user, &*kind, "ephemeralcontainers");
        let check = |spec: Value| {
            let pod = Object::new(json!({"spec": spec}));
            let refused = |status: Status| status.message;
            crate::admission::tests::asked(of, "p", |at| {
                validate_secrets(at, &account, &pod).map_err(refused)
            })
        };
        let env = |name: &str| {
            json!({"name": "c", "env": [{"name": "V",
                "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]})
        };
        let from = |name: &str| json!({"name": "c", "envFrom": [{"secretRef": {"name": name}}]});
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in [env("other"), from("other")] {
                let refused = check(json!({list: [container]})).expect_err("it names another");
                assert!(
                    refused.contains("secret.secretName=\"other\" is not allowed"),
                    "{refused}"
                );
            }
            assert_eq!(check(json!({list: [env("own"), from("own")]})), Ok(()));
        }
        let refused = check(json!({"ephemeralContainers": [from("other")]})).expect_err("another");
        assert!(refused.ends_with(
            "ephemeral container c with envFrom referencing secret.secretName=\"other\" is not allowed because \
             service account a does not reference that secret"
        ), "{refused}");
        let projected =
            |name: &str| json!({"projected": {"sources": [{"secret": {"name": name}}]}});
        let paths = SECRETS_OF_VOLUMES.map(|path| {
            let steps: Vec<&str> = path.rsplit('.').collect();
            move |name: &str| steps.iter().fold(json!(name), |value, step| json!({*step: value}))
        });
        for path in &paths {
            assert!(check(json!({"volumes": [path("other")]})).is_err(), "{}", path("other"));
            assert_eq!(check(json!({"volumes": [path("own")]})), Ok(()));
        }
        assert!(check(json!({"volumes": [projected("other")]})).is_err());
        assert_eq!(check(json!({"volumes": [projected("own")]})), Ok(()));
        assert!(check(json!({"imagePullSecrets": [{"name": "other"}]})).is_err());
    }
}
