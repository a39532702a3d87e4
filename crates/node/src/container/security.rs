//! Rights of a container: capabilities, filters, privileges (API reference: SecurityContext).

use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::Container;
use skiff_runtime::spec::{ProcMount, Seccomp, Security};
use std::path::Path;

/// `profiles` is the folder that Localhost profiles of seccomp are below, `apparmor` the profile of
/// AppArmor.
pub fn security(
    pod: &Pod,
    container: &Container,
    profiles: &Path,
    apparmor: Option<String>,
) -> Security {
    let own = &container.security_context;
    let profile =
        own.seccomp_profile.as_ref().or(pod.spec.security_context.seccomp_profile.as_ref());
    let seccomp = match profile.map(|profile| &*profile.type_) {
        Some("Unconfined") => Seccomp::Unconfined,
        Some("Localhost") => {
            let name = profile.and_then(|profile| profile.localhost_profile.as_deref());
            Seccomp::Localhost(profiles.join(name.unwrap_or_default()))
        }
        _ => Seccomp::RuntimeDefault,
    };
    Security {
        privileged: own.privileged,
        add_capabilities: own.capabilities.add.clone(),
        drop_capabilities: own.capabilities.drop.clone(),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp,
        apparmor,
        proc_mount: match own.proc_mount.as_deref() {
            Some("Unmasked") => ProcMount::Unmasked,
            _ => ProcMount::Default,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    /// An empty name once meant no filter at all (CVE-2023-2431): here it is a file that cannot be
    /// read, and the container does not start.
    #[test]
    fn a_profile_without_a_name_is_not_no_profile() {
        for profile in
            [json!({"type": "Localhost"}), json!({"type": "Localhost", "localhostProfile": ""})]
        {
            let container = json!({"name": "c", "securityContext": {"seccompProfile": profile}});
            let container: Container = skiff_json::from_value(container).expect("a container");
            let made = security(&Pod::default(), &container, Path::new("/profiles"), None);
            assert_eq!(made.seccomp, Seccomp::Localhost("/profiles/".into()));
        }
        let made = security(&Pod::default(), &Container::default(), Path::new("/profiles"), None);
        assert_eq!(made.seccomp, Seccomp::RuntimeDefault);
    }
}
