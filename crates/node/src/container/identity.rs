//! As whom a container runs: the pod's word, the container's, the image's (API reference:
//! SecurityContext.runAsUser, runAsNonRoot, PodSecurityContext.supplementalGroups).

use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::Container;
use skiff_runtime::spec::User;

/// What to look up in the image's own files: `user` or `user:group`.
pub fn wanted(pod: &Pod, container: &Container, image_user: &str) -> String {
    let (of_pod, own) = (&pod.spec.security_context, &container.security_context);
    let user = own.run_as_user.or(of_pod.run_as_user);
    let group = own.run_as_group.or(of_pod.run_as_group);
    match (user, group) {
        (Some(user), Some(group)) => format!("{user}:{group}"),
        (Some(user), None) => user.to_string(),
        (None, Some(group)) => {
            let user = image_user.split(':').next().filter(|user| !user.is_empty());
            format!("{}:{group}", user.unwrap_or("0"))
        }
        (None, None) => image_user.to_owned(),
    }
}

/// Adds the groups that the pod asks for, and the process's own, as containerd does, so that a
/// change of that one sheds nothing; with policy Strict the image's do not count.
pub fn with_groups(pod: &Pod, mut user: User) -> User {
    let security = &pod.spec.security_context;
    if security.supplemental_groups_policy.as_deref() == Some("Strict") {
        user.groups.clear();
    }
    for group in security.supplemental_groups.iter().chain(&security.fs_group) {
        if !user.groups.contains(group) {
            user.groups.push(*group);
        }
    }
    if !user.groups.contains(&user.gid) {
        user.groups.insert(0, user.gid);
    }
    user
}

/// Refuses root where the pod said so; the words are those of upstream.
pub fn check_non_root(
    pod: &Pod,
    container: &Container,
    image_user: &str,
    user: &User,
) -> Result<(), String> {
    let (of_pod, own) = (&pod.spec.security_context, &container.security_context);
    if !own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false) {
        return Ok(());
    }
    let place = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, container.name
    );
    let said = own.run_as_user.or(of_pod.run_as_user);
    let name = image_user.split(':').next().unwrap_or("");
    if said == Some(0) {
        return Err(format!("container's runAsUser breaks non-root policy {place}"));
    }
    if said.is_none() && !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user \
             is non-root {place}"
        ));
    }
    // Whatever was said: what was resolved is what runs.
    match user.uid {
        0 => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use skiff_json::json;

    fn check(said: Option<u32>, image_user: &str, resolved: u32) -> String {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": said},
            "containers": [{"name": "c", "image": "i"}]}});
        let pod: Pod = skiff_json::from_value(pod).expect("a pod");
        let user = User { uid: resolved, ..User::default() };
        let said = check_non_root(&pod, &pod.spec.containers[0], image_user, &user);
        said.err().unwrap_or_else(|| "runs".into())
    }

    /// Whoever said it and whatever it was, root is not what runs.
    #[test]
    fn what_was_resolved_is_what_is_checked() {
        expect!["runs"].assert_eq(&check(Some(1000), "", 1000));
        expect!["runs"].assert_eq(&check(None, "1000:0", 1000));
        expect![[r#"container's runAsUser breaks non-root policy (pod: "p_n(u)", container: c)"#]]
            .assert_eq(&check(Some(0), "1000", 0));
        let root = r#"container has runAsNonRoot and image will run as root (pod: "p_n(u)", container: c)"#;
        for (said, image_user) in [(Some(1000), ""), (None, ""), (None, "0"), (None, "1000")] {
            assert_eq!(check(said, image_user, 0), root, "{said:?} {image_user}");
        }
        for name in ["app", "+1000", " 1000", "0x3e8", "1000a"] {
            let said = check(None, name, 1000);
            assert!(said.contains("non-numeric user"), "{name}: {said}");
        }
    }
}
