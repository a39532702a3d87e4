//! What became of policies, under upstream's names (metrics reference, `apiserver_validating_admission_policy_*` and
//! `apiserver_mutating_admission_policy_*`).

use crate::paths::counted::Times;
use crate::paths::metrics::Page;
use skiff_base::Lock;
use std::time::Duration;

/// Seconds.
const BUCKETS: [f64; 5] = [0.0000005, 0.001, 0.01, 0.1, 1.0];

/// Whom a figure is about.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    pub policy: &'a str,
    pub binding: &'a str,
}

/// What a check was part of.
#[derive(Clone, Copy)]
pub enum Step {
    Validating,
    Mutating,
}

impl Step {
    /// As the metrics of match conditions name it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Validating => "validate",
            Step::Mutating => "mutate",
        }
    }
}

/// How long checks took, by step.
pub struct Metrics(Lock<[Times<{ BUCKETS.len() }>; 2]>);

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics(Lock::new([Times::new(&BUCKETS), Times::new(&BUCKETS)]))
    }
}

/// What went wrong, by upstream's words for it; `None`: nothing.
pub fn error_type(why: Option<&str>) -> &'static str {
    match why {
        None => "no_error",
        Some(why) if why.starts_with("compilation") => "compile_error",
        Some(why) if why.starts_with("validation failed due to running out of cost budget") => {
            "out_of_budget"
        }
        Some(_) => "invalid_error",
    }
}

impl Metrics {
    /// Counts one check: what was done about it, and why it failed.
    pub fn count(
        &self,
        step: Step,
        of: Labels<'_>,
        action: &str,
        why: Option<&str>,
        took: Duration,
    ) {
        let error = error_type(why);
        let Labels { policy, binding } = of;
        let labels = format!(
            "enforcement_action=\"{action}\",error_type=\"{error}\",policy=\"{policy}\",policy_binding=\"{binding}\""
        );
        self.0.lock()[step as usize].add(labels, took);
    }

    /// Appends all of them.
    pub fn write(&self, page: &mut Page) {
        let all = self.0.lock();
        for (step, name, stage) in
            [(Step::Validating, "validating", "BETA"), (Step::Mutating, "mutating", "ALPHA")]
        {
            let (name, took) =
                (format!("apiserver_{name}_admission_policy_check"), &all[step as usize]);
            let help = format!("[{stage}] Checks of admission policies.");
            took.write_counts(page, &format!("{name}_total"), &help);
            let help = format!("[{stage}] How long they took.");
            took.write(page, &format!("{name}_duration_seconds"), &help);
        }
    }
}
