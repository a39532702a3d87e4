//! Demand: how many seats a level could use, over time: what borrowing is reckoned from (KEP-1040, "Dispatching with
//! borrowing"). Pure.

use std::time::Duration;

/// Of the smoothed demand so much stays with each adjustment: half of it is gone after five minutes.
const SMOOTHING: f64 = 0.977;

/// The integrals of a number of seats since the last adjustment.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    seen: Duration,
    seats: f64,
    elapsed_s: f64,
    sum: f64,
    squares: f64,
    most: f64,
}

impl Demand {
    pub fn new(now: Duration) -> Demand {
        Demand { seen: now, ..Demand::default() }
    }

    pub fn set(&mut self, seats: u32) {
        self.seats = f64::from(seats);
        self.most = self.most.max(self.seats);
    }

    pub fn pass(&mut self, now: Duration) {
        let since = now.saturating_sub(self.seen).as_secs_f64();
        self.seen = self.seen.max(now);
        self.elapsed_s += since;
        self.sum += self.seats * since;
        self.squares += self.seats * self.seats * since;
    }

    /// What was since the last time, added to the figures.
    pub fn settle(&mut self, now: Duration, figures: &mut Figures) {
        self.pass(now);
        figures.high = self.most.round() as u32;
        if self.elapsed_s > 0.0 {
            figures.average = self.sum / self.elapsed_s;
            let variance = self.squares / self.elapsed_s - figures.average * figures.average;
            figures.deviation = variance.max(0.0).sqrt();
            let envelope = figures.average + figures.deviation;
            let kept = SMOOTHING * figures.smoothed + (1.0 - SMOOTHING) * envelope;
            figures.smoothed = envelope.max(kept);
        }
        let seats = self.seats;
        *self = Demand { seen: self.seen, seats, most: seats, ..Demand::default() };
    }
}

/// What is known of a level's demand when seats are dealt out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// The highest since the last time.
    pub high: u32,
    pub average: f64,
    pub deviation: f64,
    /// It follows a rise at once and a fall slowly.
    pub smoothed: f64,
}
