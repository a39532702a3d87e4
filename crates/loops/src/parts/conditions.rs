//! Conditions of workloads: how one is set so that its times tell the truth (API reference: DeploymentCondition).

use serde_json::{Value, json};
use skiff_api::time::{Precision, format};
use skiff_base::Time;
use skiff_kinds::views::workloads::Condition;

/// A condition that begins now.
pub fn condition(sort: &str, status: &str, reason: &str, message: String, now: Time) -> Condition {
    let now = Some(whole_seconds(now));
    Condition {
        sort: sort.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        last_update_time: now,
        last_transition_time: now,
    }
}

/// The API shows whole seconds, so a status that is compared with the stored one has no others.
fn whole_seconds(time: Time) -> Time {
    Time::from_second(time.as_second()).expect("the second of a time in range is in range")
}

pub fn find<'c>(conditions: &'c [Condition], sort: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| condition.sort == sort)
}

/// Sets a condition, unless it says the same already. The time of transition moves only with the status.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = find(conditions, &new.sort) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    remove(conditions, &new.sort.clone());
    conditions.push(new);
}

pub fn remove(conditions: &mut Vec<Condition>, sort: &str) {
    conditions.retain(|condition| condition.sort != sort);
}

/// The conditions as a status holds them; none is null, which takes the field away.
pub fn json(conditions: &[Condition]) -> Value {
    if conditions.is_empty() {
        return Value::Null;
    }
    conditions.iter().map(one).collect()
}

fn one(condition: &Condition) -> Value {
    let mut value = json!({"type": condition.sort, "status": condition.status});
    let texts = [("reason", &condition.reason), ("message", &condition.message)];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        value[field] = json!(text);
    }
    let times = [
        ("lastUpdateTime", condition.last_update_time),
        ("lastTransitionTime", condition.last_transition_time),
    ];
    for (field, time) in times {
        if let Some(time) = time {
            value[field] = json!(format(time, Precision::Seconds));
        }
    }
    value
}

/// A count as a status holds it: zero is null, which takes the field away.
pub fn count(number: i32) -> Value {
    match number {
        0 => Value::Null,
        number => json!(number),
    }
}
