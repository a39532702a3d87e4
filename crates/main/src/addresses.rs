//! Which addresses this machine is known by: to its pods and to others, and to whoever calls the API from outside.

use anyhow::Result;
use skiff_cli::settings::Settings;
use skiff_net::{NetNs, node_address};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The addresses of one machine, found out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Where pods and other machines reach the API and the node.
    pub advertise: IpAddr,
    /// Where the API is: the endpoint of the `kubernetes` Service.
    pub api: SocketAddr,
    /// What stands in the kubeconfig: `https://host:port`.
    pub server: String,
    /// All that the server's certificate has to name.
    pub certified: Vec<IpAddr>,
}

impl Addresses {
    pub fn find(settings: &Settings) -> Result<Addresses> {
        let advertise = match settings.advertise {
            Some(address) => address,
            None => own(settings)?,
        };
        let listen = settings.listen.ip();
        let outside = match (listen.is_unspecified(), settings.is_host()) {
            (false, _) => listen,
            (true, true) => Ipv4Addr::LOCALHOST.into(),
            (true, false) => advertise,
        };
        let mut certified = vec![advertise, settings.api_service()];
        certified.extend((!listen.is_unspecified()).then_some(listen));
        certified.sort();
        certified.dedup();
        let reached = if listen.is_unspecified() { advertise } else { listen };
        let api = SocketAddr::new(reached, settings.listen.port());
        let server = format!("https://{outside}:{}", settings.listen.port());
        Ok(Addresses { advertise, api, server, certified })
    }
}

/// The node's own address; without any network it is the one that it has towards its pods.
fn own(settings: &Settings) -> Result<IpAddr> {
    match node_address(&NetNs::current()?) {
        Err(skiff_net::Error::NoNodeAddress) => {
            Ok(settings.first_pods().nth(1).unwrap_or(Ipv4Addr::LOCALHOST.into()))
        }
        other => Ok(other?),
    }
}
