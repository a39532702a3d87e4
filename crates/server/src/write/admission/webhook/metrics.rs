//! What became of webhooks, under upstream's names (metrics reference, `apiserver_admission_webhook_*`).

use super::Failure;
use super::configuration::Hook;
use crate::paths::counted::{Counts, Times};
use crate::paths::metrics::Page;
use crate::write::admission::Operation;
use skiff_base::Lock;
use std::time::Duration;

/// Seconds.
const BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// A code above is told as this one.
const CODE_MOST: u16 = 600;

/// All figures.
#[derive(Default)]
pub struct Metrics(Lock<Figures>);

struct Figures {
    requests: Counts,
    rejections: Counts,
    open: Counts,
    took: Times<{ BUCKETS.len() }>,
}

impl Default for Figures {
    fn default() -> Figures {
        let [requests, rejections, open] = Default::default();
        Figures { requests, rejections, open, took: Times::new(&BUCKETS) }
    }
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
        figures.took.add(format!("{of},rejected=\"{rejected}\",type=\"{step}\""), took);
    }

    /// Appends all of them.
    pub fn write(&self, page: &mut Page) {
        let figures = self.0.lock();
        let of = |name: &str| format!("apiserver_admission_webhook_{name}");
        let help = "[ALPHA] Admission webhook requests.";
        figures.requests.write(page, &of("request_total"), help);
        let help = "[ALPHA] Requests that admission webhooks, or their failures, rejected.";
        figures.rejections.write(page, &of("rejection_count"), help);
        let help = "[ALPHA] Failures of admission webhooks that were ignored.";
        figures.open.write(page, &of("fail_open_count"), help);
        let help = "[STABLE] Admission webhook latency in seconds.";
        figures.took.write(page, &of("admission_duration_seconds"), help);
    }
}
