//! The stop of one container: hook, signal, and after the grace the kill (API reference: Lifecycle,
//! terminationGracePeriodSeconds). A shorter grace may come while it is under way.

use super::worker::Mail;
use crate::hooks;
use crate::report::Note;
use crate::rim::Rim;
use skiff_kinds::views::Pod;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

const SIGTERM: i32 = 15;
/// After the hook a container has at least this long to end by itself.
const LEAST: Duration = Duration::from_secs(1);

pub struct Stop {
    pub rim: Arc<Rim>,
    pub pod: Arc<Pod>,
    pub container: String,
    pub id: String,
    /// Seconds from the beginning of the stop.
    pub grace: watch::Receiver<i64>,
    pub mail: UnboundedSender<Mail>,
    pub ip: String,
}

impl Stop {
    pub async fn run(mut self) {
        let begun = self.rim.world.uptime();
        self.hook(begun).await;
        let signal = self.signal();
        if let Err(error) = self.rim.runtime.signal_container(&self.id, signal).await {
            tracing::warn!(container = self.container, %error, "a container was not signalled");
        }
        let least = self.rim.world.uptime() + LEAST;
        self.wait(begun, least).await;
        if let Err(error) = self.rim.runtime.kill_container(&self.id).await {
            tracing::warn!(container = self.container, %error, "a container was not killed");
        }
    }

    fn deadline(&mut self, begun: Duration) -> Duration {
        begun + Duration::from_secs((*self.grace.borrow_and_update()).max(0).unsigned_abs())
    }

    /// Runs the preStop hook, for the time of the grace at most.
    async fn hook(&mut self, begun: Duration) {
        let pod = self.pod.clone();
        let found = pod.spec.all_containers().find(|c| c.name == self.container);
        let Some((container, hook)) = found.and_then(|c| Some((c, c.lifecycle.pre_stop.as_ref()?)))
        else {
            return;
        };
        let (rim, id, ip) = (self.rim.clone(), self.id.clone(), self.ip.clone());
        let target = hooks::Target { rim: &rim, pod: &pod, container, id: &id, ip: &ip };
        let mut running = std::pin::pin!(hooks::run(&target, hook));
        loop {
            let left = self.deadline(begun).saturating_sub(rim.world.uptime());
            let result = tokio::select! {
                biased;
                result = &mut running => result,
                changed = self.grace.changed() => match changed {
                    Ok(()) => continue,
                    // The worker is gone, and with it the wish for a shorter grace.
                    Err(_) => return,
                },
                () = rim.world.sleep(left) => return,
            };
            if result.is_err() {
                let note = Note {
                    pod: pod.clone(),
                    container: Some(self.container.clone()),
                    type_: "Warning",
                    reason: "FailedPreStopHook",
                    message: "PreStopHook failed".into(),
                };
                // The worker may have ended; then nobody needs this.
                let _ = self.mail.send(note.into());
            }
            return;
        }
    }

    /// The pod's own, the image's, or SIGTERM.
    fn signal(&self) -> i32 {
        let found = self.pod.spec.all_containers().find(|c| c.name == self.container);
        let own = found.and_then(|c| c.lifecycle.stop_signal.clone());
        let of_image = || {
            let image = self.rim.images.resolve(&found?.image).ok()??;
            Some(image.config.stop_signal.clone()).filter(|signal| !signal.is_empty())
        };
        own.or_else(of_image).and_then(|name| number(&name)).unwrap_or(SIGTERM)
    }

    /// Until the container has ended or its time is over.
    async fn wait(&mut self, begun: Duration, least: Duration) {
        let rim = self.rim.clone();
        let id = self.id.clone();
        let mut ended = std::pin::pin!(rim.runtime.wait_container(&id));
        loop {
            let left = self.deadline(begun).max(least).saturating_sub(rim.world.uptime());
            tokio::select! {
                biased;
                _ = &mut ended => return,
                changed = self.grace.changed() => if changed.is_err() {
                    // The exit has been taken in: the worker has dropped its end.
                    return;
                },
                () = rim.world.sleep(left) => return,
            }
        }
    }
}

/// `SIGTERM`, `TERM`, `SIGRTMIN+3` or a number (signal(7), x86 and ARM).
fn number(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(after) = bare.strip_prefix("RTMIN") {
        return 34_i32.checked_add(after.strip_prefix('+').unwrap_or("0").parse().ok()?);
    }
    if let Some(before) = bare.strip_prefix("RTMAX") {
        return 64_i32.checked_sub(before.strip_prefix('-').unwrap_or("0").parse().ok()?);
    }
    let known = NAMES.iter().position(|known| *known == bare).map(|at| at as i32 + 1);
    known.or_else(|| bare.parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_signals() {
        let all = ["SIGTERM", "KILL", "9", "SIGRTMIN+3", "RTMAX-1", "RTMIN+2147483647", "x"]
            .map(super::number);
        assert_eq!(all, [Some(15), Some(9), Some(9), Some(37), Some(63), None, None]);
    }
}
