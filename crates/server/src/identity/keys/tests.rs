use super::*;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A folder of its own for each test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("skiff-keys-{name}-{}", std::process::id()));
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder of the test goes");
    }
}

fn wanted() -> Wanted {
    Wanted {
        names: vec!["skiff.test".into()],
        addresses: vec!["10.96.0.1".parse().expect("an address")],
        node: "n1".into(),
        node_addresses: vec!["10.0.0.5".parse().expect("an address")],
    }
}

fn leaf_der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")
}

#[tokio::test(start_paused = true)]
async fn what_is_good_stays_and_what_is_stale_is_issued_again() {
    let (world, folder) = (World::seeded(1), Folder::new("stale"));
    let first = Keys::open(&folder.0, &wanted(), &world).expect("made");
    let again = Keys::open(&folder.0, &wanted(), &world).expect("read");
    assert_eq!(first.serving.certificate, again.serving.certificate);
    assert_eq!(first.ca_pem(), again.ca_pem());
    assert_eq!(first.signing.id, again.signing.id);

    let mut more = wanted();
    more.addresses.push("192.0.2.7".parse().expect("an address"));
    let changed = Keys::open(&folder.0, &more, &world).expect("re-issued");
    assert_ne!(first.serving.certificate, changed.serving.certificate);
    assert_eq!(first.admin.certificate, changed.admin.certificate);

    world.sleep(Duration::from_secs(336 * 24 * 60 * 60)).await;
    let later = Keys::open(&folder.0, &more, &world).expect("re-issued");
    assert_ne!(first.admin.certificate, later.admin.certificate);
    assert_eq!(first.ca_pem(), later.ca_pem());

    fs::remove_file(folder.0.join("ca.crt")).expect("it is there");
    let renewed = Keys::open(&folder.0, &more, &world).expect("all anew");
    assert_ne!(later.node.certificate, renewed.node.certificate);
}

#[tokio::test(start_paused = true)]
async fn a_broken_key_is_refused_and_the_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let (world, folder) = (World::seeded(1), Folder::new("broken"));
    Keys::open(&folder.0, &wanted(), &world).expect("made");
    for entry in fs::read_dir(&folder.0).expect("a folder") {
        let mode = entry.expect("an entry").metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    fs::write(folder.0.join("ca.key"), "nonsense").expect("written");
    let error = Keys::open(&folder.0, &wanted(), &world).err().expect("refused");
    assert!(error.to_string().contains("restore it, or delete it"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn certificates_name_users() {
    let (world, folder) = (World::seeded(1), Folder::new("users"));
    let keys = Keys::open(&folder.0, &wanted(), &world).expect("made");
    let admin = tls::user(&leaf_der(&keys.admin)).expect("a user");
    assert_eq!(
        (&*admin.name, &*admin.groups.join(" ")),
        ("kubernetes-admin", "system:masters system:authenticated")
    );
    let node = tls::user(&leaf_der(&keys.node)).expect("a user");
    assert_eq!(
        (&*node.name, &*node.groups.join(" ")),
        ("system:node:n1", "system:nodes system:authenticated")
    );
    assert_eq!(node.extra[0].1[0].len(), "X509SHA256=".len() + 64);
    assert_eq!(tls::user(b"nonsense"), None);
}

/// Shakes hands and says what the server learned of the client, or why it failed.
async fn shake(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
    name: &str,
) -> String {
    let (here, there) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let accept = async move {
        let mut stream = match tokio_rustls::TlsAcceptor::from(server).accept(there).await {
            Ok(stream) => stream,
            Err(error) => return format!("server: {error}"),
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first().cloned());
        stream.write_all(b"x").await.expect("it writes");
        certificate.and_then(|c| tls::user(&c)).map_or("nobody".into(), |user| user.name)
    };
    let connect = async move {
        match tokio_rustls::TlsConnector::from(client).connect(name, here).await {
            Ok(mut stream) => stream.read_u8().await.map(|_| String::new()),
            Err(error) => Ok(format!("client: {error}")),
        }
    };
    let (seen, failed) = tokio::join!(accept, connect);
    match failed {
        Ok(text) if text.is_empty() => seen,
        Ok(text) => text,
        Err(_) => seen,
    }
}

#[tokio::test(start_paused = true)]
async fn hands_are_shaken_with_a_certificate_or_without() {
    let (world, folder, foreign) = (World::seeded(1), Folder::new("tls"), Folder::new("foreign"));
    let keys = Keys::open(&folder.0, &wanted(), &world).expect("made");
    let other = Keys::open(&foreign.0, &wanted(), &world).expect("made");
    let server = || keys.server_config(&world).expect("a server");
    let client = |pair| keys.client_config(pair, &world).expect("a client");
    assert_eq!(shake(server(), client(None), "kubernetes.default.svc").await, "nobody");
    assert_eq!(shake(server(), client(Some(&keys.admin)), "10.96.0.1").await, "kubernetes-admin");
    let stranger = shake(server(), client(Some(&other.admin)), "localhost").await;
    assert!(stranger.starts_with("server: invalid peer certificate"), "{stranger}");
    let wrong_name = shake(server(), client(None), "example.com").await;
    assert!(wrong_name.starts_with("client: invalid peer certificate"), "{wrong_name}");
    let node = tls::server_config(keys.ca_pem(), &keys.node_serving, &world).expect("a server");
    let seen = shake(node, client(Some(&keys.kubelet_client)), "10.0.0.5").await;
    assert_eq!(seen, "kube-apiserver-kubelet-client");
}
