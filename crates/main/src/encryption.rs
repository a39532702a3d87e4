//! Encryption at rest, put together: where the keys come from, and that a change of their file counts at once.
//!
//! A file that cannot be used ends a start with a sentence, and later changes nothing: what was read before goes on.
//! Keys are never logged.

use anyhow::{Context, Result, bail};
use rustix::fs::inotify;
use skiff_base::{Lock, World, fault};
use skiff_cli::settings::Settings;
use skiff_json::{Value, json};
use skiff_runtime::stream::Stream;
use skiff_server::encrypt::Sealer;
use skiff_server::encrypt::config::{BYTES_MOST, Config};
use skiff_server::encrypt::own::{Manner, Own};
use skiff_server::encrypt::rewrite;
use skiff_store::Store;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The part that follows the file.
pub const ENCRYPTION: &str = "encryption";
/// Editors write a file in several steps; what is heard within this time is one change.
const SETTLED: Duration = Duration::from_millis(200);

/// What seals, and where its keys come from.
pub struct Encryption {
    pub sealer: Arc<Sealer>,
    source: Source,
    /// Of the store's database.
    folder: PathBuf,
    world: World,
    /// What the file held when it was read last.
    text: Lock<Vec<u8>>,
    /// One change of keys at a time.
    rotating: Lock<bool>,
}

enum Source {
    /// Nothing was ever encrypted.
    Nothing,
    File(PathBuf),
    Own(Own, Manner),
}

impl Encryption {
    /// Reads the keys, before anything that they open.
    pub fn open(settings: &Settings, world: &World) -> Result<Encryption> {
        let pki = settings.data.join("pki");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&pki);
        made.with_context(|| format!("making {}", pki.display()))?;
        let (mut source, mut config, mut text) = (Source::Nothing, Config::default(), Vec::new());
        if let Some(path) = &settings.encryption_config {
            source = Source::File(path.clone());
            (config, text) = read(path)?;
        } else {
            let sealed = settings.secrets_encryption;
            let manner = if sealed { Manner::Sealed } else { Manner::Plain };
            let own = Own::new(&pki);
            if let Some(found) = own.open(manner, world)? {
                (source, config) = (Source::Own(own, manner), found);
            }
        }
        let sealer = Arc::new(Sealer::new(config, world.clone()));
        let folder = settings.data.join("store");
        let (text, rotating, world) = (Lock::new(text), Lock::new(false), world.clone());
        Ok(Encryption { sealer, source, folder, world, text, rotating })
    }

    /// Reads the file again whenever it was changed.
    pub async fn follow(&self) -> Result<()> {
        let Source::File(path) = &self.source else { return std::future::pending().await };
        let mut changes = watch(path)?;
        let mut heard = [0; 4096];
        loop {
            // First of all: it may have changed while nobody listened.
            self.read_again(path);
            // What the kernel says does not matter: the file does.
            changes.read(&mut heard).await.context("hearing of changes")?;
            fault::point(ENCRYPTION);
            self.world.sleep(SETTLED).await;
        }
    }

    fn read_again(&self, path: &Path) {
        let mut text = self.text.lock();
        match read(path) {
            Ok((_, now)) if now == *text => {}
            Ok((config, now)) => {
                self.sealer.replace(config);
                *text = now;
                let file = path.display();
                tracing::info!(%file, "the encryption configuration was read again");
            }
            Err(error) => {
                tracing::error!("{error:#}: the encryption configuration of before goes on");
            }
        }
    }

    /// What is sealed on the disk, and with which keys.
    pub async fn status(self: &Arc<Self>, store: &Arc<dyn Store>) -> Result<Value> {
        let (own, store) = (self.clone(), store.clone());
        let look = move || rewrite::look(&own.folder, &*store, &own.sealer);
        let seen = tokio::task::spawn_blocking(look).await.context("looking at the disk")??;
        let forms = seen.forms.iter().map(
            |((resource, form), count)| json!({"resource": resource, "form": form, "count": count}),
        );
        Ok(json!({
            "source": self.source(), "forms": forms.collect::<Vec<_>>(), "stale": seen.stale.len(),
            "resources": self.sealer.config().resources().collect::<Vec<_>>(),
        }))
    }

    fn source(&self) -> String {
        match &self.source {
            Source::Nothing => "off".to_owned(),
            Source::File(path) => format!("as {} says", path.display()),
            Source::Own(_, Manner::Sealed) => "on, with keys of its own".to_owned(),
            Source::Own(_, Manner::Plain) => "off; what was encrypted can be read".to_owned(),
        }
    }

    /// Brings everything into the form in which it would be written today.
    pub async fn rewrite(&self, store: &dyn Store) -> Result<Value> {
        let _turn = self.turn()?;
        let written = rewrite::rewrite(&self.folder, store, &self.sealer).await?;
        tracing::info!(written, "what is encrypted was written again");
        Ok(json!({"written": written}))
    }

    /// Makes a new key, brings everything over to it, and forgets the old ones, in this order.
    pub async fn rotate(&self, store: &dyn Store) -> Result<Value> {
        let own = match &self.source {
            Source::Own(own, Manner::Sealed) => own,
            Source::File(path) => bail!(
                "the keys are those of {}: put a new one first there, then `skiff secrets-encrypt reencrypt`, \
                 then take the old one out",
                path.display()
            ),
            _ => bail!(
                "secrets are not encrypted: `skiff down`, then `skiff up --secrets-encryption true`"
            ),
        };
        let _turn = self.turn()?;
        let (name, config) = own.add(&self.world)?;
        self.sealer.replace(config);
        let written = rewrite::rewrite(&self.folder, store, &self.sealer).await?;
        self.sealer.replace(own.keep_first()?);
        tracing::info!(written, key = name, "secrets are encrypted with a new key");
        Ok(json!({"written": written, "key": name}))
    }

    fn turn(&self) -> Result<Turn<'_>> {
        let mut rotating = self.rotating.lock();
        if std::mem::replace(&mut *rotating, true) {
            bail!("everything is being written again already: wait for that");
        }
        Ok(Turn(&self.rotating))
    }
}

struct Turn<'a>(&'a Lock<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
    }
}

/// The file, which nobody but its owner reads, and its text.
fn read(path: &Path) -> Result<(Config, Vec<u8>)> {
    let name = format!("encryption-config {}", path.display());
    let file = File::open(path).with_context(|| name.clone())?;
    let found = file.metadata().with_context(|| name.clone())?;
    if found.mode() & 0o077 != 0 {
        bail!(
            "{name}: others than its owner may open it (mode {:o}): `chmod 600` it",
            found.mode() & 0o7777
        );
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MOST + 1).read_to_end(&mut bytes).with_context(|| name.clone())?;
    let config = Config::parse(&bytes).map_err(anyhow::Error::msg).with_context(|| name)?;
    Ok((config, bytes))
}

/// The folder is watched, not the file: it may be replaced by another.
fn watch(path: &Path) -> Result<Stream> {
    use inotify::{CreateFlags, WatchFlags};
    let made = inotify::init(CreateFlags::CLOEXEC).context("listening for changes")?;
    let what =
        WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ATTRIB;
    inotify::add_watch(&made, path.parent().unwrap_or(path), what)
        .with_context(|| format!("listening for changes of {}", path.display()))?;
    Ok(Stream::new(made)?)
}
