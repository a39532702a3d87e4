//! Metrics: what the three APIs of metrics say now. They are asked through the API like anything else; who answers them
//! is somebody's affair whom the API leads to.

use crate::Context;
use skiff_api::Status;
use skiff_api::duration;
use skiff_api::object::{at, int, list, text};
use skiff_api::quantity::Quantity;
use skiff_api::selector::Selector;
use skiff_api::wire::encode;
use skiff_base::Time;
use skiff_json::Value;
use skiff_kinds::views::autoscaler::{Metric, MetricName, MetricSource, TargetRef};
use std::collections::BTreeMap;
use std::time::Duration;

const RESOURCES: &str = "/apis/metrics.k8s.io/v1beta1";
const CUSTOM: &str = "/apis/custom.metrics.k8s.io";
const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1";
/// What a custom metric stands for, where it does not say.
const WINDOW: Duration = Duration::from_secs(60);

/// What one metric says, in thousandths.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Of each pod.
    Pods(BTreeMap<String, Sample>),
    /// Of an object, or of several series.
    Series(Vec<i64>),
}

/// What a pod used over the time that ended then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub at: Time,
    pub window: Duration,
    pub milli: i64,
}

/// # Errors
/// Why it says nothing, in the words that users read.
pub async fn read(
    cx: &Context,
    namespace: &str,
    metric: &Metric,
    pods: &str,
) -> Result<Reading, String> {
    let none = MetricSource::default();
    let source = |source: &'_ Option<MetricSource>| source.clone().unwrap_or_else(|| none.clone());
    match &*metric.type_ {
        "Resource" => of_resource(cx, namespace, &source(&metric.resource), pods).await,
        "ContainerResource" => {
            of_resource(cx, namespace, &source(&metric.container_resource), pods).await
        }
        "Pods" => of_pods(cx, namespace, &source(&metric.pods).metric, pods).await,
        "Object" => of_object(cx, namespace, &source(&metric.object)).await,
        "External" => of_series(cx, namespace, &source(&metric.external).metric).await,
        other => Err(format!("unknown metric source type {other:?}")),
    }
}

async fn of_resource(
    cx: &Context,
    namespace: &str,
    source: &MetricSource,
    pods: &str,
) -> Result<Reading, String> {
    let failed = |why: String| format!("unable to fetch metrics from resource metrics API: {why}");
    let path = format!("{RESOURCES}/namespaces/{namespace}/pods");
    let answer = cx.client.query(&path, &format!("labelSelector={}", encode(pods))).await;
    let answer = answer.map_err(|status| failed(refused(&status, "pods.metrics.k8s.io")))?;
    let items = list(&answer, "items");
    if items.is_empty() {
        return Err("no metrics returned from resource metrics API".into());
    }
    let sample = |item: &Value| {
        let used = used(item, &source.name, &source.container)?;
        let window = duration::parse(text(item, "window")).ok();
        let window = window.and_then(|nanos| u64::try_from(nanos).ok());
        let window = Duration::from_nanos(window.unwrap_or(0));
        let at = text(item, "timestamp").parse().unwrap_or(Time::UNIX_EPOCH);
        Some((text(item, "metadata.name").to_owned(), Sample { at, window, milli: used }))
    };
    Ok(Reading::Pods(items.iter().filter_map(sample).collect()))
}

/// What a pod uses in all its containers, or in one; `None` while that is not known of each.
fn used(pod: &Value, resource: &str, container: &str) -> Option<i64> {
    let mut all = list(pod, "containers").iter();
    let of = |it: &Value| milli(it.get("usage")?.get(resource)?);
    match container {
        "" if all.len() == 0 => None,
        "" => all.try_fold(0_i64, |sum, it| Some(sum.saturating_add(of(it)?))),
        name => of(all.find(|it| text(it, "name") == name)?),
    }
}

fn milli(quantity: &Value) -> Option<i64> {
    Some(Quantity::parse(quantity.as_str()?).ok()?.milli_value())
}

async fn of_pods(
    cx: &Context,
    namespace: &str,
    metric: &MetricName,
    pods: &str,
) -> Result<Reading, String> {
    let pods = format!("labelSelector={}&", encode(pods));
    let items = custom(cx, &format!("namespaces/{namespace}/pods/*"), metric, &pods).await?;
    if items.is_empty() {
        return Err("no metrics returned from custom metrics API".into());
    }
    let sample = |item: &Value| {
        let window = int(item, "windowSeconds").and_then(|s| u64::try_from(s).ok());
        let window = window.map_or(WINDOW, Duration::from_secs);
        let at = text(item, "timestamp").parse().unwrap_or(Time::UNIX_EPOCH);
        let name = text(item, "describedObject.name").to_owned();
        Some((name, Sample { at, window, milli: milli(at_value(item)?)? }))
    };
    Ok(Reading::Pods(items.iter().filter_map(sample).collect()))
}

fn at_value(item: &Value) -> Option<&Value> {
    at(item, "value")
}

async fn of_object(
    cx: &Context,
    namespace: &str,
    source: &MetricSource,
) -> Result<Reading, String> {
    let TargetRef { kind, name, .. } = &source.described_object;
    let group = source.described_object.group();
    let place = match (&**kind, group) {
        ("Namespace", "") => format!("namespaces/{namespace}/metrics"),
        _ => {
            let kinds = cx.kinds.now();
            let found = kinds.kinds().iter().find(|it| it.kind == *kind && it.group == group);
            let none = || format!("no matches for kind {kind:?} in group {group:?}");
            let resource = found.ok_or_else(none).map_err(custom_failed)?.about().qualified();
            format!("namespaces/{namespace}/{resource}/{name}")
        }
    };
    let items = custom(cx, &place, &source.metric, "").await?;
    let [one] = &items[..] else {
        let count = items.len();
        return Err(custom_failed(format!("expected exactly one value, got {count}")));
    };
    let value = at_value(one).and_then(milli).ok_or_else(|| custom_failed("no value".into()))?;
    Ok(Reading::Series(vec![value]))
}

fn custom_failed(why: String) -> String {
    format!("unable to fetch metrics from custom metrics API: {why}")
}

async fn custom(
    cx: &Context,
    place: &str,
    metric: &MetricName,
    pods: &str,
) -> Result<Vec<Value>, String> {
    let group = cx.client.get_path(CUSTOM).await.map_err(|status| match status.code {
        404 => custom_failed("no custom metrics API (custom.metrics.k8s.io) registered".into()),
        _ => custom_failed(status.message),
    })?;
    let version = text(&group, "preferredVersion.groupVersion");
    let path = format!("/apis/{version}/{place}/{}", encode(&metric.name));
    let query = format!("{pods}metricLabelSelector={}", encode(&labels(metric)?));
    let answer = cx.client.query(&path, &query).await;
    let answer = answer.map_err(|status| custom_failed(status.message))?;
    Ok(list(&answer, "items").to_vec())
}

async fn of_series(cx: &Context, namespace: &str, metric: &MetricName) -> Result<Reading, String> {
    let name = encode(&metric.name);
    let path = format!("{EXTERNAL}/namespaces/{namespace}/{name}");
    let query = format!("labelSelector={}", encode(&labels(metric)?));
    let resource = format!("{}.external.metrics.k8s.io", metric.name);
    let failed = |status: Status| {
        let why = refused(&status, &resource);
        format!("unable to fetch metrics from external metrics API: {why}")
    };
    let answer = cx.client.query(&path, &query).await.map_err(failed)?;
    let items = list(&answer, "items");
    if items.is_empty() {
        return Err("no metrics returned from external metrics API".into());
    }
    Ok(Reading::Series(items.iter().filter_map(|it| milli(at_value(it)?)).collect()))
}

fn labels(metric: &MetricName) -> Result<String, String> {
    match &metric.selector {
        None => Ok(String::new()),
        Some(selector) => Selector::from_object(Some(selector)).map(|it| it.to_string()),
    }
}

/// Clients know of no such list, where there is none.
fn refused(status: &Status, resource: &str) -> String {
    match status.code {
        404 => format!("the server could not find the requested resource (get {resource})"),
        _ => status.message.clone(),
    }
}
