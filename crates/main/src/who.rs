//! Who callers may be and who says what they may, by files of the machine's owner: read before the API answers anybody,
//! and again when the kernel tells that one has changed (inotify(7)). A file that became wrong leaves what was before.

use anyhow::{Context, Result, anyhow};
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use skiff_base::{OnEnd, Part, Parts, World};
use skiff_cli::settings::Who;
use skiff_server::Server;
use skiff_server::authorize::chain::Chain;
use skiff_server::configured::reloads::Reloads;
use skiff_server::configured::{FILE_MOST, kubeconfig};
use skiff_server::identity::issuers::file::Anonymous;
use skiff_server::identity::jws::Key;
use skiff_server::identity::reviewed::Webhook;
use skiff_server::identity::token::Naming;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const AUTHENTICATION: Part = Part { name: "authentication-config", on_end: OnEnd::Restart };
const AUTHORIZATION: Part = Part { name: "authorization-config", on_end: OnEnd::Restart };
/// Of one try to ask about a token.
const WITHIN: Duration = Duration::from_secs(30);
/// A file is written in several steps: what is heard within this time is one change.
const SETTLED: Duration = Duration::from_millis(100);

/// Under whose name tokens of service accounts are issued and taken.
pub fn naming(who: &Who) -> Result<Naming> {
    let mut naming = Naming { jwks_uri: who.jwks_uri.clone(), ..Naming::default() };
    if !who.issuers.is_empty() {
        naming.issuers.clone_from(&who.issuers);
        naming.audiences.clone_from(&who.issuers);
    }
    if !who.audiences.is_empty() {
        naming.audiences.clone_from(&who.audiences);
    }
    for file in &who.key_files {
        let keys = read(Path::new(file)).and_then(|pem| Key::all_of_pem(&pem));
        naming.keys.extend(keys.map_err(|why| anyhow!("service-account-key-file {file}: {why}"))?);
    }
    Ok(naming)
}

/// Tells the server what its owner's files say, before it answers.
pub fn configure(server: &mut Server, who: &Who, world: &World) -> Result<()> {
    if let Some(file) = &who.token_webhook {
        let reviewer = kubeconfig::load(file, WITHIN, world)
            .map_err(|why| anyhow!("authentication-token-webhook-config-file: {why}"))?;
        server.authenticator.ask(Webhook::new(reviewer, who.token_webhook_ttl, world));
    }
    server.authenticator.let_in(who.anonymous);
    Ok(())
}

/// Takes the files that are read again, and follows them.
pub fn follow(server: &Arc<Server>, who: &Who, world: &World, parts: &Parts) -> Result<()> {
    if let Some(file) = &who.authentication {
        let wrong =
            |why| anyhow!("failed to load authentication configuration from file {file:?}: {why}");
        let text = read(file).map_err(wrong)?;
        let first = server.authenticator.configure(&text).map_err(wrong)?;
        if first.is_some() && !who.anonymous {
            return Err(wrong(
                "anonymous-auth cannot be set when the file says anonymous".to_owned(),
            ));
        }
        follow_issuers(server, (file, text), first, world, parts);
    }
    if let Some(file) = &who.authorization {
        let wrong = |why| anyhow!("authorization configuration {file:?}: {why}");
        let text = read(file).map_err(wrong)?;
        let chain = Chain::read(&text, world).map_err(wrong)?;
        let first = chain.built_in();
        server.authorizer.ask(chain);
        let told = counted("authorization", &text, server, world);
        let (server, file, world) = (server.clone(), file.clone(), world.clone());
        parts.start(AUTHORIZATION, move |_| {
            let (server, file, world) = (server.clone(), file.clone(), world.clone());
            let (first, text, told) = (first.clone(), text.clone(), told.clone());
            async move {
                let mut changes = Changes::of(&file, &text)?;
                loop {
                    let chain = changes.next(&world).await?.and_then(|text| {
                        let chain = Chain::read(&text, &world)?;
                        chain.may_follow(&first)?;
                        Ok((chain, text))
                    });
                    told.tell(
                        &file,
                        chain.map(|(chain, text)| {
                            server.authorizer.ask(chain);
                            text
                        }),
                    );
                }
            }
        });
    }
    Ok(())
}

fn follow_issuers(
    server: &Arc<Server>,
    (file, text): (&Path, Vec<u8>),
    first: Option<Anonymous>,
    world: &World,
    parts: &Parts,
) {
    let told = counted("authentication", &text, server, world);
    let (server, file, world) = (server.clone(), file.to_owned(), world.clone());
    parts.start(AUTHENTICATION, move |_| {
        let (server, file, world) = (server.clone(), file.clone(), world.clone());
        let (first, text, told) = (first.clone(), text.clone(), told.clone());
        async move {
            let mut changes = Changes::of(&file, &text)?;
            loop {
                let taken = match changes.next(&world).await? {
                    Ok(text) => {
                        let taken = server.authenticator.configure_anew(&text, &first).await;
                        taken.map(|()| text)
                    }
                    Err(why) => Err(why),
                };
                told.tell(&file, taken);
            }
        }
    });
}

/// Who tells what came of changes of one file, in the log and in metrics.
struct Told {
    subject: &'static str,
    reloads: Reloads,
}

fn counted(subject: &'static str, first: &[u8], server: &Server, world: &World) -> Arc<Told> {
    let told = Arc::new(Told { subject, reloads: Reloads::new(subject, first, world) });
    let shown = told.clone();
    server.figures.add(move || shown.reloads.figures());
    told
}

impl Told {
    /// `taken` is the file that counts now, or why the one before stays.
    fn tell(&self, file: &Path, taken: Result<Vec<u8>, String>) {
        let (file, subject) = (file.display(), self.subject);
        match taken {
            Ok(text) => {
                self.reloads.taken(&text);
                tracing::info!(%file, "the changed {subject} configuration counts");
            }
            Err(why) => {
                self.reloads.refused();
                tracing::error!(%file, why, "the changed {subject} configuration is wrong: the one before stays");
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if text.len() > FILE_MOST {
        return Err(format!("{} has more than {FILE_MOST} bytes", file.display()));
    }
    Ok(text)
}

/// Changes of one file. Its folder is watched: editors and volumes put another file in its place.
struct Changes {
    watch: AsyncFd<OwnedFd>,
    file: PathBuf,
    /// What was last read of it.
    known: Result<Vec<u8>, String>,
}

impl Changes {
    fn of(file: &Path, known: &[u8]) -> Result<Changes> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = inotify::init(flags)?;
        let what = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE;
        let folder = file.parent().context("a file has a folder")?;
        inotify::add_watch(&watch, folder, what)
            .with_context(|| format!("watching {}", folder.display()))?;
        #[expect(
            deprecated,
            reason = "its newer form is unsafe; what is registered owns its descriptor"
        )]
        let watch = AsyncFd::with_interest(watch, Interest::READABLE)?;
        Ok(Changes { watch, file: file.to_owned(), known: Ok(known.to_vec()) })
    }

    /// Waits until the file says something else, and what; or why it can no longer be read.
    async fn next(&mut self, world: &World) -> Result<Result<Vec<u8>, String>> {
        loop {
            let now = read(&self.file);
            if now != self.known {
                self.known = now.clone();
                return Ok(now);
            }
            let mut guard = self.watch.readable_mut().await?;
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut told = inotify::Reader::new(guard.get_inner_mut(), &mut space);
            // What it says does not matter; that it has no more to say is an error of its own.
            while told.next().is_ok() {}
            guard.clear_ready();
            world.sleep(SETTLED).await;
        }
    }
}
