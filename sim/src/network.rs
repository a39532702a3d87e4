//! The network: how calls of one client reach the server that is up now, and how its answers come back. A link has a
//! weather (delay, loss, a cut), which somebody changes; what has no weather of its own lies in the server's process.
//!
//! As a TCP connection behaves: what is sent into a cut waits, and breaks when the cut lasts longer than the client's
//! patience; frames of a watch come late and in order, or not at all; with the server all its connections break.

use crate::dice::Dice;
use crate::history::{Acknowledged, History};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use futures_util::{FutureExt, future};
use http::Method;
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call, Frame, REVISION, Serve};
use skiff_base::{Lock, World};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a client waits for a sign of life (a ping and its answer).
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames that arrive in one piece at most.
const PIECE_MOST: usize = 64;

/// How a link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// One way takes between these two.
    pub least: Duration,
    pub most: Duration,
    /// Messages in a thousand that are lost, with their connection.
    pub loss: u64,
    /// Nothing goes through.
    pub cut: bool,
}

impl Weather {
    /// Between two machines on a good day.
    pub const FAIR: Weather = Weather {
        least: Duration::from_millis(1),
        most: Duration::from_millis(10),
        loss: 0,
        cut: false,
    };
    /// Within the server's process: tasks take turns.
    pub const INSIDE: Weather =
        Weather { least: Duration::ZERO, most: Duration::from_millis(2), loss: 0, cut: false };
}

/// The server that is up, if one is.
#[derive(Clone, Default)]
pub struct Door(Option<(u64, Arc<dyn Serve>)>);

/// All links, and the door that they lead to.
pub struct Net {
    world: World,
    history: Arc<History>,
    seed: u64,
    weather: Lock<BTreeMap<String, watch::Sender<Weather>>>,
    door: watch::Sender<Door>,
    opened: Lock<u64>,
}

impl Net {
    pub fn new(world: World, history: Arc<History>, seed: u64) -> Arc<Net> {
        let (weather, door) = (Lock::default(), watch::Sender::new(Door::default()));
        Arc::new(Net { world, history, seed, weather, door, opened: Lock::new(0) })
    }

    /// From now on links lead here.
    pub fn open(&self, serve: Arc<dyn Serve>) {
        let mut opened = self.opened.lock();
        *opened += 1;
        self.door.send_replace(Door(Some((*opened, serve))));
    }

    /// All connections break, and nobody is there.
    pub fn close(&self) {
        self.door.send_replace(Door(None));
    }

    /// Waits until a server is there.
    pub async fn up(&self) {
        let mut door = self.door.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = door.wait_for(|door| door.0.is_some()).await;
    }

    pub fn set(&self, who: &str, weather: Weather) {
        self.weather(who).send_replace(weather);
    }

    fn weather(&self, who: &str) -> watch::Sender<Weather> {
        let new = || watch::Sender::new(Weather::FAIR);
        self.weather.lock().entry(who.to_owned()).or_insert_with(new).clone()
    }

    /// A link of a client to whatever server is up.
    pub fn link(self: &Arc<Self>, who: &str) -> Arc<Link> {
        let dice = Dice::new(self.seed, &format!("link {who}"));
        let way = Way { world: self.world.clone(), weather: self.weather(who), dice };
        Arc::new(Link { net: self.clone(), who: who.to_owned(), way, to: None })
    }

    /// A link within the process of this server: it ends with it.
    pub fn inside(self: &Arc<Self>, who: &str, serve: Arc<dyn Serve>) -> Arc<Link> {
        self.set(who, Weather::INSIDE);
        let dice = Dice::new(self.seed, &format!("link {who}"));
        let way = Way { world: self.world.clone(), weather: self.weather(who), dice };
        Arc::new(Link { net: self.clone(), who: who.to_owned(), way, to: Some(serve) })
    }
}

/// One direction and the other.
#[derive(Clone)]
struct Way {
    world: World,
    weather: watch::Sender<Weather>,
    dice: Dice,
}

impl Way {
    /// Takes one message along; the error is what the client makes of its loss.
    async fn go(&self) -> Result<(), &'static str> {
        let mut weather = self.weather.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let clear = async { weather.wait_for(|weather| !weather.cut).await.map(|now| *now).ok() };
        let Some(now) = self.world.within(PATIENCE, clear).await.flatten() else {
            return Err("no sign of life came");
        };
        if now.loss > 0 && self.dice.chance(now.loss) {
            self.world.sleep(self.dice.span(Duration::ZERO, PATIENCE)).await;
            return Err("the connection was reset");
        }
        let delay = self.dice.span(now.least, now.most);
        if delay > Duration::ZERO {
            self.world.sleep(delay).await;
        }
        Ok(())
    }
}

/// The door of one client.
pub struct Link {
    net: Arc<Net>,
    who: String,
    way: Way,
    /// A server of its own; `None`: the one that is up.
    to: Option<Arc<dyn Serve>>,
}

impl Serve for Link {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match self.exchange(call).await {
                Ok(answer) => answer,
                Err(why) => {
                    Status::unavailable(format!("the server could not be reached: {why}")).into()
                }
            }
        })
    }
}

impl Link {
    async fn exchange(&self, call: Call) -> Result<Answer, &'static str> {
        self.way.go().await?;
        let what = (call.method != Method::GET).then(|| format!("{} {}", call.method, call.path));
        let (mut broken, serve) = match &self.to {
            Some(serve) => (future::pending().boxed(), serve.clone()),
            None => {
                let Some((opened, serve)) = self.net.door.borrow().0.clone() else {
                    return Err("nobody listens");
                };
                (self.broken(opened), serve)
            }
        };
        let answer = tokio::select! {
            biased;
            () = &mut broken => return Err("the connection broke"),
            answer = serve.serve(call) => answer,
        };
        tokio::select! {
            biased;
            () = &mut broken => return Err("the connection broke"),
            gone = self.way.go() => gone?,
        }
        if let Some(what) = what.filter(|_| answer.status.is_success()) {
            self.acknowledge(what, &answer);
        }
        Ok(Answer { body: self.carried(answer.body, broken), ..answer })
    }

    /// Resolves when the server that was opened so long ago is gone.
    fn broken(&self, opened: u64) -> BoxFuture<'static, ()> {
        let mut door = self.net.door.subscribe();
        Box::pin(async move {
            let other = |door: &Door| door.0.as_ref().is_none_or(|(present, _)| *present != opened);
            // A door that is no more leads nowhere either.
            let _ = door.wait_for(other).await;
        })
    }

    fn acknowledge(&self, what: String, answer: &Answer) {
        let told = answer.headers.get(REVISION).and_then(|told| told.to_str().ok()?.parse().ok());
        let revision = match &answer.body {
            Body::Object(stored) => Some(stored.revision),
            _ => told,
        };
        let Some(revision) = revision.filter(|revision| *revision > 0) else { return };
        let (at, who) = (self.net.history.now(), self.who.clone());
        let acknowledged = Acknowledged { at, who, what, revision };
        self.net.history.record().acknowledged.push(acknowledged);
    }

    fn carried(&self, body: Body, broken: BoxFuture<'static, ()>) -> Body {
        let Body::Watch(frames) = body else { return body };
        let frames = frames.fuse().boxed();
        let carry = Carry { way: self.way.clone(), frames, broken, here: VecDeque::new() };
        Body::Watch(
            unfold(carry, |mut carry| async { carry.next().await.map(|frame| (frame, carry)) })
                .boxed(),
        )
    }
}

/// A watch on its way.
struct Carry {
    way: Way,
    frames: BoxStream<'static, Frame>,
    broken: BoxFuture<'static, ()>,
    /// What has arrived.
    here: VecDeque<Frame>,
}

impl Carry {
    async fn next(&mut self) -> Option<Frame> {
        if self.here.is_empty() {
            let first = tokio::select! {
                biased;
                () = &mut self.broken => None,
                first = self.frames.next() => first,
            };
            self.here.push_back(first?);
            // The stream ends without a word, as that of a connection that broke.
            tokio::select! {
                biased;
                () = &mut self.broken => return None,
                gone = self.way.go() => gone.ok()?,
            }
            while self.here.len() < PIECE_MOST
                && let Some(Some(more)) = self.frames.next().now_or_never()
            {
                self.here.push_back(more);
            }
        }
        self.here.pop_front()
    }
}
