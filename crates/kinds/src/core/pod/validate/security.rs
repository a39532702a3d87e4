//! Security contexts of pods and containers.

use super::internal;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;
use std::collections::HashSet;

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// Longest name of a kernel parameter.
const SYSCTL_MOST: usize = 253;
/// Longest path of an AppArmor profile: `PATH_MAX - 1`.
const PROFILE_MOST: usize = 4095;

/// Whose users a pod's processes run as (KEP-127).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Users {
    Hosts,
    Own,
}

pub fn pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(context) = at(spec, "securityContext") else { return };
    let path = path.child("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context, field, &path, errors);
    }
    let groups = path.child("supplementalGroups");
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        id_number(&groups.index(index), group.as_i64().unwrap_or(0), errors);
    }
    sysctls(context, spec, &path.child("sysctls"), errors);
    one_of_if_set(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path, errors);
    seccomp(context, &path, errors);
    windows(context, &path, errors);
    app_armor(context, &path, errors);
    one_of_if_set(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &path, errors);
    one_of_if_set(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], &path, errors);
}

pub fn container(context: &Value, users: Users, path: &Path, errors: &mut Errors) {
    for field in ["runAsUser", "runAsGroup"] {
        id(context, field, path, errors);
    }
    if let Some(mount) = at(context, "procMount").and_then(Value::as_str) {
        one_of_if_set(context, "procMount", &["Default", "Unmasked"], path, errors);
        if users == Users::Hosts && mount == "Unmasked" {
            let why = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(&path.child("procMount"), mount, why);
        }
    }
    seccomp(context, path, errors);
    if at(context, "allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if flag(context, "privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            internal::invalid(errors, path, "SecurityContext", context, why);
        }
        for _ in list(context, "capabilities.add").iter().filter(|c| *c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            internal::invalid(errors, path, "SecurityContext", context, why);
        }
    }
    windows(context, path, errors);
    app_armor(context, path, errors);
}

fn seccomp(context: &Value, path: &Path, errors: &mut Errors) {
    let Some(profile) = at(context, "seccompProfile") else { return };
    let path = path.child("seccompProfile");
    let (type_, file) =
        (text(profile, "type"), at(profile, "localhostProfile").and_then(Value::as_str));
    match type_ {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        _ if !PROFILES.contains(&type_) => {
            errors.not_supported(&path.child("type"), type_, PROFILES)
        }
        _ => {}
    }
    let at_file = path.child("localhostProfile");
    match (type_, file) {
        ("Localhost", None) => {
            errors.required(&at_file, "must be set when seccomp type is Localhost")
        }
        ("Localhost", Some(file)) => descending(&at_file, file, errors),
        (_, Some(_)) => {
            let why = "can only be set when seccomp type is Localhost";
            internal::invalid(errors, &at_file, "SeccompProfile", profile, why);
        }
        (_, None) => {}
    }
}

fn app_armor(context: &Value, path: &Path, errors: &mut Errors) {
    let Some(profile) = at(context, "appArmorProfile") else { return };
    let path = path.child("appArmorProfile");
    let file = at(profile, "localhostProfile").and_then(Value::as_str);
    let at_file = path.child("localhostProfile");
    match (text(profile, "type"), file) {
        ("Localhost", None | Some("")) => {
            errors.required(&at_file, "must be set when AppArmor type is Localhost");
        }
        ("Localhost", Some(file)) => {
            if file.trim() != file {
                errors.invalid(&at_file, file, "must not be padded with whitespace");
            }
            if file.len() > PROFILE_MOST {
                errors.too_long(&at_file, PROFILE_MOST);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.invalid(&at_file, file, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            errors.required(&path.child("type"), "type is required when appArmorProfile is set")
        }
        (type_, _) => errors.not_supported(&path.child("type"), type_, PROFILES),
    }
}

fn sysctls(context: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, sysctl) in list(context, "sysctls").iter().enumerate() {
        let here = path.index(index);
        let (name, at_name) = (text(sysctl, "name"), here.child("name"));
        if name.is_empty() {
            errors.required(&at_name, "");
        } else if !is_sysctl(name) {
            let why = "must have at most 253 characters and match regex \
                       ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&at_name, name, why);
        } else if seen.contains(name) {
            errors.duplicate(&at_name, name);
        }
        let dotted = name.replace('/', ".");
        let ipc = dotted.starts_with("fs.mqueue.")
            || dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted == "kernel.sem";
        if flag(spec, "hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&at_name, name, "may not be specified when 'hostNetwork' is true");
        } else if flag(spec, "hostIPC") && ipc {
            errors.invalid(&at_name, name, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(name);
    }
}

fn is_sysctl(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= SYSCTL_MOST
        && name.split(['.', '/']).all(|part| {
            part.bytes().next().is_some_and(plain)
                && part.bytes().last().is_some_and(plain)
                && part.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_'))
        })
}

/// Longest credential spec and user name of Windows, in bytes.
const GMSA_MOST: usize = 64 * 1024;
const WINDOWS_USER_MOST: usize = 104;

fn windows(context: &Value, path: &Path, errors: &mut Errors) {
    let Some(options) = at(context, "windowsOptions") else { return };
    let path = path.child("windowsOptions");
    if let Some(name) = at(options, "gmsaCredentialSpecName").and_then(Value::as_str) {
        subdomain(&path.child("gmsaCredentialSpecName"), name, errors);
    }
    if let Some(spec) = at(options, "gmsaCredentialSpec").and_then(Value::as_str) {
        let here = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&here, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > GMSA_MOST {
            errors.invalid(&here, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    let Some(user) = at(options, "runAsUserName").and_then(Value::as_str) else { return };
    let here = path.child("runAsUserName");
    if user.is_empty() {
        errors.invalid(&here, user, "runAsUserName cannot be an empty string");
    } else if user.chars().any(char::is_control) {
        errors.invalid(&here, user, "runAsUserName cannot contain control characters");
    } else if user.matches('\\').count() > 1 {
        errors.invalid(&here, user, "runAsUserName cannot contain more than one backslash");
    } else {
        let name = user.split_once('\\').map_or(user, |(_, name)| name);
        if name.is_empty() {
            errors.invalid(&here, user, "runAsUserName's User cannot be empty");
        }
        let bad = |c: char| "\"/\\:;|=,+*?<>@[]".contains(c);
        if name.len() > WINDOWS_USER_MOST {
            let why = "runAsUserName's User length must not be longer than 104 characters";
            errors.invalid(&here, user, why);
        }
        if !name.is_empty() && name.chars().all(|c| matches!(c, '.' | ' ')) {
            errors.invalid(
                &here,
                user,
                "runAsUserName's User cannot contain only periods or spaces",
            );
        }
        if name.contains(bad) {
            errors.invalid(
                &here,
                user,
                "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
            );
        }
    }
}
