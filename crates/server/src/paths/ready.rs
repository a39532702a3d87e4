//! Readiness: each part of the server names itself and says when it is ready. An event, not a poll.

use skiff_base::Lock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The states of all parts: `Ok` is ready, `Err` says what is missing.
#[derive(Clone)]
pub struct Ready(Arc<Lock<BTreeMap<&'static str, Result<(), String>>>>, watch::Sender<u64>);

impl Default for Ready {
    fn default() -> Ready {
        Ready(Arc::default(), watch::Sender::new(0))
    }
}

impl Ready {
    pub fn set(&self, part: &'static str, state: Result<(), String>) {
        self.0.lock().insert(part, state);
        self.1.send_modify(|n| *n += 1);
    }

    pub fn states(&self) -> Vec<(&'static str, Result<(), String>)> {
        let states = self.0.lock();
        states.iter().map(|(name, state)| (*name, state.clone())).collect()
    }

    /// Waits until every part that has named itself is ready.
    pub async fn all(&self) {
        let mut changed = self.1.subscribe();
        while !self.states().iter().all(|(_, state)| state.is_ok()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}
