//! Parts: what a process is made of, each with its tasks, its name, and what follows when it ends.
//!
//! A part is one future: when that returns or panics, or a task that it cannot do without does ([`Tasks::vital`]), the
//! part has ended and all its tasks with it. One that is `Fatal` ends the process with a sentence; any other is made
//! anew after a pause and reads its state again, as at the start of the process. A panic in a task that the part can do
//! without (a connection, a pass) ends that task alone and is noted.
//!
//! Never here: a task of nobody.

use crate::{Backoff, Lock, Tasks, World};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between the end of a part and its next start.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(30) };
/// A part that ran so long begins with the first pause again.
const CALM: Duration = Duration::from_secs(60);

/// Why a part ended.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a part is called, and what follows its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub on_end: OnEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// The process ends; this is what helps then.
    Fatal(&'static str),
    /// It starts again.
    Restart,
}

/// How a part is, for `skiff status` and /metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub name: String,
    pub up: bool,
    pub restarts: u64,
    /// Panics of tasks that it did without.
    pub panics: u64,
    /// The last end or panic, in words; empty when there was none.
    pub last_error: String,
}

/// The end of a part without which the process cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} ended: {error}; {next}")]
pub struct Fatal {
    pub part: String,
    pub error: String,
    pub next: &'static str,
}

/// All parts of a process. Cheap to clone.
#[derive(Clone)]
pub struct Parts(Arc<Inner>);

struct Inner {
    world: World,
    entries: Lock<BTreeMap<String, Entry>>,
    /// One task for each part.
    tasks: Tasks,
    fatal: watch::Sender<Option<Fatal>>,
}

struct Entry {
    state: State,
    /// Of its present life.
    tasks: Tasks,
}

/// Makes a part. It is boxed, so that the code that keeps parts going is there once.
type Make = Box<dyn FnMut(Tasks) -> Life + Send>;
type Life = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

fn boxed<F>(mut make: impl FnMut(Tasks) -> F + Send + 'static) -> Make
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    Box::new(move |tasks| Box::pin(make(tasks)))
}

impl Parts {
    pub fn new(world: World) -> Parts {
        let (entries, tasks) = (Lock::default(), Tasks::new());
        Parts(Arc::new(Inner { world, entries, tasks, fatal: watch::Sender::new(None) }))
    }

    /// Starts a part; `make` makes it, now and after each end, with the group of its tasks.
    pub fn start<F>(&self, part: Part, make: impl FnMut(Tasks) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.start_named(part.name.to_owned(), part.on_end, boxed(make));
    }

    /// The same for one of many of a sort, whose name is only known now; starts again when it ends.
    pub fn one_of<F>(&self, type_: &str, name: &str, make: impl FnMut(Tasks) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.start_named(format!("{type_}/{name}"), OnEnd::Restart, boxed(make));
    }

    /// A part whose tasks others start, each with [`Tasks::vital`]; it starts never again, so it is a fatal one.
    pub fn held(&self, name: &'static str, next: &'static str) -> Tasks {
        let (part, held) = (Part { name, on_end: OnEnd::Fatal(next) }, Tasks::new());
        let tasks = held.clone();
        self.start(part, move |_| {
            let tasks = tasks.clone();
            async move { Err(tasks.lost().await.into()) }
        });
        held
    }

    fn start_named(&self, name: String, on_end: OnEnd, mut make: Make) {
        let state = State {
            name: name.clone(),
            up: true,
            restarts: 0,
            panics: 0,
            last_error: String::new(),
        };
        self.0.entries.lock().insert(name.clone(), Entry { state, tasks: Tasks::new() });
        let parts = self.clone();
        self.0.tasks.spawn(async move {
            let (world, mut failures) = (parts.0.world.clone(), 0);
            loop {
                let began = world.uptime();
                let error = parts.run(&name, &mut make).await;
                if let OnEnd::Fatal(next) = on_end {
                    parts
                        .note(&name, |state| (state.up, state.last_error) = (false, error.clone()));
                    let fatal = Fatal { part: name, error, next };
                    parts.0.fatal.send_if_modified(|first| {
                        first.is_none() && first.replace(fatal).is_none()
                    });
                    return;
                }
                failures = if world.uptime() - began > CALM { 1 } else { failures + 1 };
                let pause = AGAIN.delay(failures);
                tracing::error!(part = name, error, ?pause, "a part ended and starts again");
                parts.note(&name, |state| {
                    state.up = false;
                    state.last_error = error.clone();
                });
                world.sleep(pause).await;
                parts.note(&name, |state| {
                    state.up = true;
                    state.restarts += 1;
                });
            }
        });
    }

    /// One life of a part, and what ended it.
    async fn run(&self, name: &str, make: &mut Make) -> String {
        let (parts, of) = (self.clone(), name.to_owned());
        let tasks = Tasks::noting(move |panic| {
            tracing::error!(part = of, panic, "a task panicked");
            parts.note(&of, |state| {
                state.panics += 1;
                state.last_error = panic.to_owned();
            });
        });
        if let Some(entry) = self.0.entries.lock().get_mut(name) {
            entry.tasks = tasks.clone();
        }
        let work = crate::world::caught(async { make(tasks.clone()).await });
        let error = tokio::select! {
            lost = tasks.lost() => lost,
            ended = work => match ended {
                Ok(Ok(())) => "it has nothing more to do".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic,
            },
        };
        tasks.stop().await;
        error
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut State)) {
        if let Some(entry) = self.0.entries.lock().get_mut(name) {
            change(&mut entry.state);
        }
    }

    /// How all parts are, by name.
    pub fn states(&self) -> Vec<State> {
        self.0.entries.lock().values().map(|entry| entry.state.clone()).collect()
    }

    /// How all parts are, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        let states = self.states();
        let figures: [(&str, &str, &str, fn(&State) -> u64); 3] = [
            ("up", "gauge", "1 while a part runs, 0 between its end and its next start.", |it| {
                u64::from(it.up)
            }),
            ("restarts_total", "counter", "How often a part started again.", |it| it.restarts),
            ("panics_total", "counter", "Panics that a part did without.", |it| it.panics),
        ];
        let mut page = String::new();
        for (name, type_, help, value) in figures {
            page += &format!("# HELP skiff_part_{name} {help}\n# TYPE skiff_part_{name} {type_}\n");
            for state in &states {
                let (part, value) = (&state.name, value(state));
                page += &format!("skiff_part_{name}{{part=\"{part}\"}} {value}\n");
            }
        }
        page
    }

    /// Waits for the end of a part that the process cannot be without.
    pub async fn fatal(&self) -> Fatal {
        let mut fatal = self.0.fatal.subscribe();
        let ended = fatal.wait_for(Option::is_some).await;
        // The sender lives in self.
        ended.ok().and_then(|ended| ended.clone()).unwrap_or_else(|| unreachable!("it is some"))
    }

    /// Ends all parts and waits until their tasks are gone.
    pub async fn stop(&self) {
        self.0.tasks.stop().await;
        let ended = std::mem::take(&mut *self.0.entries.lock());
        for entry in ended.values() {
            entry.tasks.stop().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const RESTARTED: Part = Part { name: "dns", on_end: OnEnd::Restart };

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ends_starts_again_after_longer_and_longer_pauses() {
        let world = World::seeded(1);
        let parts = Parts::new(world.clone());
        let (began, clock) = (Arc::new(Lock::new(Vec::new())), world.clone());
        let note = began.clone();
        parts.start(RESTARTED, move |tasks| {
            note.lock().push(clock.uptime().as_millis());
            let life = note.lock().len();
            async move {
                match life {
                    1 => panic!("first"),
                    2 => Err("second".into()),
                    // A task that it cannot do without is the part's end too.
                    3 => {
                        tasks.vital(async { panic!("third") });
                        std::future::pending().await
                    }
                    _ => std::future::pending().await,
                }
            }
        });
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(*began.lock(), [0, 50, 150, 350]);
        let state = parts.states().remove(0);
        assert_eq!((state.up, state.restarts, &*state.last_error), (true, 3, "it panicked: third"));
        parts.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_task_that_it_can_do_without_is_noted() {
        let world = World::seeded(1);
        let parts = Parts::new(world.clone());
        parts.start(RESTARTED, |tasks| async move {
            tasks.spawn(async { panic!("one connection") });
            std::future::pending().await
        });
        world.sleep(Duration::from_secs(1)).await;
        let state = parts.states().remove(0);
        assert_eq!((state.up, state.restarts, state.panics), (true, 0, 1));
        assert_eq!(state.last_error, "it panicked: one connection");
        parts.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_fatal_part_ends_the_process_with_a_sentence_and_its_tasks_with_it() {
        let world = World::seeded(1);
        let parts = Parts::new(world.clone());
        let (alive, count) = (Arc::new(AtomicU32::new(0)), 3);
        let held = alive.clone();
        let store = Part { name: "store", on_end: OnEnd::Fatal("`skiff up` opens it again") };
        let clock = world.clone();
        parts.start(store, move |tasks| {
            for _ in 0..count {
                let held = held.clone();
                tasks.spawn(async move {
                    let _held = Held::new(held);
                    std::future::pending().await
                });
            }
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(1)).await;
                Err("the disk is full".into())
            }
        });
        let fatal = parts.fatal().await;
        assert_eq!(fatal.to_string(), "store ended: the disk is full; `skiff up` opens it again");
        assert_eq!(alive.load(Ordering::Relaxed), 0, "its tasks have ended");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_the_tasks_of_all_parts() {
        let world = World::seeded(1);
        let (parts, alive) = (Parts::new(world.clone()), Arc::new(AtomicU32::new(0)));
        let held = alive.clone();
        parts.start(RESTARTED, move |tasks| {
            let (held, own) = (Held::new(held.clone()), tasks.clone());
            tasks.spawn(async move {
                // As a listener's connections do.
                let _kept = (held, own);
                std::future::pending().await
            });
            std::future::pending()
        });
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(alive.load(Ordering::Relaxed), 1);
        parts.stop().await;
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }

    struct Held(Arc<AtomicU32>);

    impl Held {
        fn new(count: Arc<AtomicU32>) -> Held {
            count.fetch_add(1, Ordering::Relaxed);
            Held(count)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
