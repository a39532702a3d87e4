//! A kubeconfig by which this server calls another (reference: kubeconfig v1): the cluster and the user of its current
//! context. What a user may be there and cannot be here is refused, never ignored.

use super::FILE_MOST;
use super::remote::{Client, Manner, Reply};
use crate::identity::keys::Pair;
use crate::identity::keys::tls::Trusted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use skiff_base::World;
use skiff_json::Value;
use std::path::Path;
use std::time::Duration;

/// Tries of a review that the server could not answer just now, and the pauses between them: each half as long again.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// More of a refusal is not told.
const WHY_MOST: usize = 512;

/// How a user of a kubeconfig may prove who it is elsewhere.
const USER_REFUSED: [&str; 7] =
    ["tokenFile", "exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"];

/// A server that takes documents, and answers reviews.
pub struct Server {
    url: String,
    client: Client,
    world: World,
    /// Of one try.
    within: Duration,
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it.
pub fn load(path: &Path, within: Duration, world: &World) -> Result<Server, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let config = skiff_api::yaml::parse(&file(path)?).map_err(named)?.value;
    let context = text(&config, "current-context");
    let context = entry(&config, "contexts", "context", context).ok_or_else(|| {
        named("invalid configuration: no current context that is there".to_owned())
    })?;
    let cluster = entry(&config, "clusters", "cluster", text(context, "cluster"));
    let cluster = cluster.ok_or_else(|| named("invalid configuration: no cluster".to_owned()))?;
    let none = Value::Null;
    let user = entry(&config, "users", "user", text(context, "user")).unwrap_or(&none);
    let has = |of: &Value, key: &str| of.get(key).is_some_and(|value| !value.is_null());
    let refused = USER_REFUSED.iter().find(|key| has(user, key));
    if let Some(key) = refused.or(Some(&"proxy-url").filter(|key| has(cluster, key))) {
        return Err(named(format!("{key} is not supported here")));
    }
    let manner = manner(cluster, user, path).map_err(named)?;
    let client = Client::new(manner, world).map_err(named)?;
    let url = text(cluster, "server").to_owned();
    if url.is_empty() {
        return Err(named("invalid configuration: no server found for cluster".to_owned()));
    }
    Ok(Server { url, client, world: world.clone(), within })
}

fn manner(cluster: &Value, user: &Value, path: &Path) -> Result<Manner, String> {
    let ca = part(cluster, "certificate-authority", path)?;
    let insecure = cluster.get("insecure-skip-tls-verify") == Some(&Value::Bool(true));
    let trusted = match ca {
        Some(_) if insecure => {
            return Err(
                "specifying a root certificates file with the insecure flag is not allowed".into(),
            );
        }
        Some(ca) => Trusted::Of(ca),
        None if insecure => Trusted::Anybody,
        None => Trusted::system(),
    };
    let pair = (part(user, "client-certificate", path)?, part(user, "client-key", path)?);
    let pair = match pair {
        (Some(certificate), Some(key)) => Some(Pair { certificate, key }),
        (None, None) => None,
        _ => return Err("client-certificate and client-key belong together".into()),
    };
    let name = text(cluster, "tls-server-name");
    let authorization = match (text(user, "token"), text(user, "username")) {
        ("", "") => None,
        ("", name) => {
            Some(format!("Basic {}", STANDARD.encode(format!("{name}:{}", text(user, "password")))))
        }
        (token, _) => Some(format!("Bearer {token}")),
    };
    let name = (!name.is_empty()).then(|| name.to_owned());
    Ok(Manner { trusted, pair, name, authorization })
}

/// A text that stands in the kubeconfig, or in a file that it names.
fn part(of: &Value, key: &str, kubeconfig: &Path) -> Result<Option<String>, String> {
    let data = text(of, &format!("{key}-data"));
    let bytes = match text(of, key) {
        _ if !data.is_empty() => {
            STANDARD.decode(data).map_err(|error| format!("{key}-data: {error}"))?
        }
        "" => return Ok(None),
        named => {
            let folder = kubeconfig.parent().unwrap_or(Path::new("/"));
            file(&folder.join(named))?
        }
    };
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{key} is no PEM"))
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    let read = std::fs::read(path).map_err(|error| format!("open {}: {error}", path.display()))?;
    if read.len() > FILE_MOST {
        return Err(format!("{} has more than {FILE_MOST} bytes", path.display()));
    }
    Ok(read)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or("")
}

fn entry<'a>(config: &'a Value, list: &str, part: &str, name: &str) -> Option<&'a Value> {
    let all = config.get(list)?.as_array()?;
    all.iter().find(|entry| text(entry, "name") == name)?.get(part)
}

impl Server {
    /// Sends a body, and says why it was not taken.
    ///
    /// # Errors
    /// Why there is no answer, or that it is a refusal.
    pub async fn send(&self, body: Bytes) -> Result<(), String> {
        let reply = self.client.post(&self.url, body, self.within).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        let why: String = String::from_utf8_lossy(&reply.body).chars().take(WHY_MOST).collect();
        Err(format!("{}: {why}", reply.status))
    }

    /// The review with its status, as the server answers it; asked again when the server cannot answer just now.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn review(&self, review: &Value) -> Result<Value, String> {
        let body = Bytes::from(review.to_string());
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            let reply = self.client.post(&self.url, body.clone(), self.within).await;
            match reply {
                Ok(reply) if matches!(reply.status.as_u16(), 429 | 500 | 504) => {}
                Err(why) if why.ends_with("connection reset by peer") => {}
                reply => return opened(reply?, review),
            }
            self.world.sleep(pause).await;
            pause += pause / 2;
        }
        let reply = self.client.post(&self.url, body.clone(), self.within).await?;
        opened(reply, review)
    }
}

/// What an answer says: an object of the kind that was sent.
fn opened(reply: Reply, sent: &Value) -> Result<Value, String> {
    let text = String::from_utf8_lossy(&reply.body);
    let read = skiff_json::from_slice::<Value>(&reply.body);
    if !reply.status.is_success() {
        let told = read.ok().filter(|read| read["kind"] == "Status");
        let told = told.and_then(|status| Some(status["message"].as_str()?.to_owned()));
        return Err(told.unwrap_or_else(|| match reply.status.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            401 => "the server has asked for the client to provide credentials".to_owned(),
            code if code < 500 => format!(
                "the server responded with the status code {code} but did not return more \
                 information"
            ),
            _ => format!(
                "an error on the server ({:?}) has prevented the request from succeeding",
                text.trim()
            ),
        }));
    }
    let read =
        read.map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    if read["kind"] != sent["kind"] || read["apiVersion"] != sent["apiVersion"] {
        return Err(format!("the answer is no {} of {}", sent["kind"], sent["apiVersion"]));
    }
    Ok(read)
}
