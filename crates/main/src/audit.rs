//! The audit log as the settings want it: its policy, the file and the server that events go to, and the parts that
//! bring them there.

use anyhow::{Result, anyhow, bail, ensure};
use skiff_base::{OnEnd, Part, Parts, World};
use skiff_cli::settings::Settings;
use skiff_server::audit::Audit;
use skiff_server::audit::event::Format;
use skiff_server::audit::log::{self, Rotation, Zipped};
use skiff_server::audit::policy::Policy;
use skiff_server::audit::sink::{Batch, Manner, Mode, Sink};
use skiff_server::audit::webhook::{self, Webhook};
use skiff_server::configured::kubeconfig;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LOG: Part = Part { name: "audit-log", on_end: OnEnd::Restart };
const WEBHOOK: Part = Part { name: "audit-webhook", on_end: OnEnd::Restart };
/// What a server may take for one list; upstream's bound of a call to a webhook.
const CALL: Duration = Duration::from_secs(30);

/// What has to be there before the first request.
pub struct Opened {
    pub audit: Arc<Audit>,
    log: Option<(Arc<Sink>, Rotation)>,
    webhook: Option<(Arc<Sink>, Arc<Webhook>)>,
}

/// Nothing, when no policy is set.
pub fn open(settings: &Settings, world: &World) -> Result<Option<Opened>> {
    let (policy, path) = (settings.audit("policy-file"), settings.audit("log-path"));
    let config = settings.audit("webhook-config-file");
    if policy.is_empty() {
        for (name, value) in [("log-path", path), ("webhook-config-file", config)] {
            ensure!(
                value.is_empty(),
                "audit-{name} needs audit-policy-file: without a policy nothing is told"
            );
        }
        return Ok(None);
    }
    let policy = Policy::load(Path::new(policy)).map_err(anyhow::Error::msg)?;
    let read = Read(settings);
    let log = match path {
        "" => None,
        path => Some((Arc::new(Sink::new(read.log()?)), read.rotation(path)?)),
    };
    let webhook = match config {
        "" => None,
        config => Some((Arc::new(Sink::new(read.webhook()?)), read.caller(config, world)?)),
    };
    let log_sink = log.iter().map(|(sink, _)| sink.clone());
    let sinks: Vec<_> = log_sink.chain(webhook.iter().map(|(sink, _)| sink.clone())).collect();
    if sinks.is_empty() {
        bail!("audit-policy-file needs audit-log-path or audit-webhook-config-file");
    }
    let audit = Arc::new(Audit::new(policy, sinks, world.clone()));
    Ok(Some(Opened { audit, log, webhook }))
}

impl Opened {
    /// Brings events to where they go, from now on.
    pub fn start(&self, world: &World, parts: &Parts) {
        if let Some((sink, rotation)) = self.log.clone() {
            let world = world.clone();
            parts.start(LOG, move |_| {
                let run = log::run(sink.clone(), rotation.clone(), world.clone());
                async move { run.await.map_err(Into::into) }
            });
        }
        if let Some((sink, caller)) = self.webhook.clone() {
            parts.start(WEBHOOK, move |_| {
                let run = webhook::run(sink.clone(), caller.clone());
                async move {
                    run.await;
                    Ok(())
                }
            });
        }
    }
}

/// The settings of the audit log.
struct Read<'a>(&'a Settings);

impl Read<'_> {
    fn number(&self, name: &str) -> Result<u32> {
        let text = self.0.audit(name);
        text.parse().map_err(|error| anyhow!("audit-{name} {text:?}: {error}"))
    }

    /// A number that means nothing as 0.
    fn positive(&self, name: &str) -> Result<usize> {
        let number = self.number(name)?;
        ensure!(number > 0, "invalid audit-{name} 0, must be a positive number");
        Ok(number as usize)
    }

    fn is_on(&self, name: &str) -> bool {
        self.0.audit(name) == "true"
    }

    fn mode(&self, name: &str) -> Result<Mode> {
        Mode::of(self.0.audit(name)).ok_or_else(|| anyhow!("audit-{name} is no mode"))
    }

    fn log(&self) -> Result<Manner> {
        let cut = self.is_on("log-truncate-enabled");
        Ok(Manner {
            name: "log",
            mode: self.mode("log-mode")?,
            format: match self.0.audit("log-format") {
                "legacy" => Format::Legacy,
                _ => Format::Json,
            },
            event_most: cut.then(|| self.positive("log-truncate-max-event-size")).transpose()?,
            events_most: self.positive("log-batch-buffer-size")?,
            batch: log::LINES,
        })
    }

    fn rotation(&self, path: &str) -> Result<Rotation> {
        let rotation = Rotation {
            path: path.into(),
            size_most: u64::from(self.number("log-maxsize")?) << 20,
            days_most: self.number("log-maxage")?.into(),
            backups_most: self.number("log-maxbackup")? as usize,
            zipped: if self.is_on("log-compress") { Zipped::Gzip } else { Zipped::Plain },
        };
        rotation.check().map_err(|error| anyhow!("audit-log-path {path}: {error}"))?;
        Ok(rotation)
    }

    fn webhook(&self) -> Result<Manner> {
        let cut = self.is_on("webhook-truncate-enabled");
        let mode = self.mode("webhook-mode")?;
        let (most, bytes) = ("webhook-truncate-max-event-size", "webhook-truncate-max-batch-size");
        let event_most = cut.then(|| self.positive(most)).transpose()?;
        let bytes = if cut { self.positive(bytes)? } else { webhook::LIST_BYTES };
        ensure!(
            event_most.is_none_or(|most| most <= bytes),
            "invalid audit-webhook-truncate-max-batch-size {bytes}, must be greater than max event size"
        );
        // Who waits does not wait for others.
        let wait = match mode {
            Mode::Batch => self.span("webhook-batch-max-wait")?,
            Mode::Blocking | Mode::BlockingStrict => Duration::ZERO,
        };
        Ok(Manner {
            name: "webhook",
            mode,
            format: Format::Json,
            event_most,
            events_most: self.positive("webhook-batch-buffer-size")?,
            batch: Batch { events: self.positive("webhook-batch-max-size")?, bytes, wait },
        })
    }

    fn caller(&self, config: &str, world: &World) -> Result<Arc<Webhook>> {
        let server = kubeconfig::load(Path::new(config), CALL, world);
        let server = server.map_err(|why| anyhow!("audit-webhook-config-file: {why}"))?;
        let server = Arc::new(server);
        let throttled = self.is_on("webhook-batch-throttle-enable")
            && self.mode("webhook-mode")? == Mode::Batch;
        let throttle = match throttled {
            true => Some((
                self.positive("webhook-batch-throttle-qps")? as f64,
                self.number("webhook-batch-throttle-burst")?.max(1),
            )),
            false => None,
        };
        Ok(Arc::new(Webhook {
            post: Box::new(move |list| {
                let server = server.clone();
                Box::pin(async move { server.send(list).await })
            }),
            backoff: self.span("webhook-initial-backoff")?,
            throttle,
            world: world.clone(),
        }))
    }

    fn span(&self, name: &str) -> Result<Duration> {
        let text = self.0.audit(name);
        let nanos = skiff_api::duration::parse(text);
        let nanos = nanos.map_err(|why| anyhow!("audit-{name} {text:?}: {why}"))?;
        Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }
}
