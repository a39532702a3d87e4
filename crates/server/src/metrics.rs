//! `/metrics` in the Prometheus text format: what is limited, and how full each limit is.

use crate::Server;
use skiff_store::Histogram;
use std::fmt::Write;

/// Gauges and histograms of the server and its store.
pub fn text(server: &Server) -> String {
    let mut page = Page(String::new());
    let [reads, writes, long] = server.limits.running();
    let rows = [("readOnly", reads), ("mutating", writes), ("longRunning", long)];
    page.head("apiserver_current_inflight_requests", "gauge", "Requests that run now, by limit.");
    for (kind, running) in rows {
        page.row(
            "apiserver_current_inflight_requests",
            &format!("request_kind=\"{kind}\""),
            running as f64,
        );
    }
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
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, sort: &str, help: &str) {
        self.line(&format!("# HELP {name} {help}\n# TYPE {name} {sort}"));
    }

    fn row(&mut self, name: &str, labels: &str, value: f64) {
        match labels {
            "" => self.line(&format!("{name} {value}")),
            labels => self.line(&format!("{name}{{{labels}}} {value}")),
        }
    }

    /// Bucket i of the store's histograms counts values below 2^i.
    fn histogram(&mut self, name: &str, help: &str, of: &Histogram) {
        self.head(name, "histogram", help);
        let mut sum = 0;
        for (i, count) in of.buckets.iter().enumerate() {
            sum += count;
            self.row(&format!("{name}_bucket"), &format!("le=\"{}\"", (1u64 << i) - 1), sum as f64);
        }
        self.row(&format!("{name}_bucket"), "le=\"+Inf\"", of.count as f64);
        self.row(&format!("{name}_sum"), "", of.sum as f64);
        self.row(&format!("{name}_count"), "", of.count as f64);
    }

    fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").expect("writing to a String cannot fail");
    }
}
