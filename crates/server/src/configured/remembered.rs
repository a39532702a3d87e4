//! Remembered: answers of others, each for its time, found by a digest of what was asked: no token and no name is kept.

use ring::digest::{SHA256, digest};
use skiff_base::{Lock, World};
use std::collections::HashMap;
use std::time::Duration;

/// Answers of one server: as many as upstream's authorizer keeps; each is some hundred bytes.
const MOST: usize = 8192;
/// Bytes of one answer, about: larger ones are not kept, for the server chooses their size. All together stay below
/// 32 MiB.
const SIZE_MOST: usize = 4096;

pub struct Remembered<V> {
    world: World,
    /// Each with the uptime at which it ends.
    answers: Lock<HashMap<[u8; 32], (Duration, V)>>,
}

impl<V: Clone> Remembered<V> {
    pub fn new(world: World) -> Remembered<V> {
        Remembered { world, answers: Lock::new(HashMap::new()) }
    }

    /// The key of a question.
    pub fn key(question: &[u8]) -> [u8; 32] {
        digest(&SHA256, question).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    pub fn get(&self, key: &[u8; 32]) -> Option<V> {
        let answers = self.answers.lock();
        let (until, answer) = answers.get(key)?;
        (*until > self.world.uptime()).then(|| answer.clone())
    }

    /// Keeps an answer that came in `size` bytes.
    pub fn put(&self, key: [u8; 32], answer: V, size: usize, life: Duration) {
        if life.is_zero() || size > SIZE_MOST {
            return;
        }
        let now = self.world.uptime();
        let mut answers = self.answers.lock();
        if answers.len() >= MOST {
            answers.retain(|_, (until, _)| *until > now);
        }
        if answers.len() >= MOST {
            // All are in use: forget everything rather than keep an order; each costs one call again.
            answers.clear();
        }
        answers.insert(key, (now + life, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_end_and_are_bounded() {
        let world = World::seeded(1);
        let known = Remembered::new(world.clone());
        let key = |n: usize| Remembered::<usize>::key(&n.to_le_bytes());
        known.put(key(0), 0, SIZE_MOST, Duration::from_secs(5));
        known.put(key(1), 1, 1, Duration::ZERO);
        known.put(key(2), 2, SIZE_MOST + 1, Duration::from_secs(5));
        assert_eq!([0, 1, 2].map(|n| known.get(&key(n))), [Some(0), None, None]);
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(known.get(&key(0)), None);
        for n in 0..MOST + 1 {
            known.put(key(n), n, 1, Duration::from_secs(5));
        }
        assert_eq!(known.answers.lock().len(), 1);
    }
}
