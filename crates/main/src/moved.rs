//! Whether the machine is still where it was: a laptop takes its cluster to another network.
//!
//! Certificates, the endpoint of the `kubernetes` Service, the node's address and its doors all stand on the addresses
//! that the daemon found when it began. So it begins anew, which takes a fraction of a second and touches no container.

use crate::addresses::Addresses;
use anyhow::Result;
use skiff_base::World;
use skiff_cli::settings::Settings;
use skiff_net::{Moves, NetNs};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An address goes before the next one comes: what is heard within this time is one move.
const SETTLED: Duration = Duration::from_millis(500);

/// Returns when the machine is known by other addresses than these.
pub async fn moved(settings: &Settings, known: &Addresses, world: &World) {
    if let Err(error) = wait(settings, known, world).await {
        tracing::error!(%error, "the daemon does not hear of new addresses: `skiff down` and `skiff up` after a move");
        std::future::pending::<()>().await;
    }
}

async fn wait(settings: &Settings, known: &Addresses, world: &World) -> Result<()> {
    let moves = Moves::open(&NetNs::current()?)?;
    #[expect(
        deprecated,
        reason = "its newer form is unsafe; what is registered owns its descriptor"
    )]
    let mut moves = AsyncFd::with_interest(moves, Interest::READABLE)?;
    loop {
        // First of all: it may have happened before anybody listened.
        if is_elsewhere(settings, known)? {
            world.sleep(SETTLED).await;
            if is_elsewhere(settings, known)? {
                return Ok(());
            }
        }
        while !heard(&mut moves).await? {}
    }
}

async fn heard(moves: &mut AsyncFd<Moves>) -> Result<bool> {
    let mut guard = moves.readable_mut().await?;
    let moved = guard.get_inner_mut().heard()?;
    guard.clear_ready();
    Ok(moved)
}

/// The daemon could not begin anew where its own address is gone: that one may come back.
fn is_elsewhere(settings: &Settings, known: &Addresses) -> Result<bool> {
    Ok(is_here(settings.listen.ip()) && Addresses::find(settings)? != *known)
}

/// Whether a link of this machine has an address: the kernel lets a socket be bound to no other.
pub fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}
