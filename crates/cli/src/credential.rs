//! A credential that somebody made by hand: which server, whom to trust, and who calls, out of a kubeconfig.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_json::Value;
use std::path::Path;

/// What the current context of a kubeconfig says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `https://host:port`.
    pub server: String,
    /// The authority, as PEM.
    pub ca: String,
    pub proof: Proof,
}

/// What says who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// As PEM.
    Certificate {
        certificate: String,
        key: String,
    },
    Token(String),
}

impl Credential {
    /// Reads a kubeconfig; files that it names lie beside it or where their path says.
    pub fn read(path: &Path) -> Result<Credential> {
        let about = || format!("the kubeconfig {}", path.display());
        let text = std::fs::read_to_string(path).with_context(about)?;
        let config = crate::yaml::read(&text).with_context(about)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        Credential::of(&config, folder).with_context(about)
    }

    fn of(config: &Value, folder: &Path) -> Result<Credential> {
        let current = config["current-context"].as_str().context("it has no current-context")?;
        let context = entry(config, "contexts", "context", current)?;
        let name = |key: &str| context[key].as_str().unwrap_or("");
        let cluster = entry(config, "clusters", "cluster", name("cluster"))?;
        let user = entry(config, "users", "user", name("user"))?;
        let ca = text(cluster, "certificate-authority", folder)?;
        let certificate = text(user, "client-certificate", folder)?;
        let key = text(user, "client-key", folder)?;
        let token = user["token"].as_str().filter(|token| !token.is_empty());
        let proof = match (certificate, key, token) {
            (Some(certificate), Some(key), _) => Proof::Certificate { certificate, key },
            (_, _, Some(token)) => Proof::Token(token.to_owned()),
            _ => bail!(
                "user {:?} has neither a client certificate with its key nor a token",
                name("user")
            ),
        };
        Ok(Credential {
            server: cluster["server"].as_str().context("the cluster has no server")?.to_owned(),
            ca: ca
                .context("the cluster has no certificate-authority: whom to trust is not known")?,
            proof,
        })
    }
}

fn entry<'a>(config: &'a Value, list: &str, inner: &str, name: &str) -> Result<&'a Value> {
    let all = config[list].as_array().into_iter().flatten();
    let mut found = all.filter(|entry| entry["name"] == name).map(|entry| &entry[inner]);
    found.next().with_context(|| format!("there is no {inner} {name:?} in it"))
}

/// The text under `key-data` (base64), or in the file that `key` names.
fn text(of: &Value, key: &str, folder: &Path) -> Result<Option<String>> {
    if let Some(data) = of[format!("{key}-data")].as_str() {
        let bytes = STANDARD.decode(data).with_context(|| format!("{key}-data"))?;
        return String::from_utf8(bytes).map(Some).with_context(|| format!("{key}-data"));
    }
    let Some(name) = of[key].as_str() else { return Ok(None) };
    let path = folder.join(name);
    std::fs::read_to_string(&path).map(Some).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn the_current_context_counts() {
        let mut config = json!({"current-context": "b",
            "contexts": [{"name": "a", "context": {"cluster": "x", "user": "x"}},
                {"name": "b", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1:6443",
                "certificate-authority-data": STANDARD.encode("ca")}}],
            "users": [{"name": "u", "user": {"token": "t"}}]});
        let read = |config: &Value| Credential::of(config, Path::new("/nowhere"));
        let found = read(&config).unwrap();
        assert_eq!((&*found.server, &*found.ca), ("https://192.0.2.1:6443", "ca"));
        assert_eq!(found.proof, Proof::Token("t".into()));
        config["users"][0]["user"] = json!({"client-certificate-data": STANDARD.encode("cert"),
            "client-key-data": STANDARD.encode("key"), "token": "t"});
        let (certificate, key) = ("cert".into(), "key".into());
        assert_eq!(read(&config).unwrap().proof, Proof::Certificate { certificate, key });
        config["users"][0]["user"] = json!({});
        let why = "user \"u\" has neither a client certificate with its key nor a token";
        assert_eq!(read(&config).unwrap_err().to_string(), why);
        config["current-context"] = json!("nobody");
        assert_eq!(read(&config).unwrap_err().to_string(), "there is no context \"nobody\" in it");
    }
}
