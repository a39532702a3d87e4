//! Packet rules of this node, kept: when somebody takes them away (a firewall that is loaded anew
//! begins with `flush ruleset`), they come back within a second, without a change of a Service.
//!
//! The kernel tells of every change and of the socket that made it. Somebody who takes them away at
//! once again and again gets longer and longer pauses ([`Pauses`]), so that two programs do not keep
//! the machine busy; /metrics counts.
//!
//! Never here: a look at the rules without a reason.

use crate::services::Services;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use skiff_base::part::Failure;
use skiff_base::{Blocking, World};
use skiff_net::watch::Watch;
use skiff_net::{Obstacle, PodNetwork};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A firewall that is loaded anew makes several changes: they are waited for.
const SOON: Duration = Duration::from_millis(50);
/// The longest pause before rules come back that are taken away again and again.
const LATEST: Duration = Duration::from_secs(30);
/// After so long without a loss it begins anew.
const CALM: Duration = Duration::from_secs(60);

/// The loop.
pub struct Rules {
    pub world: World,
    pub network: Arc<PodNetwork>,
    pub services: Arc<Services>,
    /// The node's threads for packet rules.
    pub tables: Blocking,
    /// Tables that were lost and came back.
    pub restored: AtomicU64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    pods: bool,
    services: bool,
    /// Somebody changed something: the way through the machine's firewall is to be looked at.
    passage: bool,
}

impl Rules {
    /// Keeps them until the task is ended, or the kernel cannot be heard. `port` is that of the table's
    /// changes, `table` its name.
    pub async fn keep(&self, table: &str, port: u32) -> Result<(), Failure> {
        let of_pods = self.network.table();
        let mut watch = self.network.watch(port)?;
        let (_keep, gone) = UnixStream::pair()?;
        let (mut pauses, mut known) = (Pauses::default(), Vec::new());
        // What was taken away before the watch began is not told.
        let mut wanted = Wanted { pods: true, passage: true, services: false };
        loop {
            let changed = self.act(&mut wanted, &mut known).await;
            if !wanted.pods {
                watch = something(watch, gone.try_clone()?).await?;
            }
            let seen = watch.seen(&[table, &of_pods])?;
            self.restored.fetch_add(seen.lost.len() as u64, Ordering::Relaxed);
            wanted.pods |= seen.lost.contains(&of_pods);
            wanted.services = seen.lost.contains(table);
            wanted.passage = seen.others;
            let pause = match wanted.pods || wanted.services || changed {
                true => pauses.next(self.world.uptime()),
                false => SOON,
            };
            self.world.sleep(pause).await;
        }
    }

    /// Does what is wanted; what failed is still wanted. Returns whether the way through the
    /// machine's firewall had to be opened.
    async fn act(&self, wanted: &mut Wanted, known: &mut Vec<Obstacle>) -> bool {
        if wanted.services {
            self.services.restore();
        }
        let (network, Wanted { pods, passage, .. }) = (self.network.clone(), *wanted);
        let work = self.tables.run(move || {
            let pods = if pods { network.restore() } else { Ok(()) };
            let look = || Ok::<_, skiff_net::Error>((network.pass()?, network.obstacles()?));
            (pods, passage.then(look))
        });
        let (pods, passage) = work.await.expect("a change of the rules does not panic");
        *wanted = Wanted { pods: pods.is_err(), ..Wanted::default() };
        if let Err(error) = pods {
            tracing::error!(%error, "the packet rules for pods could not be written");
        }
        match passage {
            Some(Ok((changed, found))) => {
                for Obstacle { what, command } in found.iter().filter(|it| !known.contains(it)) {
                    tracing::warn!("{what}; to let them pass: {command}");
                }
                *known = found;
                changed
            }
            // Whoever changes the firewall just now will be heard again.
            Some(Err(error)) => {
                tracing::warn!(%error, "the machine's firewall cannot be read");
                false
            }
            None => false,
        }
    }
}

/// Waits until there is something to hear, on a thread that may; it ends with the task too, when the
/// other end of `gone` is dropped.
async fn something(watch: Watch, gone: UnixStream) -> io::Result<Watch> {
    let work = tokio::task::spawn_blocking(move || {
        let all = [watch.as_fd(), gone.as_fd()];
        let mut all = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut all, None) {
            Ok(_) | Err(Errno::INTR) => Ok(watch),
            Err(error) => Err(error.into()),
        }
    });
    work.await.expect("waiting does not panic")
}

/// How long to wait before what was lost comes back.
#[derive(Debug, Default)]
struct Pauses {
    last: Option<Duration>,
    pause: Duration,
}

impl Pauses {
    fn next(&mut self, now: Duration) -> Duration {
        let calm = self.last.is_none_or(|last| now.saturating_sub(last) > CALM);
        self.pause = if calm { SOON } else { (self.pause * 2).min(LATEST) };
        self.last = Some(now);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_rules_away_again_and_again_waits_longer() {
        let mut pauses = Pauses::default();
        let mut now = Duration::from_secs(100);
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push(pauses.next(now).as_millis());
            now += Duration::from_secs(1);
        }
        assert_eq!(all[..5], [50, 100, 200, 400, 800], "the first is back within a second");
        assert_eq!(all[10..], [30_000, 30_000]);
        assert_eq!(pauses.next(now + CALM).as_millis(), 50, "and after a calm minute again");
    }
}
