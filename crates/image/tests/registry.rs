//! Pulling from a real registry (Debian's docker-registry), and from one that misbehaves.
//!
//! Each test runs itself again in a network namespace of its own, where the loopback device is all
//! there is: ports are free, and nothing leaves the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use expect_test::expect;
use skiff_base::World;
use skiff_image::{Credentials, Digest, Images, Mirror, PullOptions, StoreOptions, Used};

const MARK: &str = "SKIFF_IMAGE_TEST_INSIDE";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LIST: &str = "application/vnd.oci.image.index.v1+json";

/// Runs the test of this name alone in a new network namespace; true inside of it.
fn inside(name: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let exe = std::env::current_exe().unwrap();
    let done = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(exe)
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("unshare (util-linux) and ip (iproute2) are installed");
    let text = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    false
}

struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Temp {
        let path = std::env::temp_dir().join(format!("skiff-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Temp(path)
    }

    fn open(&self, name: &str) -> Images {
        Images::open(&self.0.join(name), StoreOptions::new(World::real())).unwrap()
    }

    /// Folders that a store has for layers.
    fn layers(&self, name: &str) -> usize {
        std::fs::read_dir(self.0.join(name).join("snapshots")).unwrap().count()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

struct Registry(Child);

impl Registry {
    fn start(temp: &Temp, port: u16, auth: &str) -> Registry {
        let config = temp.0.join(format!("{port}.yml"));
        let storage = temp.0.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n{auth}",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is not installed: apt-get install docker-registry");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("listening on"));
        assert!(ready, "docker-registry did not start");
        std::thread::spawn(move || lines.for_each(drop));
        Registry(child)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn http(port: u16, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.split(' ').nth(1).unwrap().starts_with('2'), "{method} {path}: {answer}");
    answer
}

fn push_blob(port: u16, repository: &str, bytes: &[u8]) {
    let answer = http(port, "POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
    let line = answer.lines().find(|line| line.starts_with("Location: ")).unwrap();
    let path = line.split_once("5000").unwrap().1.trim();
    let path = format!("{path}&digest={}", Digest::of(bytes));
    http(port, "PUT", &path, "application/octet-stream", bytes);
}

fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let bytes: Vec<u8> = (0..size).map(|n| (n * n / 7) as u8).collect();
    tar.append_data(&mut header, name, &bytes[..]).unwrap();
    tar.into_inner().unwrap()
}

/// Everything about an image, as a registry has it.
struct Made {
    blobs: Vec<Vec<u8>>,
    manifest: Vec<u8>,
}

fn make(layers: &[Vec<u8>]) -> Made {
    let mut blobs = Vec::new();
    let mut entries = Vec::new();
    for layer in layers {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(layer).unwrap();
        let blob = gzip.finish().unwrap();
        entries.push(format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}}"#,
            Digest::of(&blob),
            blob.len()
        ));
        blobs.push(blob);
    }
    let ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", Digest::of(l))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
        Digest::of(config.as_bytes()),
        config.len(),
        entries.join(",")
    );
    blobs.push(config.into_bytes());
    Made { blobs, manifest: manifest.into_bytes() }
}

/// Pushes an image by tag, as a list with an image for another platform beside it.
fn push(port: u16, repository: &str, made: &Made) -> Digest {
    for blob in &made.blobs {
        push_blob(port, repository, blob);
    }
    let digest = Digest::of(&made.manifest);
    http(port, "PUT", &format!("/v2/{repository}/manifests/{digest}"), MANIFEST, &made.manifest);
    let entry = |architecture: &str| {
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#,
            made.manifest.len()
        )
    };
    let architecture = skiff_image::Platform::local().architecture;
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[{},{}]}}"#,
        entry("s390x"),
        entry(&architecture)
    );
    http(port, "PUT", &format!("/v2/{repository}/manifests/v1"), LIST, list.as_bytes());
    Digest::of(list.as_bytes())
}

fn basic(password: &str) -> PullOptions {
    let (username, password) = ("user".to_owned(), password.to_owned());
    let credentials = Some(Credentials::Basic { username, password });
    PullOptions { credentials, ..PullOptions::default() }
}

async fn refusal(images: &Images, name: &str, options: PullOptions) -> String {
    let error = images.pull(name, options).await.unwrap_err();
    format!("{}: {error}\n", error.code().as_str())
}

#[test]
fn a_real_registry() {
    if !inside("a_real_registry") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(real_registry());
}

async fn real_registry() {
    let temp = Temp::new("registry");
    let _open = Registry::start(&temp, 5000, "");
    let made = make(&[layer("a", 10), layer("b", 3_000_000), layer("c", 20), layer("d", 30)]);
    let list = push(5000, "team/app", &made);
    let images = temp.open("images");

    // Many at once are one; by digest it is there already, and nothing is transferred.
    let moved = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&moved);
    let options = PullOptions {
        progress: Some(Arc::new(move |progress| {
            count.fetch_max(progress.done, Ordering::Relaxed);
        })),
        ..PullOptions::default()
    };
    let name = "127.0.0.1:5000/team/app:v1";
    let pulls = (0..10).map(|_| {
        let (images, options) = (images.clone(), options.clone());
        tokio::spawn(async move { images.pull(name, options).await.unwrap() })
    });
    let pulls: Vec<_> = pulls.collect();
    for pull in pulls {
        assert_eq!(pull.await.unwrap().config.cmd, ["x"]);
    }
    assert_eq!(moved.swap(0, Ordering::Relaxed), made.blobs[1].len() as u64);
    assert_eq!(temp.layers("images"), 4);
    let by_digest = format!("127.0.0.1:5000/team/app@{list}");
    let image = images.pull(&by_digest, options.clone()).await.unwrap();
    assert_eq!(image.repo_tags, [name]);
    assert_eq!(image.repo_digests, [by_digest]);
    assert_eq!(moved.load(Ordering::Relaxed), 0);
    let rootfs = images.rootfs(&image, "c").unwrap();
    assert_eq!(std::fs::metadata(rootfs.lower[2].join("b")).unwrap().len(), 3_000_000);

    // A mirror stands in for a registry that is not reachable.
    let mirror = Mirror { registry: "registry.k8s.io".into(), url: "http://127.0.0.1:5000".into() };
    let mirrored = PullOptions { mirrors: vec![mirror], ..PullOptions::default() };
    let image = images.pull("registry.k8s.io/team/app:v1", mirrored.clone()).await.unwrap();
    assert_eq!(image.repo_tags, [name, "registry.k8s.io/team/app:v1"]);
    assert_eq!(temp.layers("images"), 4);

    let mut seen = String::new();
    for name in
        ["127.0.0.1:5000/team/app:v2", "127.0.0.1:5000/nothing", "127.0.0.1:5999/x:y", "Upper"]
    {
        seen += &refusal(&images, name, PullOptions::default()).await;
    }
    seen += &refusal(&images, "no.example/x:y", PullOptions::default()).await;
    seen += &refusal(&images, "registry.k8s.io/team/app:v2", mirrored).await;

    // Damaged on the registry's disk.
    let other = make(&[layer("e", 50)]);
    push(5000, "bad", &other);
    let hex = Digest::of(&other.blobs[0]).hex();
    let blob = temp.0.join("registry/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex);
    let mut bytes = other.blobs[0].clone();
    bytes[30] ^= 1;
    std::fs::write(blob.join("data"), bytes).unwrap();
    let text = refusal(&images, "localhost:5000/bad:v1", PullOptions::default()).await;
    assert!(text.contains("wrong digest of layer sha256:"), "{text}");
    assert_eq!(temp.layers("images"), 4);

    // The same storage behind a password ("secret").
    let passwords = temp.0.join("htpasswd");
    std::fs::write(
        &passwords,
        "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
    )
    .unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
    let _closed = Registry::start(&temp, 5001, &auth);
    seen += &refusal(&images, "127.0.0.1:5001/team/app:v1", PullOptions::default()).await;
    seen += &refusal(&images, "127.0.0.1:5001/team/app:v1", basic("wrong")).await;
    images.pull("127.0.0.1:5001/team/app:v1", basic("secret")).await.unwrap();
    expect![[r#"
        NotFound: failed to pull and unpack image "127.0.0.1:5000/team/app:v2": failed to resolve reference "127.0.0.1:5000/team/app:v2": 127.0.0.1:5000/team/app:v2: not found
        NotFound: failed to pull and unpack image "127.0.0.1:5000/nothing:latest": failed to resolve reference "127.0.0.1:5000/nothing:latest": 127.0.0.1:5000/nothing:latest: not found
        Unknown: failed to pull and unpack image "127.0.0.1:5999/x:y": failed to resolve reference "127.0.0.1:5999/x:y": failed to do request: Head "http://127.0.0.1:5999/v2/x/manifests/y": dial tcp 127.0.0.1:5999: connect: connection refused
        InvalidArgument: couldn't parse image name "Upper": invalid reference format: repository name (library/Upper) must be lowercase
        Unknown: failed to pull and unpack image "no.example/x:y": failed to resolve reference "no.example/x:y": failed to do request: Head "https://no.example/v2/x/manifests/y": dial tcp: lookup no.example: no such host
        NotFound: failed to pull and unpack image "registry.k8s.io/team/app:v2": failed to resolve reference "registry.k8s.io/team/app:v2": registry.k8s.io/team/app:v2: not found
        Unknown: failed to pull and unpack image "127.0.0.1:5001/team/app:v1": failed to resolve reference "127.0.0.1:5001/team/app:v1": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials
        Unknown: failed to pull and unpack image "127.0.0.1:5001/team/app:v1": failed to resolve reference "127.0.0.1:5001/team/app:v1": pull access denied, repository does not exist or may require authorization: authorization failed
    "#]].assert_eq(&seen);
}

/// A registry by the book of this test: answers requests from a function, counts them.
fn script(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    serve(listener, move |head| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(head)
    });
    (port, count)
}

/// Answers one request of each connection, head alone.
fn serve(listener: TcpListener, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            // A peer that speaks TLS sends no text.
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let said =
                if head.is_empty() { respond("400 Bad Request", "", b"") } else { answer(&head) };
            // A client that gave up does not read.
            let _ = stream.write_all(&said);
        }
    });
}

fn respond(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Answers of an honest registry with one image.
fn honest(made: &Made, head: &str) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap();
    let name = path.rsplit('/').next().unwrap();
    let digest = Digest::of(&made.manifest);
    if path.contains("/manifests/") {
        let headers = format!("Docker-Content-Digest: {digest}\r\nContent-Type: {MANIFEST}\r\n");
        let mut answer = respond("200 OK", &headers, &made.manifest);
        if head.starts_with("HEAD") {
            answer.truncate(answer.len() - made.manifest.len());
        }
        return answer;
    }
    let blob = made.blobs.iter().find(|blob| Digest::of(blob).to_string() == name);
    blob.map_or_else(|| respond("404 Not Found", "", b""), |blob| respond("200 OK", "", blob))
}

#[test]
fn a_registry_that_misbehaves() {
    if !inside("a_registry_that_misbehaves") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(misbehaving());
}

async fn misbehaving() {
    let temp = Temp::new("misbehaving");
    let images = temp.open("images");
    let made = || make(&[layer("a", 100_000)]);
    let pull = |port: u16, options: PullOptions| {
        let images = images.clone();
        async move { images.pull(&format!("127.0.0.1:{port}/x:y"), options).await }
    };
    let forget = || {
        for image in images.list() {
            images.remove(&image.id.to_string(), Used::Remove).unwrap();
        }
        assert_eq!(temp.layers("images"), 0);
    };

    // A token server; the token is fetched once, with the credentials, and shown each time.
    let good = made();
    let (port, count) = script(move |head| match head.split(' ').nth(1).unwrap() {
        path if path.starts_with("/token?service=s&scope=repository:x:pull") => {
            match head.contains("uthorization: Basic dXNlcjpzZWNyZXQ=\r\n") {
                true => respond("200 OK", "", br#"{"token":"t1"}"#),
                false => respond("401 Unauthorized", "", b""),
            }
        }
        _ if head.contains("uthorization: Bearer t1\r\n") => honest(&good, head),
        _ => {
            let host = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("host: ").map(str::to_owned))
                .unwrap();
            let header =
                format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
            respond("401 Unauthorized", &header, b"")
        }
    });
    pull(port, basic("secret")).await.unwrap();
    // 401, token, and four that count: HEAD, manifest, config, layer.
    assert_eq!(count.load(Ordering::Relaxed), 6);
    forget();
    let mut seen = refusal(&images, &format!("127.0.0.1:{port}/x:y"), PullOptions::default()).await;

    // Overloaded at first, the layer cut short once, and blobs elsewhere.
    let good = made();
    let tries = AtomicUsize::new(0);
    let cut = AtomicUsize::new(0);
    let (port, _) = script(move |head| {
        let layer = Digest::of(&good.blobs[0]).to_string();
        if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            return respond("503 Service Unavailable", "", b"");
        }
        if head.contains("/blobs/") && !head.contains("moved") {
            return respond(
                "307 Temporary Redirect",
                &format!("Location: {}?moved\r\n", head.split(' ').nth(1).unwrap()),
                b"",
            );
        }
        let mut answer = honest(&good, &head.replace("?moved", ""));
        if head.contains(&layer) && cut.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.truncate(answer.len() - 100);
        }
        answer
    });
    pull(port, PullOptions::default()).await.unwrap();
    forget();

    // Lies.
    let lies: [(&str, fn(&Made, &str) -> Vec<u8>); 6] = [
        ("a manifest with another digest", |_, head| honest(&make(&[layer("z", 1)]), head)),
        ("a layer of another size", |made, head| {
            match head.contains(&Digest::of(&made.blobs[0]).to_string()) {
                true => respond("200 OK", "", &[made.blobs[0].clone(), vec![0]].concat()),
                false => honest(made, head),
            }
        }),
        ("an endless manifest", |made, head| match head.starts_with("GET") {
            true => respond("200 OK", "", &vec![b' '; 5 << 20]),
            false => honest(made, head),
        }),
        ("redirects without end", |_, head| {
            respond("302 Found", &format!("Location: {}\r\n", head.split(' ').nth(1).unwrap()), b"")
        }),
        ("forbidden", |_, _| respond("403 Forbidden", "", b"")),
        ("garbage", |_, _| b"SSH-2.0-x\r\n".to_vec()),
    ];
    for (what, lie) in lies {
        let good = made();
        let expected = Digest::of(&good.manifest);
        let (port, _) = script(move |head| {
            let answer = lie(&good, head);
            // HEAD tells the truth, or there would be nothing to compare with.
            match head.starts_with("HEAD") && answer.starts_with(b"HTTP/1.1 200") {
                true => honest(&good, head),
                false => answer,
            }
        });
        let text = refusal(&images, &format!("127.0.0.1:{port}/x:y"), PullOptions::default()).await;
        let text = text.replace(&port.to_string(), "PORT").replace(&expected.to_string(), "DIGEST");
        seen += &format!("{what}: {text}");
        forget();
    }
    let shown = seen.replace(&port.to_string(), "PORT");
    expect![[r#"
        Unknown: failed to pull and unpack image "127.0.0.1:/x:y": failed to resolve reference "127.0.0.1:/x:y": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to http://127.0.0.1:/token?service=s&scope=repository:x:pull: 401 Unauthorized
        a manifest with another digest: Unknown: failed to pull and unpack image "127.0.0.1:PORT/x:y": wrong digest of manifest: expected DIGEST, got sha256:...
        a layer of another size: Unknown: failed to pull and unpack image "127.0.0.1:PORT/x:y": wrong size of layer sha256:...: expected 2280 bytes, got 2281
        an endless manifest: Unknown: failed to pull and unpack image "127.0.0.1:PORT/x:y": failed to do request: Get "http://127.0.0.1:PORT/v2/x/manifests/DIGEST": the answer is larger than 4194304 bytes
        redirects without end: Unknown: failed to pull and unpack image "127.0.0.1:PORT/x:y": failed to resolve reference "127.0.0.1:PORT/x:y": failed to do request: Head "http://127.0.0.1:PORT/v2/x/manifests/y": stopped after 10 redirects
        forbidden: Unknown: failed to pull and unpack image "127.0.0.1:PORT/x:y": failed to resolve reference "127.0.0.1:PORT/x:y": unexpected status from HEAD request to http://127.0.0.1:PORT/v2/x/manifests/y: 403 Forbidden
        garbage: Unknown: failed to pull and unpack image "127.0.0.1:PORT/x:y": failed to resolve reference "127.0.0.1:PORT/x:y": failed to do request: Head "http://127.0.0.1:PORT/v2/x/manifests/y": invalid HTTP version parsed
    "#]].assert_eq(&hide_digests(&shown));
}

#[test]
fn secrets_stay_with_their_registry() {
    if !inside("secrets_stay_with_their_registry") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(secrets());
}

/// What a host was asked, whole.
fn listening(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (u16, Arc<Mutex<String>>) {
    let heard = Arc::new(Mutex::new(String::new()));
    let hear = Arc::clone(&heard);
    let (port, _) = script(move |head| {
        hear.lock().unwrap().push_str(&head.to_lowercase());
        answer(head)
    });
    (port, heard)
}

fn challenge(realm: &str) -> Vec<u8> {
    respond("401 Unauthorized", &format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n"), b"")
}

async fn secrets() {
    let temp = Temp::new("secrets");
    let images = temp.open("images");
    let identity = || PullOptions {
        credentials: Some(Credentials::Identity { token: "refresh-me".to_owned() }),
        ..PullOptions::default()
    };
    let mut seen = String::new();
    // Every one of these hosts wants what belongs to the registry.
    let (thief, heard) = listening(|_| challenge("http://127.0.0.1/token"));
    let cases: [(&str, Box<dyn Fn(&str) -> Vec<u8> + Send>, PullOptions); 5] = [
        (
            "a token server that redirects a token",
            Box::new(move |head| match head.starts_with("POST") {
                true => respond(
                    "307 Temporary Redirect",
                    &format!("Location: http://127.0.0.1:{thief}/\r\n"),
                    b"",
                ),
                false => {
                    let host = head.to_lowercase();
                    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
                    challenge(&format!("http://{}/token", host.unwrap()))
                }
            }),
            identity(),
        ),
        (
            "a token server that only looks like this machine",
            Box::new(move |_| challenge(&format!("http://127.0.0.1:1@localhost:{thief}/token"))),
            basic("secret"),
        ),
        (
            "a token server without TLS",
            Box::new(|_| challenge("http://thief.example/token")),
            basic("secret"),
        ),
        (
            "a token server that is a file",
            Box::new(|_| challenge("file:///etc/shadow")),
            basic("x"),
        ),
        (
            "a redirect to one that asks for credentials",
            Box::new(move |_| {
                let location = format!("Location: http://127.0.0.1:{thief}/v2/\r\n");
                respond("302 Found", &location, b"")
            }),
            basic("secret"),
        ),
    ];
    for (what, answer, options) in cases {
        let (port, _) = script(answer);
        let text = refusal(&images, &format!("127.0.0.1:{port}/x:y"), options).await;
        let why = text.split("failed to do request: ").last().unwrap();
        let why = why.rsplit("token: ").next().unwrap();
        seen += &format!("{what}: {}\n", why.trim_end());
    }
    expect![[r#"
        a token server that redirects a token: Post "http://127.0.0.1:/token": it redirects to http://127.0.0.1:/: secrets stay here
        a token server that only looks like this machine: pull access denied, repository does not exist or may require authorization: no credentials are sent to http://127.0.0.1:@localhost:/token without TLS
        a token server without TLS: pull access denied, repository does not exist or may require authorization: no credentials are sent to http://thief.example/token without TLS
        a token server that is a file: pull access denied, repository does not exist or may require authorization: no credentials are sent to file:///etc/shadow without TLS
        a redirect to one that asks for credentials: Head "http://127.0.0.1:/v2/": it was redirected there, and is asked for credentials
    "#]].assert_eq(&hide_digests(&seen.replace(&thief.to_string(), "")));
    let heard = heard.lock().unwrap();
    assert!(heard.starts_with("head /v2/") && heard.matches("host:").count() == 1, "{heard}");
    assert!(!heard.contains("authorization") && !heard.contains("refresh-me"), "{heard}");
}

#[test]
fn plain_http_is_named_with_what_allows_it() {
    if !inside("plain_http_is_named_with_what_allows_it") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let added = Command::new("ip").args(["addr", "add", "192.0.2.7/32", "dev", "lo"]).status();
        assert!(added.unwrap().success());
        let temp = Temp::new("plain");
        let images = temp.open("images");
        let made = make(&[layer("a", 10)]);
        let listener = TcpListener::bind("192.0.2.7:5000").unwrap();
        serve(listener, move |head| honest(&made, head));
        let name = "192.0.2.7:5000/x:y";
        let text = refusal(&images, name, PullOptions::default()).await;
        expect![[r#"
            Unknown: failed to pull and unpack image "192.0.2.7:5000/x:y": failed to resolve reference "192.0.2.7:5000/x:y": failed to do request: Head "https://192.0.2.7:5000/v2/x/manifests/y": http: server gave HTTP response to HTTPS client: if you trust the way to it, start Skiff with --insecure-registry 192.0.2.7:5000
        "#]].assert_eq(&text);
        let url = "http://192.0.2.7:5000".to_owned();
        let mirrors = vec![Mirror { registry: "192.0.2.7:5000".to_owned(), url }];
        images.pull(name, PullOptions { mirrors, ..PullOptions::default() }).await.unwrap();
    });
}

/// Digests depend on the compressor; ports on the day.
fn hide_digests(text: &str) -> String {
    let mut out = String::new();
    for (number, part) in text.split("sha256:").enumerate() {
        out += if number > 0 { "sha256:..." } else { "" };
        out += if number > 0 { &part[64..] } else { part };
    }
    let mut lines = String::new();
    for line in out.lines() {
        let words: Vec<String> = line
            .split("127.0.0.1:")
            .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned())
            .collect();
        lines += &words.join("127.0.0.1:");
        lines.push('\n');
    }
    lines
}

#[test]
fn docker_registry_is_installed() {
    assert!(
        Path::new("/usr/bin/docker-registry").exists(),
        "docker-registry is not installed: apt-get install docker-registry"
    );
}
