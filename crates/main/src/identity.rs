//! Who an agent is: a certificate to call the API server with and one to be called by, both short-lived. They are kept
//! on the disk and renewed well before they end; when they have ended, since the server was away for longer, the
//! credential that somebody made by hand gets new ones.
//!
//! The agent asks with a CertificateSigningRequest, as kubelets do, and waits for its certificate. Who approves and
//! signs, and how long that takes, is not its affair.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::Method;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::wire::{Body, Frame, Payload, User};
use skiff_base::part::Failure;
use skiff_base::{Backoff, World, fault};
use skiff_cli::credential::{Credential, Proof};
use skiff_cli::settings::Settings;
use skiff_client::Client;
use skiff_client::https::Https;
use skiff_json::json;
use skiff_kinds::certificates::certificatesigningrequest::RESOURCE as REQUESTS;
use skiff_kinds::certificates::signer;
use skiff_kinds::views::CertificateSigningRequest;
use skiff_server::identity::keys::sign::{Use, request};
use skiff_server::identity::keys::tls::{self, Shown};
use skiff_server::identity::keys::{Pair, life};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// So long a request waits for its answer, as a kubelet's does, before another is made.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Between two tries to renew; the server may just be starting.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10) };

/// The identity of one agent.
pub struct Identity {
    node: String,
    address: IpAddr,
    world: World,
    /// Acts as whoever the hand-made credential is.
    credential: Client,
    /// Acts as the node.
    pub client: Client,
    door: Arc<Https>,
    /// Whether there have been certificates, good or not.
    known: watch::Sender<bool>,
    own: One,
    serving: One,
    /// What the node's API shows.
    pub tls: Arc<rustls::ServerConfig>,
}

/// One of the two certificates.
struct One {
    purpose: Use,
    signer: &'static str,
    usages: &'static [&'static str],
    file: PathBuf,
    shown: Arc<Shown>,
}

impl Identity {
    /// Reads what is on the disk; nothing is asked of anybody yet.
    pub fn open(
        settings: &Settings,
        address: IpAddr,
        credential: &Credential,
        world: &World,
    ) -> Result<Identity> {
        let folder = settings.data.join("pki");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("making {}", folder.display()))?;
        let own = One {
            purpose: Use::Client,
            signer: signer::KUBELET_CLIENT,
            usages: &["digital signature", "client auth"],
            file: folder.join("agent-client.pem"),
            shown: Arc::default(),
        };
        let serving = One {
            purpose: Use::Serving,
            signer: signer::KUBELET_SERVING,
            usages: &["digital signature", "server auth"],
            file: folder.join("agent-serving.pem"),
            shown: Arc::default(),
        };
        let mut known = true;
        for one in [&own, &serving] {
            match one.read()? {
                Some(pair) => one.shown.renew(&pair)?,
                None => known = false,
            }
        }
        let Credential { server, ca, proof } = credential;
        let (pair, token) = match proof {
            Proof::Certificate { certificate, key } => {
                (Some(Pair { certificate: certificate.clone(), key: key.clone() }), None)
            }
            Proof::Token(token) => (None, Some(token.as_str())),
        };
        let connect = |config, token| {
            let door = Https::new(server, config, token, world.clone());
            door.map(Arc::new).map_err(anyhow::Error::msg)
        };
        // Who calls is told by certificate or token, not by name.
        let client = |door| Client::new(door, User::default(), "kubelet");
        let door = connect(tls::renewed_client(ca, own.shown.clone(), world)?, None)?;
        Ok(Identity {
            node: settings.node.clone(),
            address,
            world: world.clone(),
            credential: client(connect(tls::client_config(ca, pair.as_ref(), world)?, token)?),
            client: client(door.clone()),
            door,
            known: watch::Sender::new(known),
            tls: tls::renewed_server(ca, serving.shown.clone(), world)?,
            own,
            serving,
        })
    }

    /// Waits until this node has had certificates: before, it is nobody.
    pub async fn known(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// Keeps both certificates good until the task is ended.
    pub async fn keep(&self) -> Result<(), Failure> {
        let mut failures = 0;
        loop {
            let due = [self.due(&self.own)?, self.due(&self.serving)?];
            self.world.sleep(due[0].min(due[1])).await;
            fault::point("identity");
            // The serving certificate is the node's own to ask for, so the node's comes first.
            let mut renewed = Ok(());
            for (one, asking) in [(&self.own, &self.credential), (&self.serving, &self.client)] {
                if renewed.is_ok() && self.due(one)?.is_zero() {
                    renewed = self.renew(one, asking).await;
                }
            }
            match renewed {
                Ok(()) => {
                    failures = 0;
                    self.known.send_replace(true);
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "a certificate of this node could not be renewed");
                    self.world.sleep(RETRY.delay(failures)).await;
                }
            }
        }
    }

    /// How long until a certificate should be renewed: when 70 to 90 % of its life are over, not all nodes at once.
    fn due(&self, one: &One) -> Result<Duration> {
        let Some(pair) = one.read()? else { return Ok(Duration::ZERO) };
        let (since, ends) = life(&pair.certificate)
            .with_context(|| format!("{} holds no certificate: remove it", one.file.display()))?;
        let life = Duration::try_from(ends.duration_since(since)).unwrap_or_default();
        let at = since + life * (70 + u32::try_from(self.world.below(20))?) / 100;
        Ok(Duration::try_from(at.duration_since(self.world.now())).unwrap_or_default())
    }

    async fn renew(&self, one: &One, asking: &Client) -> Result<(), Failure> {
        let (key, request) = request(&self.node, one.purpose, self.address, &self.world)?;
        let body = json!({"apiVersion": "certificates.k8s.io/v1", "kind": REQUESTS.kind,
            "metadata": {"generateName": "csr-"},
            "spec": {"request": STANDARD.encode(request), "signerName": one.signer, "usages": one.usages}});
        let made = asking.create(REQUESTS, "", body).await?.object()?;
        let signed = self.world.within(PATIENCE, answer(asking, &made)).await;
        let signed = signed.ok_or("nobody has signed the request for so long")??;
        let pair = Pair { certificate: String::from_utf8(signed)?, key };
        // The disk first: a certificate that is shown is there after the next start too.
        skiff_cli::write(&one.file, (pair.certificate.clone() + &pair.key).as_bytes())?;
        one.shown.renew(&pair)?;
        self.door.begin_anew();
        tracing::info!(purpose = ?one.purpose, "a certificate of this node was renewed");
        Ok(())
    }
}

/// Waits for the certificate that a request is answered with.
async fn answer(asking: &Client, made: &Object) -> Result<Vec<u8>, Failure> {
    let (name, revision) = (made.name(), made.resource_version());
    let query =
        format!("watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={revision}");
    let path = REQUESTS.path("", "", "");
    let watch = asking.send(Method::GET, &path, &query, "", Payload::None).await?;
    let Body::Watch(mut frames) = watch.body else {
        return Err(Status::internal("the answer is no watch").into());
    };
    while let Some(frame) = frames.next().await {
        let stored = match frame {
            Frame::Added(stored) | Frame::Modified(stored) => stored,
            Frame::Bookmark { .. } => continue,
            Frame::Deleted(_) => return Err(format!("the request {name} was deleted").into()),
            Frame::Error(status) => return Err(status.into()),
        };
        let request: CertificateSigningRequest = skiff_client::decode(&stored)?;
        if request.issued() {
            return Ok(request.status.certificate);
        }
        if let Some(end) = request.condition("Denied").or(request.condition("Failed")) {
            let (type_, why) = (end.type_.to_lowercase(), &end.message);
            return Err(format!("the request {name} was {type_}: {why}").into());
        }
    }
    Err(format!("the watch of the request {name} ended").into())
}

impl One {
    /// Both in one file, so that one never lies there without the other.
    fn read(&self) -> Result<Option<Pair>> {
        match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.file.display())),
            Ok(text) => Ok(Some(Pair { certificate: text.clone(), key: text })),
        }
    }
}
