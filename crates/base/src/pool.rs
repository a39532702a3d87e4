//! Randomness of the kernel, fetched in advance: ids and names are drawn at every request, and a call of the kernel for
//! each costs more than the rest of them. What is drawn is wiped, and no two threads share any.

use ring::rand::{SecureRandom, SystemRandom};
use std::cell::RefCell;

/// One call of the kernel serves so many bytes of ids.
const AHEAD: usize = 1024;
/// What is larger is a key, or part of one, and is fetched for itself.
const SMALL: usize = 16;

struct Pool {
    bytes: [u8; AHEAD],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; AHEAD], used: AHEAD }) };
}

/// Fills `bytes`.
pub fn fill(bytes: &mut [u8]) {
    match bytes.len() {
        0..=SMALL => POOL.with_borrow_mut(|pool| pool.draw(bytes)),
        _ => fetch(bytes),
    }
}

fn fetch(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the kernel gives randomness");
}

impl Pool {
    fn draw(&mut self, into: &mut [u8]) {
        if self.used + into.len() > AHEAD {
            fetch(&mut self.bytes);
            self.used = 0;
        }
        let drawn = &mut self.bytes[self.used..self.used + into.len()];
        into.copy_from_slice(drawn);
        drawn.fill(0);
        self.used += into.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_drawn_twice() {
        let draw = || {
            let mut id = [0; SMALL];
            fill(&mut id);
            id
        };
        let all: HashSet<[u8; SMALL]> = (0..10 * AHEAD / SMALL).map(|_| draw()).collect();
        let others = std::thread::spawn(move || (0..AHEAD / SMALL).map(|_| draw()).collect());
        let others: HashSet<[u8; SMALL]> = others.join().expect("it draws");
        assert_eq!(all.len() + others.len(), 11 * AHEAD / SMALL);
        assert!(all.is_disjoint(&others));
        let mut key = [0; 48];
        fill(&mut key);
        assert_ne!(key[..SMALL], key[SMALL..2 * SMALL]);
    }
}
