//! `/metrics` in the Prometheus text format: what is limited, and how full each limit is.

use crate::Server;
use std::fmt::Write;

pub fn text(server: &Server) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, rows: &[(String, f64)]| {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge").expect("writing to a String cannot fail");
        for (labels, value) in rows {
            writeln!(out, "{name}{labels} {value}").expect("writing to a String cannot fail");
        }
    };
    let [reads, writes, long] = server.limits.running();
    let kind = |kind: &str, n: usize| (format!("{{request_kind=\"{kind}\"}}"), n as f64);
    gauge(
        "apiserver_current_inflight_requests",
        "Requests that run now, by the limit they count against.",
        &[kind("readOnly", reads), kind("mutating", writes), kind("longRunning", long)],
    );
    for (name, value) in server.store.stats().figures() {
        gauge(&format!("skiff_store_{name}"), "See the store's Stats.", &[(String::new(), value)]);
    }
    out
}
