//! Conditions: how one is set so that its times tell the truth (API reference: Condition).

use skiff_base::Time;
use skiff_kinds::views::Condition;

/// A condition that begins now.
pub fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    now: Time,
) -> Condition {
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_update_time: None,
        observed_generation: None,
        last_transition_time: Some(whole_seconds(now)),
    }
}

/// The API shows whole seconds, so a status that is compared with the stored one has no others.
pub fn whole_seconds(time: Time) -> Time {
    Time::from_second(time.as_second()).expect("the second of a time in range is in range")
}

pub fn find<'c>(conditions: &'c [Condition], type_: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Sets a condition in its place, or as the last one. The time of transition moves only with the status, and nothing
/// moves where it says the same already.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        return conditions.push(new);
    };
    let same = |a: &Condition, b: &Condition| {
        (&a.status, &a.reason, &a.message, a.observed_generation)
            == (&b.status, &b.reason, &b.message, b.observed_generation)
    };
    if same(old, &new) {
        return;
    }
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time;
    }
    *old = new;
}

pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_transition_moves_with_the_status() {
        let at = |second| Time::from_second(second).expect("a time");
        let mut all = Vec::new();
        let mut check = |status: &str, message: &str, second, since| {
            set(&mut all, condition("Ready", status, "Because", message, at(second)));
            let found = find(&all, "Ready").expect("it was set");
            assert_eq!((&*found.message, found.last_transition_time), (message, Some(at(since))));
        };
        check("True", "one", 1, 1);
        check("True", "one", 2, 1);
        check("True", "two", 3, 1);
        check("False", "two", 4, 4);
        set(&mut all, condition("Other", "True", "", "", at(5)));
        set(&mut all, condition("Ready", "True", "", "", at(6)));
        assert_eq!(all.iter().map(|it| &*it.type_).collect::<Vec<_>>(), ["Ready", "Other"]);
        remove(&mut all, "Ready");
        assert_eq!(all.len(), 1);
    }
}
