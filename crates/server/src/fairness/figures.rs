//! Figures: what `/metrics` tells of priority and fairness, under upstream's names (KEP-1040).

use super::Fairness;
use super::level::{Refused, SeatNanos};
use super::tally::{Histogram, Tally};
use crate::paths::metrics::Page;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PREFIX: &str = "apiserver_flowcontrol_";

type OfLevel = (&'static str, &'static str, &'static str, fn(&Shown) -> f64);

const OF_LEVELS: &[OfLevel] = &[
    ("current_limit_seats", "gauge", "Seats that a level has for now.", |it| it.current),
    ("current_r", "gauge", "Virtual time of a level.", |it| it.progress),
    ("demand_seats_average", "gauge", "Seats that it could use, on average.", |it| it.average),
    ("demand_seats_high_watermark", "gauge", "Seats that it could use, at most.", |it| it.high),
    ("demand_seats_smoothed", "gauge", "Seats that it could use, smoothed.", |it| it.smoothed),
    ("demand_seats_stdev", "gauge", "How much that varied.", |it| it.deviation),
    ("lower_limit_seats", "gauge", "Seats that it keeps, whoever needs some.", |it| it.least),
    ("nominal_limit_seats", "gauge", "Seats that it has by its shares.", |it| it.nominal),
    ("target_seats", "gauge", "Seats that it was to get if all had enough.", |it| it.target),
    ("upper_limit_seats", "gauge", "Seats that it may have with borrowed ones.", |it| it.most),
];

struct Shown {
    current: f64,
    progress: f64,
    average: f64,
    high: f64,
    smoothed: f64,
    deviation: f64,
    least: f64,
    nominal: f64,
    target: f64,
    most: f64,
}

/// Name, sort, sentence, value; and none where nothing ever happened, as upstream has it.
type OfSchema = (&'static str, &'static str, &'static str, fn(&Tally) -> Option<f64>);

const OF_SCHEMAS: &[OfSchema] = &[
    ("current_executing_requests", "gauge", "Requests that run.", |it| {
        it.ever(&it.dispatched, &it.executing)
    }),
    ("current_executing_seats", "gauge", "Seats of requests that run.", |it| {
        it.ever(&it.dispatched, &it.executing_seats)
    }),
    ("current_inqueue_requests", "gauge", "Requests that wait.", |it| {
        it.ever(it.queue_length.count(), &it.waiting)
    }),
    ("current_inqueue_seats", "gauge", "Seats that they wait for.", |it| {
        it.ever(it.queue_length.count(), &it.waiting_seats)
    }),
    ("dispatched_requests_total", "counter", "Requests that were run.", |it| some(&it.dispatched)),
    (
        "request_dispatch_no_accommodation_total",
        "counter",
        "How often there were seats, and not enough for the next in turn.",
        |it| some(&it.passed_over),
    ),
];

fn some(count: &AtomicU64) -> Option<f64> {
    Some(count.load(Relaxed) as f64).filter(|count| *count > 0.0)
}

impl Fairness {
    pub fn figures(&self, page: &mut Page) {
        let table = self.table();
        let shown: Vec<(&str, Shown)> = table
            .levels
            .iter()
            .map(|level| {
                let shown = level.with(|state| {
                    let (figures, seats) = (state.figures, state.seats);
                    Shown {
                        current: f64::from(state.machine.limit()),
                        progress: seconds(state.machine.progress()),
                        average: figures.average,
                        high: f64::from(figures.high),
                        smoothed: figures.smoothed,
                        deviation: figures.deviation,
                        least: f64::from(seats.least),
                        nominal: f64::from(seats.nominal),
                        target: seats.target,
                        most: f64::from(seats.most),
                    }
                });
                (&*level.name, shown)
            })
            .collect();
        for (name, sort, help, value) in OF_LEVELS {
            let name = format!("{PREFIX}{name}");
            page.head(&name, sort, help);
            for (level, shown) in &shown {
                page.row(&name, &format!("priority_level=\"{level}\""), value(shown));
            }
        }
        let name = format!("{PREFIX}seat_fair_frac");
        page.head(&name, "gauge", "Which part of its target each level got last.");
        page.row(&name, "", f64::from_bits(self.fraction.load(Relaxed)));
        let tallies: Vec<(String, &Arc<Tally>)> = table
            .tallies
            .iter()
            .map(|((level, schema), tally)| (labels(level, schema), tally))
            .collect();
        for (name, sort, help, value) in OF_SCHEMAS {
            let name = format!("{PREFIX}{name}");
            let shown =
                |(labels, tally): &(String, &Arc<Tally>)| Some((labels.clone(), value(tally)?));
            rows(page, (&name, sort, help), tallies.iter().filter_map(shown));
        }
        let name = format!("{PREFIX}rejected_requests_total");
        let rejected = tallies.iter().flat_map(|(labels, tally)| {
            let reasons = Refused::NAMES.iter().zip(&tally.rejected);
            reasons.filter_map(move |(reason, count)| {
                Some((format!("{labels},reason=\"{reason}\""), some(count)?))
            })
        });
        rows(page, (&name, "counter", "Requests that were refused, by reason."), rejected);
        histograms(page, &tallies);
    }
}

/// A family that is told of once something of it happened, as upstream has it.
fn rows(
    page: &mut Page,
    (name, sort, help): (&str, &str, &str),
    rows: impl Iterator<Item = (String, f64)>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        page.head(name, sort, help);
    }
    rows.for_each(|(labels, value)| page.row(name, &labels, value));
}

fn histograms(page: &mut Page, tallies: &[(String, &Arc<Tally>)]) {
    let mut each = |name: &str, help: &str, rows: &dyn Fn(&Tally) -> Vec<(String, Read)>| {
        let name = format!("{PREFIX}{name}");
        page.head(&name, "histogram", help);
        for (labels, tally) in tallies {
            for (more, (buckets, count, sum)) in rows(tally).into_iter().filter(|(_, it)| it.1 > 0)
            {
                // Labels are in the order of their names.
                let labels = match more.as_str() {
                    "" => labels.clone(),
                    more if more < labels.as_str() => format!("{more},{labels}"),
                    more => format!("{labels},{more}"),
                };
                page.buckets(&name, &labels, &buckets, count, sum);
            }
        }
    };
    each("request_execution_seconds", "How long requests ran.", &|it| {
        by("type", ["regular", "watch"], &it.ran)
    });
    each("request_queue_length_after_enqueue", "How long a queue was with the next.", &|it| {
        vec![(String::new(), it.queue_length.read())]
    });
    each("request_wait_duration_seconds", "How long requests waited.", &|it| {
        by("execute", ["false", "true"], &it.waited)
    });
    each("watch_count_samples", "How many watch what a request writes.", &|it| {
        vec![(String::new(), it.watches.read())]
    });
    each("work_estimated_seats", "Seats that requests take.", &|it| {
        vec![(String::new(), it.seats.read())]
    });
}

type Read = (Vec<(f64, u64)>, u64, f64);

fn by<const N: usize>(
    label: &str,
    values: [&str; 2],
    of: &[Histogram<N>; 2],
) -> Vec<(String, Read)> {
    let rows = values.iter().zip(of);
    rows.map(|(value, of)| (format!("{label}=\"{value}\""), of.read())).collect()
}

fn labels(level: &str, schema: &str) -> String {
    format!("flow_schema=\"{schema}\",priority_level=\"{level}\"")
}

fn seconds(nanos: SeatNanos) -> f64 {
    nanos as f64 / 1e9
}
