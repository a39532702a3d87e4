//! `/metrics` in the Prometheus text format: what was asked, what is limited, and how full each limit is.

use crate::Server;
use crate::render::shared;
use crate::rim::limit::{CONNECTIONS_MOST, LONG_MOST, Refused};
use skiff_base::Lock;
use skiff_store::Histogram;
use std::fmt::Write;

/// Counters, gauges and histograms of the server and its store.
pub fn text(server: &Server) -> String {
    let mut page = Page::default();
    page.requests(server);
    page.limits(server);
    server.fairness.figures(&mut page);
    page.renditions([("watch", server.watched.figures()), ("list", server.asked.figures())]);
    let stats = server.store.stats();
    for (name, help, value) in [
        ("records", "Objects in the store.", stats.records as f64),
        ("record_bytes", "Bytes of the newest bodies in memory.", stats.record_bytes as f64),
        ("window_events", "Events in memory for watches.", stats.window_events as f64),
        ("window_bytes", "Bytes of those events.", stats.window_bytes as f64),
        ("watches", "Watches that are open.", stats.watches as f64),
        ("watch_queued", "Events that wait for a watcher.", stats.watch_queued as f64),
        ("watch_behind_total", "How often a watcher outran its queue.", stats.watch_behind as f64),
        ("commit_queued", "Writes that wait for the disk.", stats.commit_queued as f64),
        ("commit_queued_bytes", "Bytes of those writes.", stats.commit_queued_bytes as f64),
        ("disk_bytes", "Bytes of the log's files.", stats.disk_bytes as f64),
        ("full", "1 while the disk is full.", f64::from(u8::from(stats.full))),
    ] {
        let name = format!("skiff_store_{name}");
        page.head(&name, "gauge", help);
        page.row(&name, "", value);
    }
    page.histogram(
        "skiff_store_commit_us",
        "Microseconds until a group is durable.",
        &stats.commit_us,
    );
    page.histogram("skiff_store_group_writes", "Writes that share an fsync.", &stats.group_writes);
    page.unreadable(server);
    server.webhooks.figures(&mut page);
    server.policies.figures(&mut page);
    page.0 + &server.aggregator.figures() + &followers(server) + &server.figures.text()
}

/// How what the server itself follows fares.
fn followers(server: &Server) -> String {
    let rights = server.authorizer.health();
    let mut rows: Vec<_> = rights
        .into_iter()
        .map(|(resource, health)| ("rbac", resource.to_owned(), health))
        .collect();
    let fairness = server.fairness.health().into_iter();
    rows.extend(fairness.map(|(resource, health)| ("fairness", resource.to_owned(), health)));
    rows.push(("server", "customresourcedefinitions".to_owned(), server.customs.health()));
    rows.push(("server", "apiservices".to_owned(), server.aggregator.health()));
    let policies = server.policies.health().into_iter();
    rows.extend(policies.map(|(of, health)| ("policies", of.to_owned(), health)));
    rows.extend(server.webhooks.health().map(|(of, health)| ("webhooks", of.to_owned(), health)));
    skiff_api::follow::figures(&rows)
}

/// Figures of other parts of the process, which the server knows nothing of.
#[derive(Default)]
pub struct Figures(Lock<Vec<Box<dyn Fn() -> String + Send + Sync>>>);

impl Figures {
    pub fn add(&self, text: impl Fn() -> String + Send + Sync + 'static) {
        self.0.lock().push(Box::new(text));
    }

    fn text(&self) -> String {
        let all = self.0.lock();
        all.iter().map(|text| text()).collect()
    }
}

/// The page, as it grows.
#[derive(Default)]
pub struct Page(String);

impl Page {
    /// What it says so far.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.0.clone()
    }

    fn requests(&mut self, server: &Server) {
        let name = "apiserver_request_total";
        let help = "[STABLE] Counter of apiserver requests by verb, dry run, group, version, resource, \
                    subresource, scope, component and HTTP response code.";
        self.head(name, "counter", help);
        for ((labels, code), count) in server.requests.answered() {
            self.row(name, &format!("code=\"{code}\",{labels}"), count as f64);
        }
        let name = "apiserver_longrunning_requests";
        self.head(name, "gauge", "[STABLE] Long-running requests (watch, exec, log) that run now.");
        for (labels, count) in server.requests.running() {
            self.row(name, &format!("{labels:#}"), count as f64);
        }
    }

    fn unreadable(&mut self, server: &Server) {
        let name = "skiff_unreadable_objects";
        self.head(name, "gauge", "Stored objects that cannot be read, by resource.");
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for key in server.reader.unreadable.present(&*server.store) {
            *counts.entry(key.split('/').next().unwrap_or("").to_owned()).or_default() += 1;
        }
        for (resource, count) in counts {
            self.row(name, &format!("resource=\"{resource}\""), f64::from(count));
        }
    }

    fn limits(&mut self, server: &Server) {
        let limits = &server.limits;
        let name = "apiserver_current_inflight_requests";
        self.head(name, "gauge", "[STABLE] Requests that run now and end soon.");
        for (kind, running) in ["readOnly", "mutating"].iter().zip(server.fairness.running()) {
            self.row(name, &format!("request_kind=\"{kind}\""), running as f64);
        }
        self.head("skiff_longrunning", "gauge", "Long-running requests that run now.");
        self.row("skiff_longrunning", "", limits.long() as f64);
        self.head("skiff_longrunning_limit", "gauge", "How many of them may run.");
        self.row("skiff_longrunning_limit", "", LONG_MOST as f64);
        self.head("skiff_connections", "gauge", "Connections that are open.");
        self.row("skiff_connections", "", limits.connected() as f64);
        self.head("skiff_connections_limit", "gauge", "How many of them may be; others wait.");
        self.row("skiff_connections_limit", "", CONNECTIONS_MOST as f64);
        let (held, most) = limits.bodies();
        self.head("skiff_body_bytes", "gauge", "Bytes of request bodies that are held now.");
        self.row("skiff_body_bytes", "", held as f64);
        self.head("skiff_body_bytes_limit", "gauge", "How many may be, and one body more.");
        self.row("skiff_body_bytes_limit", "", most as f64);
        self.head("skiff_guests", "gauge", "Connections of peers who have not said who they are.");
        self.row("skiff_guests", "", limits.guests() as f64);
        let name = "skiff_refused_total";
        self.head(name, "counter", "Requests and connections turned away, by limit.");
        for (limit, count) in Refused::NAMES.iter().zip(limits.refused()) {
            self.row(name, &format!("limit=\"{limit}\""), count as f64);
        }
    }

    fn renditions(&mut self, figures: [(&str, shared::Figures); 2]) {
        let name = "skiff_renditions_total";
        let help = "Views of records that were asked for, by for what and where they were from.";
        self.head(name, "counter", help);
        for (usage, figures) in &figures {
            self.row(name, &format!("for=\"{usage}\",from=\"made\""), figures.made as f64);
            self.row(name, &format!("for=\"{usage}\",from=\"kept\""), figures.found as f64);
        }
        type Of = fn(&shared::Figures) -> usize;
        let gauges: [(&str, &str, Of); 2] = [
            ("skiff_rendition_bytes", "Bytes of renditions that are kept.", |it| it.bytes),
            ("skiff_rendition_bytes_limit", "How many may be.", |it| it.most),
        ];
        for (name, help, of) in gauges {
            self.head(name, "gauge", help);
            for (usage, figures) in &figures {
                self.row(name, &format!("for=\"{usage}\""), of(figures) as f64);
            }
        }
    }

    pub fn head(&mut self, name: &str, type_: &str, help: &str) {
        self.line(&format!("# HELP {name} {help}\n# TYPE {name} {type_}"));
    }

    pub fn row(&mut self, name: &str, labels: &str, value: f64) {
        match labels {
            "" => self.line(&format!("{name} {value}")),
            labels => self.line(&format!("{name}{{{labels}}} {value}")),
        }
    }

    /// Bucket i of the store's histograms counts values below 2^i.
    fn histogram(&mut self, name: &str, help: &str, of: &Histogram) {
        self.head(name, "histogram", help);
        let mut sum = 0;
        let below = of.buckets.iter().enumerate().map(|(i, count)| {
            sum += count;
            (((1u64 << i) - 1) as f64, sum)
        });
        let below: Vec<(f64, u64)> = below.collect();
        self.buckets(name, "", &below, of.count, of.sum as f64);
    }

    /// One histogram of those with this name: how many values were at each bound or below it.
    pub fn buckets(
        &mut self,
        name: &str,
        labels: &str,
        below: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, below) in below {
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            self.row(&format!("{name}_bucket"), &labels, *below as f64);
        }
        let all = format!("{labels}{comma}le=\"+Inf\"");
        self.row(&format!("{name}_bucket"), &all, count as f64);
        self.row(&format!("{name}_sum"), labels, sum);
        self.row(&format!("{name}_count"), labels, count as f64);
    }

    fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").expect("writing to a String cannot fail");
    }
}
