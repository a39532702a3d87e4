//! Trail: one request from its head to the end of its answer, and the events of its stages. It is told of in any case:
//! who drops it before its end tells of a panic, or of a caller who went away.

use super::event::{Event, Outcome, Reference};
use super::notes::{Known, Length};
use super::policy::{Level, Stage};
use super::sink::{Fate, Mode, Patience};
use super::{Audit, Notes};
use crate::authorize::Attributes;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use skiff_api::Status;
use skiff_api::wire::{Answer, Call, Peer, User};
use skiff_base::Lock;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;

/// More of a user agent is not told; upstream's bound.
const AGENT_MOST: usize = 1024;
/// Requests that take longer are told how long; upstream's bound.
const SLOW: Duration = Duration::from_millis(500);
/// What goes on after its head was sent (upstream's long-running requests), beside watches.
const LONG: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];
/// Addresses that the headers of proxies may name; who names more is told with these.
const FORWARDED_MOST: usize = 32;

/// One request.
#[derive(Default)]
pub struct Trail {
    notes: Notes,
    phase: Phase,
}

/// How far it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Running,
    Started,
    Done,
}

type Waits = Vec<(Mode, oneshot::Receiver<Fate>)>;

impl Trail {
    /// Of a request that has just come.
    pub fn begin(audit: Option<&Arc<Audit>>, id: Option<&HeaderValue>) -> Trail {
        let notes = Notes(audit.map(|audit| {
            let id = id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
            let (id, received) = (id.unwrap_or_default(), audit.world.now());
            let event = Lock::new(Event { id, received, ..Event::default() });
            let (since, audit) = (audit.world.uptime(), audit.clone());
            Arc::new(Known { audit, since, opened: OnceLock::new(), event })
        }));
        Trail { notes, phase: Phase::Running }
    }

    /// For those who have something to add.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// It is known who calls, or that nobody can be found behind what the caller shows: of that there is one event
    /// only, with the refusal.
    pub fn open(&self, call: &Call, user: Option<&User>, asked: &Attributes) {
        let Some(known) = &self.notes.0 else { return };
        let audit = &known.audit;
        let verdict = audit.policy.judge(user, asked);
        audit.levels[verdict.level as usize].fetch_add(1, Ordering::Relaxed);
        if verdict.level == Level::None {
            return;
        }
        describe(&mut known.event.lock(), verdict.level, call, user, asked);
        let length = match &*asked.verb {
            _ if user.is_none() => Length::Refused,
            "watch" => Length::Watch,
            _ if LONG.contains(&&*asked.subresource) => Length::Long,
            _ => Length::Short,
        };
        known.opened.get_or_init(|| (verdict, length));
    }

    /// Tells that the request came.
    ///
    /// # Errors
    /// When that cannot be told, and the request must not go on then.
    pub async fn received(&mut self) -> Result<(), Status> {
        let told = self.length().is_some_and(|length| length != Length::Refused);
        if told && self.tell(Stage::RequestReceived).await == Fate::Lost {
            self.phase = Phase::Done;
            let audit = self.notes.0.as_ref().map(|known| &known.audit);
            audit.iter().for_each(|it| _ = it.rejected.fetch_add(1, Ordering::Relaxed));
            return Err(Status::internal("failed to store audit event"));
        }
        Ok(())
    }

    /// The answer, whose end is told of when there is one.
    pub async fn answered(mut self, answer: Answer) -> Answer {
        let Some(length) = self.length().filter(|_| self.phase != Phase::Done) else {
            return answer;
        };
        self.notes.change(Level::Metadata, |event| {
            event.outcome.get_or_insert_default().code = answer.status.as_u16();
        });
        if length != Length::Short {
            self.tell(Stage::ResponseStarted).await;
            self.phase = if length == Length::Refused { Phase::Done } else { Phase::Started };
            return crate::pipeline::held(answer, self);
        }
        self.note_time();
        self.tell(Stage::ResponseComplete).await;
        self.phase = Phase::Done;
        answer
    }

    fn length(&self) -> Option<Length> {
        Some(self.notes.0.as_ref()?.opened.get()?.1)
    }

    /// Tells of a stage, and waits until that is kept, where sinks want it so; whether a sink that insists lost it.
    async fn tell(&self, stage: Stage) -> Fate {
        let mut fate = Fate::Kept;
        for (mode, told) in self.hand_over(stage, Patience::Waits) {
            if told.await.unwrap_or(Fate::Lost) == Fate::Lost && mode == Mode::BlockingStrict {
                fate = Fate::Lost;
            }
        }
        fate
    }

    fn hand_over(&self, stage: Stage, patience: Patience) -> Waits {
        let Some(known) = &self.notes.0 else { return Waits::new() };
        if known.opened.get().is_none_or(|(verdict, _)| verdict.omitted.has(stage)) {
            return Waits::new();
        }
        let (audit, event) = (&known.audit, known.event.lock());
        audit.events.fetch_add(1, Ordering::Relaxed);
        let at = match stage {
            Stage::RequestReceived => event.received,
            _ => audit.world.now(),
        };
        let told = audit.sinks.iter().filter_map(|sink| {
            let told = sink.tell(&event, stage, at, patience)?;
            Some((sink.manner.mode, told))
        });
        told.collect()
    }

    fn note_time(&self) {
        let Some(known) = &self.notes.0 else { return };
        let took = known.audit.world.uptime() - known.since;
        if took > SLOW && self.length() != Some(Length::Watch) {
            let nanos = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
            let took = skiff_api::duration::format(nanos);
            self.notes.annotate("apiserver.latency.k8s.io/total", took);
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let Some(length) = self.length().filter(|_| self.phase != Phase::Done) else { return };
        // Nobody waits for these.
        let tell = |stage| drop(self.hand_over(stage, Patience::Goes));
        let ended = |status: &str, reason: &str, message: &str, code| Outcome {
            status: status.into(),
            message: message.into(),
            reason: reason.into(),
            ..Outcome::of(code)
        };
        if std::thread::panicking() {
            let outcome = ended("Failure", "InternalError", "APIServer panic'd", 500);
            self.notes.change(Level::Metadata, |event| event.outcome = Some(outcome));
            return tell(Stage::Panic);
        }
        self.notes.change(Level::Metadata, |event| {
            let early = || ended("Success", "", "Connection closed early", 200);
            event.outcome.get_or_insert_with(early);
        });
        if self.phase == Phase::Running && length != Length::Short {
            tell(Stage::ResponseStarted);
        }
        self.note_time();
        tell(Stage::ResponseComplete);
    }
}

/// What the head of a request says.
fn describe(event: &mut Event, level: Level, call: &Call, user: Option<&User>, asked: &Attributes) {
    event.level = level;
    event.uri.clone_from(&call.path);
    if !call.query.is_empty() {
        event.uri = format!("{}?{}", call.path, call.query);
    }
    event.verb.clone_from(&asked.verb);
    event.user = user.cloned().unwrap_or_default();
    event.source_ips = source_ips(call);
    let agent = call.headers.get(USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    event.agent = match agent.get(..AGENT_MOST) {
        Some(start) if agent.len() > AGENT_MOST => {
            String::from_utf8_lossy(start).into_owned() + "...TRUNCATED"
        }
        _ => String::from_utf8_lossy(agent).into_owned(),
    };
    event.object = asked.path.is_none().then(|| Reference {
        resource: asked.resource.clone(),
        namespace: asked.namespace.clone(),
        name: asked.name.clone(),
        api_group: asked.group.clone(),
        api_version: asked.version.clone(),
        subresource: asked.subresource.clone(),
        ..Reference::default()
    });
}

/// Where a request came from: what proxies say, and the peer last. A part of this process calls from this machine.
fn source_ips(call: &Call) -> Vec<String> {
    let text = |name: HeaderName| header(&call.headers, name);
    let forwarded = text(HeaderName::from_static("x-forwarded-for"));
    let parsed = forwarded.split(',').filter_map(|it| it.trim().parse::<IpAddr>().ok());
    let mut found: Vec<IpAddr> = parsed.take(FORWARDED_MOST).collect();
    if let Ok(real) = text(HeaderName::from_static("x-real-ip")).parse()
        && !found.contains(&real)
    {
        found.push(real);
    }
    let peer = match &call.peer {
        Peer::Local(_) => Ipv4Addr::LOCALHOST.into(),
        Peer::Remote { address, .. } => address.ip().to_canonical(),
    };
    if found.last() != Some(&peer) {
        found.push(peer);
    }
    found.iter().map(IpAddr::to_string).collect()
}

fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::super::event::Format;
    use super::super::policy::Policy;
    use super::super::sink::{Batch, Manner, Sink};
    use super::*;
    use crate::testkit::{MAPS, bench_of, map};
    use skiff_base::World;
    use skiff_json::{Value, json};

    fn sink(mode: Mode) -> Arc<Sink> {
        let batch = Batch { events: 1024, bytes: 1 << 20, wait: Duration::ZERO };
        let (format, event_most) = (Format::Json, None);
        Arc::new(Sink::new(Manner {
            name: "log",
            mode,
            format,
            event_most,
            events_most: 100,
            batch,
        }))
    }

    fn audit(sink: &Arc<Sink>, level: &str, world: &World) -> Arc<Audit> {
        let text =
            format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{{level: {level}}}]\n");
        let policy = Policy::parse(text.as_bytes()).expect("a policy");
        Arc::new(Audit::new(policy, vec![sink.clone()], world.clone()))
    }

    async fn taken(sink: &Sink, world: &World) -> Vec<Value> {
        let entries = sink.take(world).await;
        entries.iter().map(|it| skiff_json::from_slice(&it.line).expect("JSON")).collect()
    }

    #[tokio::test]
    async fn what_is_dropped_before_its_end_is_told_of() {
        let (world, sink) = (World::seeded(1), sink(Mode::Batch));
        let audit = audit(&sink, "Metadata", &world);
        let open = |verb: &str| {
            let mut call = crate::testkit::call(http::Method::GET, MAPS, Value::Null);
            call.query = "a=b".into();
            let trail = Trail::begin(Some(&audit), None);
            let asked = Attributes { verb: verb.into(), ..Attributes::default() };
            trail.open(&call, Some(&User::system("eve", &[])), &asked);
            trail
        };
        drop(open("watch"));
        let panics = std::panic::AssertUnwindSafe(|| {
            let _trail = open("get");
            panic!("on purpose");
        });
        std::panic::catch_unwind(panics).expect_err("it panics");
        let stages = taken(&sink, &world).await;
        let stages: Vec<_> =
            stages.iter().map(|it| (&it["stage"], &it["responseStatus"]["message"])).collect();
        let early = json!("Connection closed early");
        assert_eq!(
            stages,
            [
                (&json!("ResponseStarted"), &early),
                (&json!("ResponseComplete"), &early),
                (&json!("Panic"), &json!("APIServer panic'd"))
            ]
        );
    }

    #[tokio::test]
    async fn who_insists_is_refused_when_nothing_can_be_told() {
        let (world, strict) = (World::seeded(1), sink(Mode::BlockingStrict));
        let audit = audit(&strict, "Request", &world);
        let bench = bench_of(|server| server.audit = Some(audit.clone())).await;
        let lose = async {
            loop {
                let entries = strict.take(&world).await;
                strict.settle(entries, Err("no room".into()));
            }
        };
        let told = tokio::select! {
            told = bench.create(MAPS, map("a")) => told,
            () = lose => unreachable!("it goes on"),
        };
        assert_eq!(told.0, 500);
        assert_eq!(told.2["message"], "Internal error occurred: failed to store audit event");
        assert!(bench.keys("configmaps/").await.is_empty());
        let figures = audit.figures();
        assert!(figures.contains("apiserver_audit_requests_rejected_total 1\n"), "{figures}");
        assert!(figures.contains("error_total{plugin=\"log\"} 1\n"), "{figures}");
        assert!(figures.contains("level_total{level=\"Request\"} 1\n"), "{figures}");
    }

    #[tokio::test]
    async fn a_slow_request_says_how_long_it_took() {
        tokio::time::pause();
        let (world, sink) = (World::seeded(1), sink(Mode::Batch));
        let audit = audit(&sink, "Metadata", &world);
        for verb in ["get", "watch"] {
            let trail = Trail::begin(Some(&audit), None);
            let call = crate::testkit::call(http::Method::GET, MAPS, Value::Null);
            let asked = Attributes { verb: verb.into(), ..Attributes::default() };
            trail.open(&call, Some(&User::default()), &asked);
            world.sleep(Duration::from_millis(1500)).await;
            drop(trail.answered(Answer::text(http::StatusCode::OK, "")).await);
        }
        let told = taken(&sink, &world).await;
        let times = told.iter().map(|it| &it["annotations"]["apiserver.latency.k8s.io/total"]);
        let times: Vec<_> = times.map(|time| time.as_str().unwrap_or("-")).collect();
        // To the millisecond of the clock.
        assert!(times[0].starts_with("1.5") && times[1..] == ["-", "-"], "{times:?}");
    }
}
