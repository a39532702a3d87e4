//! Names on the network: DNS settings, host names and aliases.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::Value;

pub const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// What name resolution of the C library takes.
const NAMESERVERS_MOST: usize = 3;
const SEARCHES_MOST: usize = 32;
const SEARCH_BYTES_MOST: usize = 2048;
/// Longest name that Linux gives a machine.
const HOSTNAME_MOST: usize = 64;

pub fn dns_config(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("dnsConfig");
    let none = text(spec, "dnsPolicy") == "None";
    let Some(config) = at(spec, "dnsConfig") else {
        if none {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    let (at_servers, at_searches) = (path.child("nameservers"), path.child("searches"));
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return errors.required(&at_servers, why);
    }
    if servers.len() > NAMESERVERS_MOST {
        let why = format!("must not have more than {NAMESERVERS_MOST} nameservers");
        errors.invalid(&at_servers, servers.to_vec(), &why);
    }
    for (index, server) in servers.iter().enumerate() {
        ip(&at_servers.index(index), server.as_str().unwrap_or(""), errors);
    }
    if searches.len() > SEARCHES_MOST {
        let why = format!("must not have more than {SEARCHES_MOST} search paths");
        errors.invalid(&at_searches, searches.to_vec(), &why);
    }
    let words: Vec<&str> = searches.iter().filter_map(Value::as_str).collect();
    if words.join(" ").len() > SEARCH_BYTES_MOST {
        let why = format!(
            "must not have more than {SEARCH_BYTES_MOST} characters (including spaces) in the search list"
        );
        errors.invalid(&at_searches, searches.to_vec(), &why);
    }
    for (index, search) in words.iter().enumerate().filter(|(_, search)| **search != ".") {
        search_path(&at_searches.index(index), search.strip_suffix('.').unwrap_or(search), errors);
    }
    let options = path.child("options");
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&options.index(index), "must not be empty");
        }
    }
}

/// A subdomain that may hold underscores, as some zones do.
fn search_path(path: &Path, search: &str, errors: &mut Errors) {
    if search.len() > names::SUBDOMAIN_MOST {
        let why = format!("must be no more than {} characters", names::SUBDOMAIN_MOST);
        errors.invalid(path, search, &why);
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = |b: u8| plain(b) || b == b'_';
    let valid = search.split('.').all(|part| {
        part.strip_prefix('_').unwrap_or(part).bytes().next().is_some_and(plain)
            && part.bytes().last().is_some_and(plain)
            && part.bytes().all(|b| inner(b) || b == b'-')
    });
    if !valid {
        let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or \
                   '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                   validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
        errors.invalid(path, search, why);
    }
}

pub fn hostname_override(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(name) = at(spec, "hostnameOverride").and_then(Value::as_str) else { return };
    let here = path.child("hostnameOverride");
    if flag(spec, "setHostnameAsFQDN") {
        errors.forbidden(&here, "may not be specified when setHostnameAsFQDN is true");
    }
    if flag(spec, "hostNetwork") {
        errors.forbidden(&here, "may not be specified when hostNetwork is true");
    }
    if name.len() > HOSTNAME_MOST {
        errors.too_long(&here, HOSTNAME_MOST);
    }
    subdomain(&here, name, errors);
}

pub fn host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("hostAliases");
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let here = path.index(index);
        ip(&here.child("ip"), text(alias, "ip"), errors);
        let names = here.child("hostnames");
        for (index, name) in list(alias, "hostnames").iter().enumerate() {
            subdomain(&names.index(index), name.as_str().unwrap_or(""), errors);
        }
    }
}

/// A pod with users of its own has nothing else of the host's (KEP-127).
pub fn host_users(spec: &Value, path: &Path, errors: &mut Errors) {
    if at(spec, "hostUsers") != Some(&Value::Bool(false)) {
        return;
    }
    let why = "when `hostUsers` is false";
    for (field, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if flag(spec, field) {
            errors.forbidden(&path.child(shown), why);
        }
    }
    super::visit(spec, path, &mut |container, here| {
        if !list(container, "volumeDevices").is_empty() {
            errors.forbidden(&here.child("volumeDevices"), why);
        }
    });
}
