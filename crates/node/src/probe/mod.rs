//! Probes: one task per probe of a running container, from its first delay until it is not wanted
//! any more. It tells the worker only what changes: a threshold that is reached, either way.

pub mod exec;
pub mod grpc;
pub mod http;
mod tls;

use crate::pod::seen::{Outcome, ProbeType};
use crate::pod::worker::Mail;
use crate::report::Note;
use crate::rim::Rim;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, PortRef, Probe};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

/// Output of a probe that failed is cut here in events.
const OUTPUT_MOST: usize = 10 * 1024;

/// One probe of one run of a container.
pub struct Prober {
    pub rim: Arc<Rim>,
    pub pod: Arc<Pod>,
    pub container: String,
    pub id: String,
    pub type_: ProbeType,
    pub ip: String,
    pub mail: UnboundedSender<Mail>,
    /// What the worker believes now.
    pub last: Option<bool>,
}

/// What one try found.
enum Found {
    Good,
    Bad(String),
    /// The question could not be asked.
    Error(String),
}

impl Prober {
    /// Probes until the other end of `held` is dropped.
    pub async fn run(mut self, mut held: watch::Receiver<()>) {
        let pod = self.pod.clone();
        let Some(container) = pod.spec.all_containers().find(|c| c.name == self.container) else {
            return;
        };
        let probe = match self.type_ {
            ProbeType::Startup => &container.startup_probe,
            ProbeType::Readiness => &container.readiness_probe,
            ProbeType::Liveness => &container.liveness_probe,
        };
        let Some(probe) = probe else { return };
        tokio::select! {
            biased;
            _ = held.changed() => {}
            () = self.probe_for_ever(container, probe) => {}
        }
    }

    async fn probe_for_ever(&mut self, container: &Container, probe: &Probe) {
        let world = self.rim.world.clone();
        world.sleep(Duration::from_secs(probe.initial_delay_seconds.into())).await;
        let period = Duration::from_secs(probe.period_seconds.max(1).into());
        let timeout = Duration::from_secs(probe.timeout_seconds.max(1).into());
        let (mut good, mut bad) = (0, 0);
        loop {
            let next = world.uptime() + period;
            let asked = ask(&self.rim, &self.id, &self.ip, container, probe);
            let found = world.within(timeout, asked).await;
            let found = found.unwrap_or_else(|| late(probe, timeout, container, &self.ip));
            match &found {
                Found::Good => (good, bad) = (good + 1, 0),
                Found::Bad(_) | Found::Error(_) => (good, bad) = (0, bad + 1),
            }
            self.complain(&found);
            if good >= probe.success_threshold.max(1) {
                self.tell(true);
            }
            if bad >= probe.failure_threshold.max(1) {
                self.tell(false);
            }
            world.sleep_until(next).await;
        }
    }

    fn tell(&mut self, good: bool) {
        if self.last == Some(good) {
            return;
        }
        self.last = Some(good);
        let (container, id, type_) = (self.container.clone(), self.id.clone(), self.type_);
        // The worker may have ended; then nobody needs this.
        let outcome = Outcome::Probed { container, id, type_, good };
        let _ = self.mail.send(outcome.into());
    }

    fn complain(&self, found: &Found) {
        let word = match self.type_ {
            ProbeType::Startup => "Startup",
            ProbeType::Readiness => "Readiness",
            ProbeType::Liveness => "Liveness",
        };
        let message = match found {
            Found::Good => return,
            Found::Bad(why) => format!("{word} probe failed: {}", cut(why)),
            Found::Error(why) => {
                format!("{word} probe errored and resulted in unknown state: {}", cut(why))
            }
        };
        let (pod, container) = (self.pod.clone(), Some(self.container.clone()));
        let note = Note { pod, container, type_: "Warning", reason: "Unhealthy", message };
        // As above.
        let _ = self.mail.send(note.into());
    }
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= OUTPUT_MOST);
    &text[..end.unwrap_or(text.len())]
}

fn late(probe: &Probe, timeout: Duration, container: &Container, ip: &str) -> Found {
    let seconds = timeout.as_secs();
    Found::Bad(if probe.handler.exec.is_some() {
        format!("command timed out after {seconds}s")
    } else if let Some(get) = &probe.handler.http_get {
        let url = http::url(get, container, ip).unwrap_or_default();
        format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )
    } else if let Some(tcp) = &probe.handler.tcp_socket {
        let address =
            format!("{}:{}", host(&tcp.host, ip), port(&tcp.port, container).unwrap_or(0));
        format!("dial tcp {address}: i/o timeout")
    } else {
        format!("timeout: health rpc did not complete within {seconds}s")
    })
}

async fn ask(rim: &Arc<Rim>, id: &str, ip: &str, container: &Container, probe: &Probe) -> Found {
    let handler = &probe.handler;
    if let Some(action) = &handler.exec {
        return match exec::run(rim, id, &action.command).await {
            Ok(done) if done.code == 0 => Found::Good,
            Ok(done) => Found::Bad(done.output),
            Err(why) => Found::Error(why),
        };
    }
    let found = if let Some(get) = &handler.http_get {
        http::get(get, container, ip).await.map(|_| ())
    } else if let Some(tcp) = &handler.tcp_socket {
        connect(&tcp.host, ip, port(&tcp.port, container)).await
    } else if let Some(action) = &handler.grpc {
        grpc::check(ip, action).await
    } else {
        Ok(())
    };
    match found {
        Ok(()) => Found::Good,
        Err(why) => Found::Bad(why),
    }
}

async fn connect(named: &str, ip: &str, port: Option<u16>) -> Result<(), String> {
    let port = port.ok_or("the port is not known")?;
    let address = format!("{}:{port}", host(named, ip));
    match tokio::net::TcpStream::connect(&address).await {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("dial tcp {address}: connect: {}", plain(&e))),
    }
}

/// Drives a connection as long as something is asked over it.
async fn ask_over<T>(connection: impl Future, asked: impl Future<Output = T>) -> T {
    let mut asked = std::pin::pin!(asked);
    let mut connection = std::pin::pin!(connection);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut asked => return answer,
            // The end of the connection shows in the answer.
            _ = &mut connection, if open => open = false,
        }
    }
}

/// An error of the system without Rust's number at its end.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn host<'a>(named: &'a str, ip: &'a str) -> &'a str {
    if named.is_empty() { ip } else { named }
}

/// A port by number, or by its name among the container's.
pub fn port(port: &PortRef, container: &Container) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => {
            let named = container.ports.iter().find(|port| port.name == *name);
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    }
}
