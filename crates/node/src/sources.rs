//! Config maps, secrets and trust bundles as a pod's environment and volumes take them: keys and bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::Status;
use skiff_api::view::View;
use skiff_client::{Client, there};
use skiff_kinds::views::{
    ClusterTrustBundle, ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret,
};
use std::collections::{BTreeMap, BTreeSet};

/// The keys of one object.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What the API said about each object that was asked for; None: it is not there.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    config_maps: BTreeMap<String, Option<Data>>,
    secrets: BTreeMap<String, Option<Data>>,
    bundles: BTreeMap<String, Vec<ClusterTrustBundle>>,
    claims: BTreeMap<String, Option<Claimed>>,
}

/// A claim, and its volume if it has one.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub claim: PersistentVolumeClaim,
    pub volume: Option<PersistentVolume>,
}

/// The names of objects that a pod uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    /// ClusterTrustBundles, by what they are found by: a field selector.
    pub bundles: BTreeSet<String>,
}

impl Names {
    /// Those of the environment of one container.
    pub fn of_env(container: &skiff_kinds::views::pod::Container) -> Names {
        let mut names = Names::default();
        for from in &container.env_from {
            names.config_maps.extend(from.config_map_ref.iter().map(|s| s.name.clone()));
            names.secrets.extend(from.secret_ref.iter().map(|s| s.name.clone()));
        }
        for source in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            names.config_maps.extend(source.config_map_key_ref.iter().map(|s| s.name.clone()));
            names.secrets.extend(source.secret_key_ref.iter().map(|s| s.name.clone()));
        }
        names
    }

    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty() && self.bundles.is_empty()
    }
}

impl Sources {
    /// Reads them from the API as they are now.
    pub async fn read(client: &Client, namespace: &str, names: &Names) -> Result<Sources, Status> {
        let mut sources = Sources::default();
        for name in &names.config_maps {
            let found = there(client.view::<ConfigMap>(namespace, name).await)?;
            let data = found.map(of_config_map).transpose()?;
            sources.config_maps.insert(name.clone(), data);
        }
        for name in &names.secrets {
            let found = there(client.view::<Secret>(namespace, name).await)?;
            let data = found.map(|secret| decode(secret.data)).transpose()?;
            sources.secrets.insert(name.clone(), data);
        }
        for selector in &names.bundles {
            let query = format!("fieldSelector={}", encode(selector));
            let listed = client.list(ClusterTrustBundle::RESOURCE, "", &query).await?;
            let views = listed.into_iter().map(|it| skiff_json::from_value(it.into_value()));
            let views: Result<Vec<ClusterTrustBundle>, _> = views.collect();
            sources.bundles.insert(selector.clone(), views.map_err(Status::internal)?);
        }
        Ok(sources)
    }

    /// The trust bundles that a field selector finds.
    pub fn bundles(&self, selector: &str) -> &[ClusterTrustBundle] {
        self.bundles.get(selector).map_or(&[], Vec::as_slice)
    }

    /// Reads claims with their volumes, too.
    pub async fn read_claims(
        &mut self,
        client: &Client,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<(), Status> {
        for name in names {
            let claim = there(client.view::<PersistentVolumeClaim>(namespace, name).await)?;
            let claimed = match claim {
                Some(claim) if claim.spec.volume_name.is_empty() => {
                    Some(Claimed { claim, volume: None })
                }
                Some(claim) => {
                    let volume = there(client.view("", &claim.spec.volume_name).await)?;
                    Some(Claimed { claim, volume })
                }
                None => None,
            };
            self.claims.insert(name.clone(), claimed);
        }
        Ok(())
    }

    /// A claim with its volume.
    pub fn claim(&self, name: &str) -> Result<&Claimed, String> {
        let found = self.claims.get(name).and_then(Option::as_ref);
        found.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))
    }

    /// The keys of a config map; an optional one may be absent.
    pub fn config_map(&self, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        find(&self.config_maps, "configmap", name, optional)
    }

    /// The keys of a secret; an optional one may be absent.
    pub fn secret(&self, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        find(&self.secrets, "secret", name, optional)
    }
}

fn find<'a>(
    all: &'a BTreeMap<String, Option<Data>>,
    kind: &str,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Data>, String> {
    match all.get(name).and_then(Option::as_ref) {
        None if !optional => Err(format!("{kind} {name:?} not found")),
        found => Ok(found),
    }
}

/// As a query takes it: what names and selectors have besides letters and digits.
pub fn encode(selector: &str) -> String {
    selector.replace('=', "%3D").replace(',', "%2C")
}

fn of_config_map(map: ConfigMap) -> Result<Data, Status> {
    let mut data = decode(map.binary_data)?;
    data.extend(map.data.into_iter().map(|(key, text)| (key, text.into_bytes())));
    Ok(data)
}

/// The bytes of base64 texts.
pub fn decode(texts: BTreeMap<String, String>) -> Result<Data, Status> {
    let decoded = texts.into_iter().map(|(key, text)| match STANDARD.decode(&text) {
        Ok(bytes) => Ok((key, bytes)),
        Err(e) => Err(Status::internal(format!("the value of {key} is no base64: {e}"))),
    });
    decoded.collect()
}
