//! Quality of service of a pod, and the sums of what it asks for (concepts: "Pod Quality of Service
//! Classes"; KEP-753 for sidecars). Pure.

use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, Quantities};

/// What a pod asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Requests {
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Requests {
    pub fn and(self, more: Requests) -> Requests {
        let milli_cpu = self.milli_cpu.saturating_add(more.milli_cpu);
        let memory = self.memory.saturating_add(more.memory);
        Requests { milli_cpu, memory }
    }

    pub fn without(self, less: Requests) -> Requests {
        let milli_cpu = self.milli_cpu.saturating_sub(less.milli_cpu);
        let memory = self.memory.saturating_sub(less.memory);
        Requests { milli_cpu, memory }
    }

    pub fn within(self, most: Requests) -> bool {
        self.milli_cpu <= most.milli_cpu && self.memory <= most.memory
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Pod) -> &'static str {
    if let Some(own) = &pod.spec.resources
        && !(own.requests.is_empty() && own.limits.is_empty())
    {
        return of([(&own.requests, &own.limits)].into_iter());
    }
    let all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    of(all.map(|c| (&c.resources.requests, &c.resources.limits)))
}

fn of<'a>(all: impl Iterator<Item = (&'a Quantities, &'a Quantities)>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for (requests, limits) in all {
        for name in ["cpu", "memory"] {
            let positive =
                |from: &Quantities| from.get(name).map(|q| q.milli_value()).filter(|v| *v > 0);
            let (request, limit) = (positive(requests), positive(limits));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

fn milli(container: &Container, name: &str) -> i64 {
    let (requests, limits) = (&container.resources.requests, &container.resources.limits);
    requests.get(name).or_else(|| limits.get(name)).map_or(0, |amount| amount.milli_value())
}

/// Quantities go up to the end of 64 bits, and sums of them no further.
fn total(amounts: impl IntoIterator<Item = i64>) -> i64 {
    amounts.into_iter().fold(0, i64::saturating_add)
}

/// The greater of what runs together at the end and what any init container needs beside the
/// sidecars that run before it, or the pod's own word (KEP-2837).
pub fn requests(pod: &Pod) -> Requests {
    let sum = |name| {
        let main = total(pod.spec.containers.iter().map(|c| milli(c, name)));
        let (mut sidecars, mut most) = (0_i64, 0);
        for init in &pod.spec.init_containers {
            if init.is_sidecar() {
                sidecars = sidecars.saturating_add(milli(init, name));
                most = most.max(sidecars);
            } else {
                most = most.max(sidecars.saturating_add(milli(init, name)));
            }
        }
        let own = pod.spec.resources.as_ref().and_then(|own| own.requests.get(name));
        let all = own.map_or(main.saturating_add(sidecars).max(most), |own| own.milli_value());
        all.saturating_add(pod.spec.overhead.get(name).map_or(0, |amount| amount.milli_value()))
    };
    Requests { milli_cpu: sum("cpu"), memory: sum("memory") / 1000 }
}

/// The pod's limit in thousandths, if every container has one.
pub fn limit(pod: &Pod, name: &str) -> Option<i64> {
    let of =
        |c: &Container| c.resources.limits.get(name).map(|q| q.milli_value()).filter(|v| *v > 0);
    let all =
        |them: &mut dyn Iterator<Item = &Container>| them.map(of).collect::<Option<Vec<i64>>>();
    let main = total(all(&mut pod.spec.containers.iter())?);
    let mut sidecars = pod.spec.init_containers.iter().filter(|c| c.is_sidecar());
    let sidecars = total(all(&mut sidecars)?);
    let mut inits = pod.spec.init_containers.iter().filter(|c| !c.is_sidecar());
    let inits = all(&mut inits)?;
    Some(main.saturating_add(sidecars).max(inits.into_iter().max().unwrap_or(0)))
}
