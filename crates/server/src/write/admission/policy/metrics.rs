//! What became of policies, under upstream's names (metrics reference, `apiserver_validating_admission_policy_*` and
//! `apiserver_mutating_admission_policy_*`).

use skiff_base::Lock;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Sets of labels. What is beyond is counted without labels.
const SETS_MOST: usize = 4096;
/// Seconds.
const BUCKETS: [f64; 5] = [0.0000005, 0.001, 0.01, 0.1, 1.0];

/// Whom a figure is about.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    pub policy: &'a str,
    pub binding: &'a str,
}

/// What a check was part of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Validating,
    Mutating,
}

#[derive(Default)]
pub struct Metrics(Lock<BTreeMap<(Step, String), Took>>);

#[derive(Default)]
struct Took {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
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
        let mut labels = format!(
            "enforcement_action=\"{action}\",error_type=\"{error}\",policy=\"{policy}\",policy_binding=\"{binding}\""
        );
        let mut all = self.0.lock();
        if all.len() >= SETS_MOST && !all.contains_key(&(step, labels.clone())) {
            labels.clear();
        }
        let (figures, seconds) = (all.entry((step, labels)).or_default(), took.as_secs_f64());
        figures.count += 1;
        figures.sum += seconds;
        for (bucket, most) in figures.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= most);
        }
    }

    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let (all, mut page) = (self.0.lock(), String::new());
        for (step, name, stage) in
            [(Step::Validating, "validating", "BETA"), (Step::Mutating, "mutating", "ALPHA")]
        {
            let name = format!("apiserver_{name}_admission_policy_check");
            let own = || all.iter().filter(|((of, _), _)| *of == step);
            line(
                &mut page,
                format_args!("# HELP {name}_total [{stage}] Checks of admission policies."),
            );
            line(&mut page, format_args!("# TYPE {name}_total counter"));
            for ((_, labels), took) in own() {
                line(&mut page, format_args!("{name}_total{{{labels}}} {}", took.count));
            }
            let name = format!("{name}_duration_seconds");
            line(&mut page, format_args!("# HELP {name} [{stage}] How long they took."));
            line(&mut page, format_args!("# TYPE {name} histogram"));
            for ((_, labels), Took { buckets, count, sum }) in own() {
                let comma = if labels.is_empty() { "" } else { "," };
                for (count, most) in buckets.iter().zip(BUCKETS) {
                    line(
                        &mut page,
                        format_args!("{name}_bucket{{{labels}{comma}le=\"{most}\"}} {count}"),
                    );
                }
                line(
                    &mut page,
                    format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"),
                );
                line(&mut page, format_args!("{name}_sum{{{labels}}} {sum}"));
                line(&mut page, format_args!("{name}_count{{{labels}}} {count}"));
            }
        }
        page
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("writing to a String cannot fail");
}
