//! Connections as every listener of ours takes them.

use crate::World;
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// A peer that is silent so long is asked for a sign of life, and is gone when none comes in as long again.
pub const ALIVE: Duration = Duration::from_secs(30);
/// TCP asks so often, for a question can get lost.
const ALIVE_TRIES: u32 = 3;
/// Before the next try of a listener that could not accept.
const PAUSE: Duration = Duration::from_millis(50);

/// The next connection. Nothing that goes wrong with one ends its listener.
pub async fn accept(listener: &TcpListener, world: &World) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of descriptors, most likely: others must end before one more can begin.
                let at = listener.local_addr().ok();
                tracing::warn!(%error, ?at, "accepting a connection failed");
                world.sleep(PAUSE).await;
            }
        }
    }
}

/// What is written leaves at once, and a peer whose machine has died is noticed, which matters to HTTP/1.1: a watch on
/// which nothing happens would hold its place for good.
pub fn set_options(stream: &TcpStream, address: SocketAddr) {
    let set = || -> io::Result<()> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, ALIVE)?;
        sockopt::set_tcp_keepintvl(stream, ALIVE / ALIVE_TRIES)?;
        Ok(sockopt::set_tcp_keepcnt(stream, ALIVE_TRIES)?)
    };
    if let Err(error) = set() {
        tracing::debug!(%error, %address, "options of a connection");
    }
}
