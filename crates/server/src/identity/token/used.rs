//! Which tokens in secrets were used today: noted here, told to whoever writes it down (KEP-2799). A use waits for
//! nobody, and one that is not written down is noted again by the next.

use super::Tokens;
use skiff_base::Lock;
use std::collections::BTreeMap;
use tokio::sync::Notify;

/// More wait for the next use.
const WAITING_MOST: usize = 1024;

#[derive(Default)]
pub struct Used {
    /// The day of each secret, by namespace and name.
    waiting: Lock<BTreeMap<(String, String), String>>,
    noted: Notify,
}

impl Used {
    pub fn note(&self, namespace: &str, name: &str, day: String) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MOST {
            waiting.insert((namespace.to_owned(), name.to_owned()), day);
            self.noted.notify_one();
        }
    }
}

impl Tokens {
    /// Waits for uses: secrets by namespace and name, with the day.
    pub async fn used(&self) -> BTreeMap<(String, String), String> {
        loop {
            let taken = {
                let mut waiting = self.used.waiting.lock();
                std::mem::take(&mut *waiting)
            };
            if !taken.is_empty() {
                return taken;
            }
            self.used.noted.notified().await;
        }
    }
}
