//! Addresses that a Service names itself (`externalIPs`, those of a load balancer): service and pod addresses belong
//! to whom they were given, so naming one takes nothing (CVE-2020-8554). The node serves none of them; here the user
//! is told. With the setting, new external addresses are refused, as by upstream's DenyServiceExternalIPs.

use super::{Admit, Ranges};
use skiff_api::Status;
use skiff_api::ip;
use skiff_api::object::{Object, at};
use skiff_json::Value;

const EXTERNAL: &str = "spec.externalIPs";
const INGRESS: &str = "status.loadBalancer.ingress";

pub fn validate(ranges: &Ranges, request: &Admit<'_>, new: &Object) -> Result<(), Status> {
    let is_service = request.kind.group.is_empty() && request.kind.plural == "services";
    if !is_service || !["", "status"].contains(&request.subresource) {
        return Ok(());
    }
    let known = |it| request.old.is_some_and(|old| old.list(EXTERNAL).contains(it));
    let news = request.subresource.is_empty() && !new.list(EXTERNAL).iter().all(known);
    if news && ranges.deny_external {
        return Err(request.forbid("Use of external IPs is denied by admission control"));
    }
    let named = |path: &'static str, field: &'static str| {
        let list = new.list(path).iter().enumerate();
        list.filter_map(move |(index, it)| {
            let text = if field.is_empty() { it.as_str() } else { at(it, field)?.as_str() }?;
            let behind = if field.is_empty() { "" } else { "." };
            Some((format!("{path}[{index}]{behind}{field}"), text))
        })
    };
    let own = new.list("spec.clusterIPs");
    for (path, text) in named(EXTERNAL, "").chain(named(INGRESS, "ip")) {
        if let Some(whose) = owner(ranges, text).filter(|_| !own.contains(&Value::from(text))) {
            request.warn(format!(
                "{path}: {text} is in the range of {whose} addresses, which belong to whom they were given: \
                 this Service is not served there"
            ));
        }
    }
    Ok(())
}

/// Whose range an address lies in, if it is one of the cluster's.
fn owner(ranges: &Ranges, text: &str) -> Option<&'static str> {
    let address = ip::parse(text)?;
    let sorts = [("service", &ranges.addresses), ("pod", &ranges.pods)];
    sorts.into_iter().find(|(_, range)| range.contains(address)).map(|(type_, _)| type_)
}
