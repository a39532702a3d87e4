//! Which tokens in secrets were used today: noted here, told to whoever writes it down (KEP-2799). A use waits for
//! nobody, and one that is not written down is noted again by the next.

use super::Tokens;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::Notify;

/// More wait for the next use.
const WAITING_MOST: usize = 1024;

#[derive(Default)]
pub struct Used {
    /// The day of each secret, by namespace and name.
    waiting: Mutex<BTreeMap<(String, String), String>>,
    noted: Notify,
}

impl Used {
    pub fn note(&self, namespace: &str, name: &str, day: String) {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
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
                let mut waiting = self.used.waiting.lock().expect("no holder of this lock panics");
                std::mem::take(&mut *waiting)
            };
            if !taken.is_empty() {
                return taken;
            }
            self.used.noted.notified().await;
        }
    }
}
