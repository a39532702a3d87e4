//! Judging: whether what a write uses more is left in every quota that limits it, and in whose words it is refused.
//! Pure.

use skiff_api::quantity::Quantity;
use skiff_kinds::quota::{Use, increase};
use skiff_kinds::views::ResourceQuota;
use skiff_kinds::views::pod::Quantities;
use std::collections::BTreeSet;

/// A write that is to be charged.
pub struct Ask {
    pub after: Use,
    /// What the object used as it is there; none of a new one.
    pub before: Option<Use>,
    /// It is charged even beyond the limit.
    pub counted: bool,
}

/// What a write uses of a quota, which has been judged: nothing, or these amounts.
pub fn share(quota: &ResourceQuota, ask: &Ask) -> Result<Option<Quantities>, String> {
    let (none, name) = (Quantities::default(), &quota.metadata.name);
    let hard = quota.status.hard.as_ref().unwrap_or(&none);
    if !ask.after.is_within(quota, hard) {
        return Ok(None);
    }
    let limited = ask.after.type_.counted(hard.iter().map(|(name, _)| name));
    if let Some(lacks) = ask.after.lacks(&limited) {
        return Err(format!("failed quota: {name}: {lacks}"));
    }
    let used = quota.status.used.as_ref().unwrap_or(&none);
    if limited.iter().any(|name| used.get(name).is_none()) {
        let resources = names(&limited);
        return Err(format!("status unknown for quota: {name}, resources: {resources}"));
    }
    let below: BTreeSet<&str> =
        ask.after.amounts.iter().filter(|(_, it)| it.is_negative()).map(|(name, _)| name).collect();
    if !below.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", names(&below)));
    }
    let before = ask.before.as_ref().filter(|before| before.is_within(quota, hard));
    let mut more = match before {
        Some(before) => increase(&ask.after.amounts, &before.amounts),
        None => ask.after.amounts.clone(),
    };
    more.0.retain(|name, amount| !amount.is_zero() && hard.get(name).is_some());
    if more.is_empty() {
        return Ok(None);
    }
    let mut sum = used.clone();
    sum.add(&more);
    let exceeded = |name: &&str| match (sum.get(name), hard.get(name)) {
        (Some(sum), Some(most)) => sum > most,
        _ => false,
    };
    let exceeded: Vec<&str> = more.iter().map(|(name, _)| name).filter(exceeded).collect();
    if exceeded.is_empty() || ask.counted {
        return Ok(Some(more));
    }
    let told = |amounts: &Quantities| {
        let amount = |name: &str| amounts.get(name).cloned().unwrap_or_else(Quantity::zero);
        let each = exceeded.iter().map(|name| format!("{name}={}", amount(name)));
        each.collect::<Vec<_>>().join(",")
    };
    let (wanted, used, most) = (told(&more), told(used), told(hard));
    Err(format!("exceeded quota: {name}, requested: {wanted}, used: {used}, limited: {most}"))
}

fn names(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(",")
}
