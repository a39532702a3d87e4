//! AppArmor profiles of containers (KEP-24; documentation: "Restrict a container's access to
//! resources with AppArmor"). Pure but for what the caller says of the kernel.

use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, Profile};

/// The older form: an annotation for each container.
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The default profile: our own, and where it could not be loaded that of another runtime, the first that is there.
const DEFAULTS: [&str; 3] =
    [skiff_runtime::apparmor::DEFAULT, "cri-containerd.apparmor.d", "docker-default"];

/// What a container asks for: its own word, the annotation's, its pod's.
fn wanted(pod: &Pod, container: &Container) -> Option<Profile> {
    let annotated = || {
        let text = pod.metadata.annotations.get(&format!("{ANNOTATION}{}", container.name))?;
        let profile = |type_: &str, name: Option<&str>| {
            Some(Profile { type_: type_.into(), localhost_profile: name.map(str::to_owned) })
        };
        match &**text {
            "runtime/default" => profile("RuntimeDefault", None),
            "unconfined" => profile("Unconfined", None),
            text => profile("Localhost", Some(text.strip_prefix("localhost/")?)),
        }
    };
    let own = container.security_context.app_armor_profile.clone();
    own.or_else(annotated).or_else(|| pod.spec.security_context.app_armor_profile.clone())
}

/// Why the pod cannot have what it asks for.
pub fn unenforceable(pod: &Pod, profiles: fn() -> Option<Vec<String>>) -> Option<String> {
    let wanted = pod.spec.all_containers().filter_map(|container| wanted(pod, container));
    let wanted: Vec<Profile> = wanted.filter(|profile| profile.type_ != "Unconfined").collect();
    if wanted.is_empty() {
        return None;
    }
    let why = match profiles() {
        None => Some("AppArmor is not enabled on the host".to_owned()),
        Some(loaded) => wanted.iter().find_map(|profile| name(profile, &loaded).err()),
    };
    why.map(|why| format!("Cannot enforce AppArmor: {why}"))
}

/// The profile that a container runs under; None: no profile of its own. One that asks for nothing has the default
/// where there is one, unless it is privileged.
pub fn profile(
    pod: &Pod,
    container: &Container,
    profiles: fn() -> Option<Vec<String>>,
) -> Result<Option<String>, String> {
    match wanted(pod, container) {
        Some(profile) if profile.type_ == "Unconfined" => Ok(None),
        Some(profile) => {
            let loaded = profiles().ok_or("AppArmor is not enabled on the host")?;
            name(&profile, &loaded).map(Some)
        }
        None if container.security_context.privileged => Ok(None),
        None => Ok(profiles().and_then(|loaded| default(&loaded))),
    }
}

fn default(loaded: &[String]) -> Option<String> {
    let found = DEFAULTS.iter().find(|name| loaded.iter().any(|loaded| loaded == *name));
    found.map(|name| (*name).to_owned())
}

fn name(profile: &Profile, loaded: &[String]) -> Result<String, String> {
    if profile.type_ != "Localhost" {
        let why = || format!("none of the default profiles is loaded: {}", DEFAULTS.join(", "));
        return default(loaded).ok_or_else(why);
    }
    let there = |name: &&str| loaded.iter().any(|loaded| loaded == name);
    match profile.localhost_profile.as_deref().map(str::trim) {
        None | Some("") => Err("invalid empty AppArmor profile name".into()),
        Some(name) if there(&name) => Ok(name.to_owned()),
        Some(name) => Err(format!("the profile {name:?} is not loaded")),
    }
}
