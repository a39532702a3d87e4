//! What became of webhooks, under upstream's names (metrics reference, `apiserver_admission_webhook_*`).

use super::Failure;
use super::configuration::Hook;
use crate::write::admission::Operation;
use skiff_base::Lock;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Sets of labels: webhooks times operations times codes. What is beyond is counted without labels.
const SETS_MOST: usize = 4096;
/// Seconds.
const BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// A code above is told as this one.
const CODE_MOST: u16 = 600;

/// All figures.
#[derive(Default)]
pub struct Metrics(Lock<Figures>);

#[derive(Default)]
struct Figures {
    requests: Counter,
    rejections: Counter,
    open: Counter,
    excluded: Counter,
    unjudged: Counter,
    took: BTreeMap<String, Took>,
}

#[derive(Default)]
struct Counter(BTreeMap<String, u64>);

#[derive(Default)]
struct Took {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Counter {
    fn add(&mut self, labels: String) {
        let full = self.0.len() >= SETS_MOST && !self.0.contains_key(&labels);
        *self.0.entry(if full { String::new() } else { labels }).or_default() += 1;
    }

    fn write(&self, page: &mut String, name: &str, help: &str) {
        let name = format!("apiserver_admission_{name}");
        line(page, format_args!("# HELP {name} {help}\n# TYPE {name} counter"));
        for (labels, count) in &self.0 {
            line(page, format_args!("{name}{{{labels}}} {count}"));
        }
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("writing to a String cannot fail");
}

fn of_conditions(hook: &Hook, operation: Operation) -> String {
    let (name, operation, step) = (&hook.name, operation.name(), hook.sort.of_conditions());
    format!("kind=\"webhook\",name=\"{name}\",operation=\"{operation}\",type=\"{step}\"")
}

impl Metrics {
    /// Counts what came of asking one webhook.
    pub fn count<T>(
        &self,
        hook: &Hook,
        operation: Operation,
        took: Duration,
        asked: &Result<T, Failure>,
    ) {
        let (step, operation) = (hook.sort.step(), operation.name());
        let opens = hook.ignores_failure;
        let (code, error) = match asked {
            Ok(_) => (200, None),
            Err(Failure::Calling { code, .. }) if opens => (*code, None),
            Err(Failure::Calling { code, .. }) => (*code, Some("calling_webhook_error")),
            Err(Failure::Rejected(status)) => (status.code, Some("no_error")),
            Err(Failure::Internal(_)) => (0, Some("apiserver_internal_error")),
        };
        let (code, rejected) = (code.min(CODE_MOST), error.is_some());
        let name = &hook.name;
        let of = format!("name=\"{name}\",operation=\"{operation}\"");
        let mut figures = self.0.lock();
        figures
            .requests
            .add(format!("code=\"{code}\",{of},rejected=\"{rejected}\",type=\"{step}\""));
        if let Some(error) = error {
            let labels =
                format!("error_type=\"{error}\",{of},rejection_code=\"{code}\",type=\"{step}\"");
            figures.rejections.add(labels);
        } else if asked.is_err() {
            figures.open.add(format!("name=\"{name}\",type=\"{step}\""));
        }
        let mut labels = format!("{of},rejected=\"{rejected}\",type=\"{step}\"");
        if figures.took.len() >= SETS_MOST && !figures.took.contains_key(&labels) {
            labels.clear();
        }
        let (all, seconds) = (figures.took.entry(labels).or_default(), took.as_secs_f64());
        all.count += 1;
        all.sum += seconds;
        for (bucket, most) in all.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= most);
        }
    }

    /// A match condition was false.
    pub fn excluded(&self, hook: &Hook, operation: Operation) {
        self.0.lock().excluded.add(of_conditions(hook, operation));
    }

    /// Match conditions could not be evaluated.
    pub fn unjudged(&self, hook: &Hook, operation: Operation) {
        self.0.lock().unjudged.add(of_conditions(hook, operation));
    }

    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let (figures, mut page) = (self.0.lock(), String::new());
        figures.requests.write(
            &mut page,
            "webhook_request_total",
            "[ALPHA] Admission webhook requests.",
        );
        let help = "[ALPHA] Requests that admission webhooks, or their failures, rejected.";
        figures.rejections.write(&mut page, "webhook_rejection_count", help);
        let help = "[ALPHA] Failures of admission webhooks that were ignored.";
        figures.open.write(&mut page, "webhook_fail_open_count", help);
        let help = "[ALPHA] Requests that match conditions kept from a webhook.";
        figures.excluded.write(&mut page, "match_condition_exclusions_total", help);
        let help = "[ALPHA] Match conditions that could not be evaluated.";
        figures.unjudged.write(&mut page, "match_condition_evaluation_errors_total", help);
        let name = "apiserver_admission_webhook_admission_duration_seconds";
        let help = "[STABLE] Admission webhook latency in seconds.";
        line(&mut page, format_args!("# HELP {name} {help}\n# TYPE {name} histogram"));
        for (labels, took) in &figures.took {
            let comma = if labels.is_empty() { "" } else { "," };
            for (count, most) in took.buckets.iter().zip(BUCKETS) {
                line(
                    &mut page,
                    format_args!("{name}_bucket{{{labels}{comma}le=\"{most}\"}} {count}"),
                );
            }
            let Took { count, sum, .. } = took;
            line(&mut page, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
            line(&mut page, format_args!("{name}_sum{{{labels}}} {sum}"));
            line(&mut page, format_args!("{name}_count{{{labels}}} {count}"));
        }
        page
    }
}
