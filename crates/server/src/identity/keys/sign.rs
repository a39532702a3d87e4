//! Signing: certificates of nodes, for keys that the nodes made themselves (documentation page "Certificates and
//! Certificate Signing Requests", the signers `kube-apiserver-client-kubelet` and `kubelet-serving`). What a request
//! says is read here, and what a node may be certified is decided here; who may ask is the caller's to know.
//!
//! Nothing of a request gets into a certificate but its key and what was checked: names, groups and usages are ours.

use super::issue::{Authority, Leaf};
use super::{KeysError, SERVICE_NAMES, node_leaf};
use rcgen::{CertificateSigningRequestParams, DnType, DnValue, PublicKey, SanType};
use skiff_base::World;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To call the API server.
    Client,
    /// To be called at the node's own API.
    Serving,
}

impl Use {
    /// Who signs for it (documentation page "Certificates and Certificate Signing Requests").
    pub fn signer(self) -> &'static str {
        match self {
            Use::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Use::Serving => "kubernetes.io/kubelet-serving",
        }
    }
}

/// What a request says; its own signature was checked, so whoever made it holds the key.
#[derive(Debug)]
pub struct Asked {
    pub node: String,
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    key: PublicKey,
}

impl Asked {
    /// Reads a request (PEM), and says what is wrong with one that no node makes.
    pub fn read(request: &str) -> Result<Asked, String> {
        let read = CertificateSigningRequestParams::from_pem(request);
        let CertificateSigningRequestParams { params, public_key: key } =
            read.map_err(|error| error.to_string())?;
        let of = |sort| match params.distinguished_name.get(&sort) {
            Some(DnValue::Utf8String(text)) => text.clone(),
            Some(DnValue::PrintableString(text)) => text.as_str().to_owned(),
            _ => String::new(),
        };
        if of(DnType::OrganizationName) != GROUP {
            return Err(format!("subject organization is not {GROUP}"));
        }
        let name = of(DnType::CommonName);
        let node = name.strip_prefix(PREFIX).filter(|node| !node.is_empty());
        let node =
            node.ok_or_else(|| format!("subject common name does not begin with {PREFIX}"))?;
        if !skiff_api::names::subdomain(node).is_empty() {
            return Err(format!("{node:?} is not the name of a node"));
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for name in &params.subject_alt_names {
            match name {
                SanType::DnsName(name) => _ = names.insert(name.as_str().to_owned()),
                // A mapped address of IPv4 is that address for whoever checks the certificate.
                SanType::IpAddress(address) => _ = addresses.insert(address.to_canonical()),
                _ => return Err("only DNS and IP subjectAltNames are allowed".to_owned()),
            }
        }
        Ok(Asked { node: node.to_owned(), names, addresses, key })
    }
}

/// Signs for nodes.
pub struct Signer {
    authority: Authority,
    /// No certificate lives longer.
    most: Duration,
    /// The API server's own addresses and names: whoever had them in a certificate could be taken for it.
    reserved: BTreeSet<IpAddr>,
    names: BTreeSet<String>,
}

impl Signer {
    pub(super) fn new(authority: Authority, most: Duration, reserved: &[IpAddr]) -> Signer {
        let reserved = reserved.iter().map(IpAddr::to_canonical).collect();
        let names = SERVICE_NAMES.iter().map(|name| (*name).to_owned()).collect();
        Signer { authority, most, reserved, names }
    }

    /// Why no node may have this certificate, if so.
    pub fn refusal(&self, asked: &Asked, purpose: Use) -> Option<String> {
        let (names, addresses) = (&asked.names, &asked.addresses);
        match purpose {
            _ if self.names.contains(&asked.node) => {
                Some(format!("{:?} is a name of the API server", asked.node))
            }
            Use::Client if !names.is_empty() || !addresses.is_empty() => {
                Some("subjectAltNames are not allowed".to_owned())
            }
            Use::Client => None,
            Use::Serving if names.iter().any(|name| *name != asked.node) => {
                Some("a node is certified its own name alone".to_owned())
            }
            Use::Serving if names.is_empty() && addresses.is_empty() => {
                Some("at least one DNS or IP subjectAltName is required".to_owned())
            }
            Use::Serving => {
                let taken = addresses.iter().find(|it| {
                    it.is_loopback() || it.is_unspecified() || self.reserved.contains(it)
                });
                taken.map(|address| format!("{address} is not the node's"))
            }
        }
    }

    /// The certificate, as PEM.
    pub fn sign(
        &self,
        asked: &Asked,
        purpose: Use,
        life: Option<Duration>,
        world: &World,
    ) -> Result<String, KeysError> {
        let leaf = match purpose {
            Use::Client => Leaf::client(&format!("{PREFIX}{}", asked.node), GROUP),
            Use::Serving => {
                let addresses = asked.addresses.iter().copied().collect();
                node_leaf(&asked.node, asked.names.iter().cloned(), addresses)
            }
        };
        let life = life.map_or(self.most, |life| life.min(self.most));
        self.authority.sign(&leaf, life, &asked.key, world)
    }
}

/// A node's fresh key and its request for a certificate, both as PEM.
pub fn request(
    node: &str,
    purpose: Use,
    address: IpAddr,
    world: &World,
) -> Result<(String, String), KeysError> {
    let leaf = match purpose {
        Use::Client => Leaf::client(&format!("{PREFIX}{node}"), GROUP),
        Use::Serving => node_leaf(node, [node.to_owned()], vec![address]),
    };
    leaf.request(world)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(world: &World, reserved: &[IpAddr]) -> Signer {
        Signer::new(Authority::make(world).unwrap(), Duration::from_secs(60), reserved)
    }

    #[tokio::test]
    async fn a_node_gets_its_own_name_for_the_time_that_it_asked_for() {
        let world = World::seeded(1);
        let signer = signer(&world, &[]);
        let (_, request) = request("n1", Use::Client, [192, 0, 2, 9].into(), &world).unwrap();
        let asked = Asked::read(&request).unwrap();
        assert_eq!(asked.node, "n1");
        assert_eq!(signer.refusal(&asked, Use::Client), None);
        for (wanted, granted_s) in [(Some(10), 10), (None, 60), (Some(3600), 60)] {
            let life = wanted.map(Duration::from_secs);
            let pem = signer.sign(&asked, Use::Client, life, &world).unwrap();
            let (since, ends) = super::super::life(&pem).unwrap();
            assert_eq!(ends.as_second() - since.as_second(), granted_s);
            assert!((0..2).contains(&(world.now().as_second() - since.as_second())), "{since}");
        }
    }

    #[tokio::test]
    async fn no_node_is_certified_what_is_not_its_own() {
        let world = World::seeded(1);
        let api = IpAddr::from([192, 0, 2, 1]);
        let signer = signer(&world, &[api]);
        let refused = |leaf: Leaf, purpose| {
            let (_, request) = leaf.request(&world).unwrap();
            match Asked::read(&request) {
                Ok(asked) => signer.refusal(&asked, purpose).unwrap_or_default(),
                Err(why) => why,
            }
        };
        let node = |names: &[&str], address: IpAddr| {
            node_leaf("n1", names.iter().map(|it| (*it).to_owned()), vec![address])
        };
        let own = IpAddr::from([192, 0, 2, 9]);
        assert_eq!(refused(node(&["n1"], own), Use::Serving), "");
        assert_eq!(refused(node(&["n1"], api), Use::Serving), "192.0.2.1 is not the node's");
        assert_eq!(
            refused(node(&["n1", "kubernetes"], own), Use::Serving),
            "a node is certified its own name alone"
        );
        assert_eq!(refused(node(&["n1"], own), Use::Client), "subjectAltNames are not allowed");
        let master = Leaf::client("system:node:n1", "system:masters");
        assert_eq!(refused(master, Use::Client), "subject organization is not system:nodes");
        let named = |name: &str| Leaf::client(&format!("system:node:{name}"), GROUP);
        for name in ["kubernetes", "kubernetes.default.svc", "localhost"] {
            let why = format!("{name:?} is a name of the API server");
            assert_eq!(refused(named(name), Use::Client), why);
        }
        let wild = refused(named("*.default.svc"), Use::Client);
        assert_eq!(wild, "\"*.default.svc\" is not the name of a node");
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(refused(node(&["n1"], mapped), Use::Serving), "192.0.2.1 is not the node's");
        let user = Leaf::client("admin", GROUP);
        assert_eq!(
            refused(user, Use::Client),
            "subject common name does not begin with system:node:"
        );
    }
}
