//! When those who were refused are asked to come again: later while many are refused, sooner when few are. Pure; it
//! doubles and goes back by one, as upstream does.

use std::collections::VecDeque;

const MOST_S: u64 = 32;

/// Of one level.
#[derive(Debug)]
pub struct Retry {
    after_s: u64,
    changed_s: u64,
    /// Refusals by second, the newest last: no more than [`MOST_S`].
    history: VecDeque<(u64, u64)>,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { after_s: 1, changed_s: 0, history: VecDeque::new() }
    }
}

impl Retry {
    /// Somebody is refused, in this second; he is told how many seconds to wait.
    pub fn refuse(&mut self, now_s: u64) -> u64 {
        match self.history.back_mut() {
            Some((second, count)) if *second == now_s => *count += 1,
            _ => {
                self.reckon(now_s);
                self.history.push_back((now_s, 1));
                self.history.retain(|(second, _)| now_s - second <= MOST_S);
            }
        }
        self.after_s
    }

    fn reckon(&mut self, now_s: u64) {
        let after = self.after_s;
        let lately = self.history.iter().filter(|(second, _)| now_s - second <= after);
        let refused: u64 = lately.map(|(_, count)| count).sum();
        if refused >= 3 * after && now_s - self.changed_s >= after {
            (self.after_s, self.changed_s) = ((2 * after).min(MOST_S), now_s);
        } else if refused < after && after > 1 {
            self.after_s -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_refused_the_later_they_come_again() {
        let mut retry = Retry::default();
        let mut told = Vec::new();
        for second in 100..170 {
            let refused = if second < 120 { 50 } else { 1 };
            let answers: Vec<u64> = (0..refused).map(|_| retry.refuse(second)).collect();
            told.push(answers[0]);
        }
        expect_test::expect!["[1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32]"].assert_eq(&format!("{told:?}"));
        assert_eq!(retry.refuse(1_000_000), told[69] - 1);
    }
}
