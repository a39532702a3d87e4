//! Memory that a burst of objects took goes back when they are gone. It is asked for by the store, which knows when
//! much less is kept than there was, never by a clock.

use skiff_base::{World, fault};
use skiff_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// Whoever follows the store lets go a little later; and of a long deletion, what goes in this time goes at once.
const SETTLE: Duration = Duration::from_secs(3);

/// Gives back what is free: once the start is over, and then each time the store has shrunk.
pub async fn run(store: Arc<dyn Store>, world: World) {
    let mut shrunk = store.shrunk();
    loop {
        world.sleep(SETTLE).await;
        fault::point("memory");
        // A pass that fails is made up for by the next.
        let _ = tokio::task::spawn_blocking(skiff_machine::memory::give_back).await;
        if shrunk.changed().await.is_err() {
            return;
        }
    }
}
