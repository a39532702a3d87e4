//! The API server: one pipeline for every request, whoever sends it. The only crate that touches the store.
//!
//! `Server` is a plain value over the store, the kinds and the World; `http` is its rim. It never decides what a kind
//! means (that is `api`), and never reacts to objects (those are the loops, which come in through the pipeline).

pub mod aggregate;
pub mod answered;
pub mod audit;
pub mod authorize;
pub mod configured;
pub mod connect;
pub mod encrypt;
mod fairness;
pub mod identity;
pub mod outbound;
pub mod paths;
mod pipeline;
mod read;
pub mod registry;
pub mod render;
pub mod request;
pub mod rim;
#[cfg(test)]
mod testkit;
mod write;

pub use read::{reader, unreadable};
pub use registry::custom;
pub use write::admission;

use audit::Trail;
use futures_util::future::BoxFuture;
use identity::token::Tokens;
use render::shared::Renditions;
use skiff_api::registry::Kinds;
use skiff_api::wire::{Answer, Call, Serve};
use skiff_base::{Tasks, World};
use skiff_store::{ReadError, Store};
use std::sync::Arc;

/// The server. Everything in it is shared; `Arc<Server>` is how it travels.
pub struct Server {
    pub world: World,
    pub store: Arc<dyn Store>,
    pub kinds: Kinds,
    /// What is known of custom resource definitions.
    pub customs: custom::Customs,
    /// How objects are read by those who look something up.
    pub reader: Arc<read::reader::Reader>,
    pub authenticator: identity::authenticate::Authenticator,
    pub authorizer: Arc<authorize::Authorizer>,
    /// Who is told of requests, if anybody is.
    pub audit: Option<Arc<audit::Audit>>,
    /// Views of records that were made, for others who ask for the same.
    pub watched: Arc<Renditions>,
    /// The same for gets and lists.
    pub asked: Arc<Renditions>,
    pub limits: rim::limit::Limits,
    /// Who runs now, who waits, who is refused.
    pub fairness: Arc<fairness::Fairness>,
    /// What was asked, for metrics.
    pub requests: rim::requests::Requests,
    /// What other parts of the process add to the metrics.
    pub figures: paths::metrics::Figures,
    pub ready: paths::ready::Ready,
    /// How the parts of the control plane are, where it knows of any.
    pub components: answered::told::Components,
    /// How nodes and pods are called.
    pub nodes: connect::Nodes,
    /// How webhooks are called, and whoever else is named by an object.
    pub outbound: outbound::Outbound,
    /// Which groups other servers serve.
    pub aggregator: Arc<aggregate::Aggregator>,
    /// Expressions that judge and change requests.
    pub policies: Arc<admission::policy::Policies>,
    /// Who is asked about requests.
    pub webhooks: admission::webhook::Webhooks,
    pub admission: admission::Plugins,
    /// What quotas are charged with; who counts anew asks it what is under way.
    pub ledger: Arc<admission::quota::Ledger>,
    /// `host:port`, as discovery tells it to clients.
    pub address: String,
    pub build: Build,
}

/// What a server is made of.
pub struct Setup {
    pub world: World,
    pub store: Arc<dyn Store>,
    /// Signs the tokens of service accounts.
    pub signing: identity::keys::signing::SigningKey,
    /// Under whose name tokens of service accounts are issued and taken.
    pub naming: identity::token::Naming,
    /// How nodes and pods are called.
    pub nodes: connect::Nodes,
    /// Whom an object may send the server to.
    pub outbound: outbound::Rules,
    /// What aggregated servers are shown, so that they believe who the server says sent a request.
    pub front_proxy: Option<identity::keys::Pair>,
    /// Where addresses and ports of Services come from.
    pub services: admission::service::Ranges,
    /// What namespaces whose labels say nothing allow their pods.
    pub pod_security: admission::pod_security::Rules,
    /// `host:port`, as discovery tells it to clients.
    pub address: String,
    pub build: Build,
}

impl Server {
    /// The server of the built-in kinds, over a store that is open. What follows the store does so in these tasks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(setup: Setup, tasks: &Tasks) -> Result<Server, ReadError> {
        let Setup { world, store, outbound: rules, address, .. } = setup;
        let outbound = outbound::Outbound::new(world.clone(), store.clone(), rules.clone());
        let reader = Arc::new(read::reader::Reader {
            store: store.clone(),
            kinds: Kinds::builtin(skiff_kinds::KINDS),
            unreadable: unreadable::Unreadable::find(&*store).await?,
            outbound: outbound.clone(),
        });
        let authorizer =
            Arc::new(authorize::Authorizer::start(reader.clone(), &world, tasks).await?);
        let fairness = fairness::Fairness::start(store.clone(), &world, tasks).await?;
        let clock = (&world, tasks);
        let asked = (authorizer.clone(), Arc::<admission::conditions::Metrics>::default());
        let policies = admission::policy::Policies::start(&store, asked.clone(), clock).await?;
        let webhooks = admission::webhook::Webhooks::start(&store, &outbound, asked, clock).await?;
        let aggregator =
            aggregate::Aggregator::start(&store, &reader.kinds, (rules, setup.front_proxy), clock)
                .await?;
        let ledger = admission::quota::Ledger::new(reader.clone(), world.clone(), tasks.clone());
        let ledger = Arc::new(ledger);
        let parts = admission::Parts {
            world: world.clone(),
            store: store.clone(),
            authorizer: authorizer.clone(),
            services: setup.services,
            pod_security: setup.pod_security,
            ledger: ledger.clone(),
            policies: policies.clone(),
            webhooks: webhooks.clone(),
        };
        let tokens =
            Tokens::new(store.clone(), world.clone(), Arc::new(setup.signing), setup.naming);
        let tokens = Arc::new(tokens);
        let issuer = format!("https://{address}");
        let authenticator =
            identity::authenticate::Authenticator::new(world.clone(), tokens, issuer);
        let limits = rim::limit::Limits::default();
        Ok(Server {
            world,
            store,
            kinds: reader.kinds.clone(),
            customs: Default::default(),
            reader,
            authenticator,
            authorizer,
            audit: None,
            watched: Arc::new(Renditions::new(render::shared::WATCHED_MOST, limits.clone())),
            asked: Arc::new(Renditions::new(render::shared::ASKED_MOST, limits.clone())),
            limits,
            fairness,
            requests: Default::default(),
            figures: Default::default(),
            ready: Default::default(),
            components: Box::new(Vec::new),
            nodes: setup.nodes,
            outbound,
            aggregator,
            policies,
            webhooks,
            admission: admission::Plugins::new(parts),
            ledger,
            address,
            build: setup.build,
        })
    }
}

/// Which build this is, for `/version`.
#[derive(Debug, Clone, Default)]
pub struct Build {
    pub commit: &'static str,
    pub date: &'static str,
    pub compiler: &'static str,
    pub arch: &'static str,
}

/// The server as callers see it.
pub struct Entry(pub Arc<Server>);

impl Serve for Entry {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let manner = render::manner::Manner::of(&call);
            let id = audit::id(&call, &self.0.world);
            let mut trail = Trail::begin(self.0.audit.as_ref(), id.as_ref());
            let mut schema = None;
            let mut answer = match pipeline::run(&self.0, call, &mut trail, &mut schema).await {
                Ok(answer) => manner.pretty(answer),
                Err(refused) => {
                    trail.notes().refused(&refused.status);
                    let mut answer = manner.refuse(refused.status);
                    refused.warnings.write(&mut answer.headers);
                    answer
                }
            };
            if let Some(schema) = schema {
                fairness::mark(&schema, &mut answer.headers);
            }
            if let Some(id) = id {
                answer.headers.insert(audit::AUDIT_ID, id);
            }
            trail.answered(answer).await
        })
    }
}
