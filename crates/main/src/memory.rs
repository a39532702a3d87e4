//! Memory that a burst took goes back when it is over. Nobody asks for that by a clock: the store tells when much less
//! is kept than there was, the server when much was read and written, and when neither tells more, it is done.

use skiff_base::{World, fault};
use std::time::Duration;
use tokio::sync::watch::{Receiver, error::RecvError};

/// Whoever follows the store lets go a little later; a burst that rests for so long is over.
const REST: Duration = Duration::from_secs(3);
/// In a burst that goes on, what is free goes back so often: it takes a few ms, in which no thread gets memory.
const LONGEST: Duration = Duration::from_secs(30);

/// Gives back what is free: once the start is over, and then after each burst of what these count. When one is over,
/// `let_go` frees what was kept only for the next of the same.
pub async fn run(
    mut shrunk: Receiver<u64>,
    mut worked: Receiver<u64>,
    let_go: impl Fn(),
    world: World,
) {
    let mut more = async || -> Result<(), RecvError> {
        tokio::select! {
            more = shrunk.changed() => more,
            more = worked.changed() => more,
        }
    };
    loop {
        let rests = async { while let Some(Ok(())) = world.within(REST, more()).await {} };
        // One that does not rest is not waited for.
        if world.within(LONGEST, rests).await.is_some() {
            let_go();
        }
        fault::point("memory");
        // A pass that fails is made up for by the next.
        let _ = tokio::task::spawn_blocking(skiff_machine::memory::give_back).await;
        if more().await.is_err() {
            return;
        }
    }
}
