//! Approves what a node asks for to be called at its own API by: its own name and its own addresses, asked by itself.
//! Upstream leaves that to a person or to an approver of the cloud's; here a node that joins is called at once.

use super::csr_approving::{approve, pending};
use crate::parts::certificates::{kubelet_serving, node};
use crate::{Changes, ClusterFacts, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_kinds::certificates::request::Request;
use skiff_kinds::certificates::signer;
use skiff_kinds::views::CertificateSigningRequest;
use std::sync::Arc;

/// Key: a request.
pub struct ServingApprover;

pub struct Seen {
    request: Arc<CertificateSigningRequest>,
    /// Why it is no affair of this approver's.
    foreign: Option<String>,
}

impl Loop for ServingApprover {
    const NAME: &'static str = "serving-approver";
    const PART: &'static str = "csr-serving";
    type Seen = Seen;
    type Memory = ();

    fn user() -> User {
        // Nobody's role of upstream's policy approves for this signer.
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        on.own::<CertificateSigningRequest>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(request) = pending(cx, key, signer::KUBELET_SERVING) else { return Ok(None) };
        let asked = Request::of_pem(&request.spec.request);
        let foreign = match &asked {
            Ok(asked) => foreign(asked, &request, &cx.settings),
            Err(why) => Some(why.to_string()),
        };
        Ok(Some(Seen { request, foreign }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        match &seen.foreign {
            Some(why) => out.because(format!("somebody has to approve it: {why}")),
            None => {
                let message = "Auto approving serving certificate of a node for what is its own.";
                approve(&seen.request, message, out);
            }
        }
        Next::Wait
    }
}

/// Why it asks for more than what is the node's own. Whoever had the API server's name or address in a certificate
/// could be taken for it.
fn foreign(
    asked: &Request,
    request: &CertificateSigningRequest,
    facts: &ClusterFacts,
) -> Option<String> {
    if let Err(why) = kubelet_serving(asked, &request.spec.usages) {
        return Some(why);
    }
    if request.spec.username != asked.common_name() {
        return Some("a serving certificate is the node's own to ask for".into());
    }
    let node = node(asked).unwrap_or("");
    if facts.api_names.iter().any(|name| name == node) {
        return Some(format!("{node:?} is a name of the API server"));
    }
    if asked.names.iter().any(|name| name != node) {
        return Some("a node is certified its own name alone".into());
    }
    // A mapped address of IPv4 is that address for whoever checks the certificate.
    let mut addresses = asked.addresses.iter().map(std::net::IpAddr::to_canonical);
    let taken = addresses
        .find(|it| it.is_loopback() || it.is_unspecified() || facts.api_addresses.contains(it));
    taken.map(|address| format!("{address} is not the node's"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_kinds::certificates::request::KeyType;

    fn refused(user: &str, name: &str, names: &[&str], address: &str) -> String {
        let asked = Request {
            subject: vec![
                ("2.5.4.10", vec!["system:nodes".into()]),
                ("2.5.4.3", vec![format!("system:node:{name}")]),
            ],
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            addresses: vec![address.parse().expect("an address")],
            emails: Vec::new(),
            uris: Vec::new(),
            key: Vec::new(),
            key_type: KeyType::Ed25519,
        };
        let mut request = CertificateSigningRequest::default();
        request.spec.username = user.into();
        request.spec.usages = vec!["digital signature".into(), "server auth".into()];
        let mut facts = ClusterFacts::test();
        facts.api_names = vec!["kubernetes".into()];
        facts.api_addresses = vec!["192.0.2.1".parse().expect("an address")];
        foreign(&asked, &request, &facts).unwrap_or_default()
    }

    #[test]
    fn a_node_gets_what_is_its_own() {
        let own = |names: &[&str], address| refused("system:node:n1", "n1", names, address);
        assert_eq!(own(&["n1"], "192.0.2.9"), "");
        assert_eq!(own(&["n1"], "192.0.2.1"), "192.0.2.1 is not the node's");
        assert_eq!(own(&["n1"], "::ffff:192.0.2.1"), "192.0.2.1 is not the node's");
        assert_eq!(own(&["n1"], "127.0.0.1"), "127.0.0.1 is not the node's");
        let more = own(&["n1", "kubernetes"], "192.0.2.9");
        assert_eq!(more, "a node is certified its own name alone");
        let other = refused("system:node:n2", "n1", &["n1"], "192.0.2.9");
        assert_eq!(other, "a serving certificate is the node's own to ask for");
        let api = refused("system:node:kubernetes", "kubernetes", &["kubernetes"], "192.0.2.9");
        assert_eq!(api, "\"kubernetes\" is a name of the API server");
    }
}
