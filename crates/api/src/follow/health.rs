//! How followers fare, for `skiff status` and /metrics.

use jiff::Timestamp;
use std::fmt::Write;

/// How a follower fares.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What went wrong last, if anything ever did.
    pub error: Option<String>,
    /// Everything up to this revision was taken.
    pub revision: u64,
    pub objects: usize,
    /// How many are there and cannot be read.
    pub aside: usize,
    /// How often the whole state was read.
    pub lists: u64,
    /// How many streams broke.
    pub broke: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is known yet.
    Starting,
    Live,
    /// The stream broke: what is known may be old.
    Broken,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Live => "live",
            State::Broken => "broken",
        }
    }
}

/// The healths of the followers of a reader (`caches`, `metadata`, ..), by resource, in the Prometheus text format.
pub fn figures(rows: &[(&str, String, Health)]) -> String {
    type Value = fn(&Health) -> u64;
    let figures: [(&str, &str, &str, Value); 5] = [
        ("live", "gauge", "1 while what is known of a resource is kept current.", |it| {
            u64::from(it.state == State::Live)
        }),
        ("objects", "gauge", "Objects that are known.", |it| it.objects as u64),
        ("set_aside", "gauge", "Objects that are there and cannot be read.", |it| it.aside as u64),
        ("lists_total", "counter", "Times that the whole state was read.", |it| it.lists),
        ("broke_total", "counter", "Watches that broke.", |it| it.broke),
    ];
    let mut text = String::new();
    for (name, type_, help, value) in figures {
        let name = format!("skiff_follower_{name}");
        text += &format!("# HELP {name} {help}\n# TYPE {name} {type_}\n");
        for (reader, resource, health) in rows {
            let value = value(health);
            writeln!(text, "{name}{{reader=\"{reader}\",resource=\"{resource}\"}} {value}")
                .expect("a String takes all");
        }
    }
    text
}
