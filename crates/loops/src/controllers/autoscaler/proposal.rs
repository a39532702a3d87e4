//! Proposal: how many replicas one metric asks for, and what the status says of it.

use super::metrics::{Reading, Sample};
use super::target::Target as Scaled;
use super::usage::{self, Outcome, Target, Tolerance};
use crate::parts::words;
use skiff_api::quantity::{Format, Quantity};
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::views::Pod;
use skiff_kinds::views::autoscaler::{HorizontalPodAutoscaler as Hpa, Metric, MetricSource, Rules};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By how much usage may differ from its target, where no rule says so.
const TOLERANCE: f64 = 0.1;

#[derive(Debug, Clone, Default)]
pub struct Proposal {
    pub replicas: i32,
    /// What asked for it, as users read it.
    pub name: String,
    /// Of the metric, for the status.
    pub status: Value,
}

/// Why a metric asks for nothing.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    /// For the event and the condition.
    pub message: String,
    /// Around it, for those who hear of all metrics.
    pub error: String,
}

/// What metrics are held against.
pub struct Around<'a> {
    pub hpa: &'a Hpa,
    pub target: &'a Scaled,
    pub pods: &'a [Arc<Pod>],
    pub now: Time,
}

pub fn of(
    around: &Around<'_>,
    metric: &Metric,
    reading: &Result<Reading, String>,
) -> Result<Proposal, Failure> {
    let none = MetricSource::default();
    let or_none = |source: &'_ Option<MetricSource>| source.clone().unwrap_or_else(|| none.clone());
    match &*metric.type_ {
        "Resource" => resource(around, &or_none(&metric.resource), reading),
        "ContainerResource" => resource(around, &or_none(&metric.container_resource), reading),
        "Pods" => pods(around, &or_none(&metric.pods), reading),
        "Object" => object(around, &or_none(&metric.object), reading),
        "External" => external(around, &or_none(&metric.external), reading),
        other => {
            let message = format!("unknown metric source type {other:?}");
            Err(Failure { reason: "InvalidMetricSourceType", error: message.clone(), message })
        }
    }
}

fn tolerance(hpa: &Hpa) -> Tolerance {
    let of = |rules: Option<&Rules>| {
        let text = rules.and_then(|rules| rules.tolerance.as_ref());
        let quantity = text.and_then(|text| Quantity::parse(text).ok());
        quantity.map_or(TOLERANCE, |it| it.approximate())
    };
    let behavior = hpa.spec.behavior.as_ref();
    Tolerance {
        down: of(behavior.map(|it| &it.scale_down)),
        up: of(behavior.map(|it| &it.scale_up)),
    }
}

fn milli(quantity: Option<&String>) -> Option<i64> {
    Some(Quantity::parse(quantity?).ok()?.milli_value())
}

fn shown(milli: i64, format: Format) -> String {
    Quantity::milli(milli, format).to_string()
}

fn samples(reading: &Result<Reading, String>) -> Result<&BTreeMap<String, Sample>, &str> {
    match reading {
        Ok(Reading::Pods(samples)) => Ok(samples),
        Ok(Reading::Series(_)) => Err("no metrics of pods"),
        Err(why) => Err(why),
    }
}

fn resource(
    around: &Around<'_>,
    source: &MetricSource,
    reading: &Result<Reading, String>,
) -> Result<Proposal, Failure> {
    let (name, container) = (&source.name, &source.container);
    let (reason, outer) = match &**container {
        "" => ("FailedGetResourceMetric", format!("{name} resource")),
        container => ("FailedGetContainerResourceMetric", format!("{container} container")),
    };
    let fails = |message: String| Failure {
        reason,
        error: format!("failed to get {outer} metric value: {message}"),
        message,
    };
    let average = milli(source.target.average_value.as_ref());
    let what = if average.is_some() { "usage" } else { "utilization" };
    if average.is_none() && source.target.average_utilization.is_none() {
        let why = "invalid resource metric source: neither an average utilization target nor an average value \
                   (usage) target was set";
        return Err(fails(why.into()));
    }
    let outcome = used(around, source, reading, average);
    let outcome = outcome.map_err(|why| fails(format!("failed to get {name} {what}: {why}")))?;
    let format = if name == "memory" { Format::Binary } else { Format::Decimal };
    let mut current = json!({"averageValue": shown(outcome.average, format)});
    let mut proposed = format!("{name} resource");
    if average.is_none() {
        current["averageUtilization"] = json!(outcome.percent);
        let of = if container.is_empty() { "resource" } else { "container resource" };
        proposed = format!("{name} {of} utilization (percentage of request)");
    }
    let status = match container.is_empty() {
        true => json!({"type": "Resource", "resource": {"name": name, "current": current}}),
        false => json!({"type": "ContainerResource", "containerResource": {
            "name": name, "container": container, "current": current}}),
    };
    Ok(Proposal { replicas: outcome.replicas, name: proposed, status })
}

fn used(
    around: &Around<'_>,
    source: &MetricSource,
    reading: &Result<Reading, String>,
    average: Option<i64>,
) -> Result<Outcome, String> {
    let name = &*source.name;
    let samples = samples(reading)
        .map_err(|why| format!("unable to get metrics for resource {name}: {why}"))?;
    let current = (around.target.wanted, tolerance(around.hpa));
    let target = || match average {
        Some(average) => Ok(Target::Value(average)),
        None => {
            let requests = usage::requests(around.pods, &source.container, name)?;
            Ok(Target::Share(source.target.average_utilization.unwrap_or(0), requests))
        }
    };
    usage::replicas(current, samples, around.pods, target, name == "cpu", around.now)
}

fn pods(
    around: &Around<'_>,
    source: &MetricSource,
    reading: &Result<Reading, String>,
) -> Result<Proposal, Failure> {
    let name = &source.metric.name;
    let fails = |message: String| Failure {
        reason: "FailedGetPodsMetric",
        error: format!("failed to get pods metric value: {message}"),
        message,
    };
    let samples =
        samples(reading).map_err(|why| fails(format!("unable to get metric {name}: {why}")))?;
    let current = (around.target.wanted, tolerance(around.hpa));
    let target = Target::Value(milli(source.target.average_value.as_ref()).unwrap_or(0));
    let outcome = usage::replicas(current, samples, around.pods, || Ok(target), false, around.now);
    let outcome = outcome.map_err(fails)?;
    let average = shown(outcome.average, Format::Decimal);
    let status = json!({"type": "Pods",
        "pods": {"metric": source.metric, "current": {"averageValue": average}}});
    Ok(Proposal { replicas: outcome.replicas, name: format!("pods metric {name}"), status })
}

fn object(
    around: &Around<'_>,
    source: &MetricSource,
    reading: &Result<Reading, String>,
) -> Result<Proposal, Failure> {
    let (name, described) = (&source.metric.name, &source.described_object);
    let namespace = &around.hpa.metadata.namespace;
    let (value, average) = targets(source);
    let average = average.filter(|_| source.target.type_ == "AverageValue");
    let fails = |message: String| {
        let inner = match average {
            Some(_) => format!("failed to get {name} object metric: {message}"),
            None => message.clone(),
        };
        let error = format!("failed to get object metric value: {inner}");
        Failure { reason: "FailedGetObjectMetric", error, message }
    };
    let on = format!("{} {namespace}/{}", described.kind, described.name);
    let sum = total(reading)
        .map_err(|why| fails(format!("unable to get metric {name} on {on}: {why}")))?;
    let (replicas, current, proposed) = match (value, average) {
        (Some(value), _) if source.target.type_ == "Value" => {
            let replicas = by_ratio(around, sum, value).map_err(fails)?;
            (
                replicas,
                json!({"value": shown(sum, Format::Decimal)}),
                format!("{} metric {name}", described.kind),
            )
        }
        (_, Some(average)) => {
            let (replicas, each) = per_pod(around, sum, average);
            let current = json!({"averageValue": shown(each, Format::Decimal)});
            (replicas, current, external_name(source))
        }
        _ => {
            let why = "invalid object metric source: neither a value target nor an average value target was set";
            return Err(fails(why.into()));
        }
    };
    let status = json!({"type": "Object",
        "object": {"describedObject": described, "metric": source.metric, "current": current}});
    Ok(Proposal { replicas, name: proposed, status })
}

fn external(
    around: &Around<'_>,
    source: &MetricSource,
    reading: &Result<Reading, String>,
) -> Result<Proposal, Failure> {
    let (name, namespace) = (&source.metric.name, &around.hpa.metadata.namespace);
    let (value, average) = targets(source);
    let fails = |message: String| {
        let inner = match (average, value) {
            (Some(_), _) => format!("failed to get {name} external metric: {message}"),
            (None, Some(_)) => format!("failed to get external metric {name}: {message}"),
            _ => message.clone(),
        };
        let error = format!("failed to get {name} external metric value: {inner}");
        Failure { reason: "FailedGetExternalMetric", error, message }
    };
    let selector = words::selector(source.metric.selector.as_ref());
    let whole = format!("{namespace}/{name}/{selector}");
    let sum = total(reading)
        .map_err(|why| fails(format!("unable to get external metric {whole}: {why}")))?;
    let (replicas, current) = match (average, value) {
        (Some(average), _) => {
            let (replicas, each) = per_pod(around, sum, average);
            (replicas, json!({"averageValue": shown(each, Format::Decimal)}))
        }
        (None, Some(value)) => {
            let replicas = by_ratio(around, sum, value).map_err(fails)?;
            (replicas, json!({"value": shown(sum, Format::Decimal)}))
        }
        (None, None) => {
            let why = "invalid external metric source: neither a value target nor an average value target was set";
            return Err(fails(why.into()));
        }
    };
    let status =
        json!({"type": "External", "external": {"metric": source.metric, "current": current}});
    Ok(Proposal { replicas, name: external_name(source), status })
}

fn external_name(source: &MetricSource) -> String {
    let selector = words::selector(source.metric.selector.as_ref());
    format!("external metric {}({selector})", source.metric.name)
}

fn targets(source: &MetricSource) -> (Option<i64>, Option<i64>) {
    (milli(source.target.value.as_ref()), milli(source.target.average_value.as_ref()))
}

fn total(reading: &Result<Reading, String>) -> Result<i64, &str> {
    match reading {
        Ok(Reading::Series(all)) => Ok(all.iter().fold(0, |sum, it| sum.saturating_add(*it))),
        Ok(Reading::Pods(_)) => Err("no metric of an object"),
        Err(why) => Err(why),
    }
}

/// As many as bring the metric to its target, if it goes down with their number.
fn by_ratio(around: &Around<'_>, sum: i64, target: i64) -> Result<i32, String> {
    let ratio = sum as f64 / target as f64;
    let current = around.target.wanted;
    if current == 0 {
        return Ok(ratio.ceil() as i32);
    }
    if tolerance(around.hpa).covers(ratio) {
        return Ok(current);
    }
    if around.pods.is_empty() {
        let why = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {why}"));
    }
    let ready = around.pods.iter().filter(|pod| pod.status.phase == "Running" && pod.ready());
    Ok((ratio * ready.count() as f64).ceil() as i32)
}

/// As many as share the metric so that each has its target, and what each has now.
fn per_pod(around: &Around<'_>, sum: i64, target: i64) -> (i32, i64) {
    let (sum, target, there) = (sum as f64, target as f64, f64::from(around.target.there));
    let ratio = sum / (target * there);
    let replicas = match tolerance(around.hpa).covers(ratio) {
        true => around.target.there,
        false => (sum / target).ceil() as i32,
    };
    (replicas, (sum / there).ceil() as i64)
}
