//! Counted: families of metrics whose labels come from what users configure. Each set of labels is counted on its own,
//! and sets beyond a bound are counted together, without labels.

use crate::paths::metrics::Page;
use std::collections::BTreeMap;
use std::time::Duration;

/// Sets of labels of one family: what is configured, times operations, times codes.
const SETS_MOST: usize = 4096;

/// Values by their labels, as the text format has them.
struct Sets<T>(BTreeMap<String, T>);

impl<T> Default for Sets<T> {
    fn default() -> Sets<T> {
        Sets(BTreeMap::new())
    }
}

impl<T: Default> Sets<T> {
    fn of(&mut self, mut labels: String) -> &mut T {
        if self.0.len() >= SETS_MOST && !self.0.contains_key(&labels) {
            labels.clear();
        }
        self.0.entry(labels).or_default()
    }
}

/// A family of counters.
#[derive(Default)]
pub struct Counts(Sets<u64>);

impl Counts {
    pub fn add(&mut self, labels: String) {
        *self.0.of(labels) += 1;
    }

    /// Appends the family.
    pub fn write(&self, page: &mut Page, name: &str, help: &str) {
        page.head(name, "counter", help);
        self.0.0.iter().for_each(|(labels, count)| page.row(name, labels, *count as f64));
    }
}

/// A family of histograms of times, in seconds.
pub struct Times<const N: usize> {
    bounds: &'static [f64; N],
    sets: Sets<Time<N>>,
}

struct Time<const N: usize> {
    /// How many took as long as a bound, or less.
    below: [u64; N],
    count: u64,
    seconds: f64,
}

impl<const N: usize> Default for Time<N> {
    fn default() -> Time<N> {
        Time { below: [0; N], count: 0, seconds: 0.0 }
    }
}

impl<const N: usize> Times<N> {
    pub fn new(bounds: &'static [f64; N]) -> Times<N> {
        Times { bounds, sets: Sets::default() }
    }

    pub fn add(&mut self, labels: String, took: Duration) {
        let (time, seconds) = (self.sets.of(labels), took.as_secs_f64());
        time.count += 1;
        time.seconds += seconds;
        for (below, bound) in time.below.iter_mut().zip(self.bounds) {
            *below += u64::from(seconds <= *bound);
        }
    }

    /// Appends the family.
    pub fn write(&self, page: &mut Page, name: &str, help: &str) {
        page.head(name, "histogram", help);
        for (labels, Time { below, count, seconds }) in &self.sets.0 {
            let below: Vec<_> = self.bounds.iter().copied().zip(below.iter().copied()).collect();
            page.buckets(name, labels, &below, *count, *seconds);
        }
    }

    /// Appends a family that counts the same.
    pub fn write_counts(&self, page: &mut Page, name: &str, help: &str) {
        page.head(name, "counter", help);
        for (labels, time) in &self.sets.0 {
            page.row(name, labels, time.count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn families_are_written_by_their_labels() {
        let (mut page, mut times) = (Page::default(), Times::new(&[0.01, 1.0]));
        times.add("a=\"1\"".into(), Duration::from_millis(5));
        times.add("a=\"1\"".into(), Duration::from_millis(500));
        times.add("a=\"2\"".into(), Duration::from_secs(5));
        times.write(&mut page, "took_seconds", "How long.");
        times.write_counts(&mut page, "done_total", "How many.");
        expect![[r#"
            # HELP took_seconds How long.
            # TYPE took_seconds histogram
            took_seconds_bucket{a="1",le="0.01"} 1
            took_seconds_bucket{a="1",le="1"} 2
            took_seconds_bucket{a="1",le="+Inf"} 2
            took_seconds_sum{a="1"} 0.505
            took_seconds_count{a="1"} 2
            took_seconds_bucket{a="2",le="0.01"} 0
            took_seconds_bucket{a="2",le="1"} 0
            took_seconds_bucket{a="2",le="+Inf"} 1
            took_seconds_sum{a="2"} 5
            took_seconds_count{a="2"} 1
            # HELP done_total How many.
            # TYPE done_total counter
            done_total{a="1"} 2
            done_total{a="2"} 1
        "#]]
        .assert_eq(&page.text());
    }

    #[test]
    fn sets_are_bounded_and_no_count_is_lost() {
        let mut counts = Counts::default();
        (0..SETS_MOST + 10).for_each(|i| counts.add(format!("i=\"{i}\"")));
        counts.add("i=\"0\"".into());
        let of = |labels: &str| counts.0.0[labels];
        assert_eq!((counts.0.0.len(), of(""), of("i=\"0\"")), (SETS_MOST + 1, 10, 2));
    }
}
