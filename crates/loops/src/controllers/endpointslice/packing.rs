//! Packing: which endpoint goes into which slice, so that few slices change.
//!
//! Endpoints stay where they are. New ones first fill slices that are written anyway, then one slice that takes them
//! all as tightly as possible, and at last new slices.

use super::endpoint::{Ports, order};
use skiff_kinds::views::{Endpoint, EndpointSlice};
use std::sync::Arc;

/// A slice as it should be.
pub struct Packed {
    pub was: Option<Arc<EndpointSlice>>,
    pub ports: Ports,
    pub endpoints: Vec<Endpoint>,
}

pub struct Packing {
    pub slices: Vec<Packed>,
    /// Slices with nothing in them any more.
    pub gone: Vec<Arc<EndpointSlice>>,
}

/// Packs the endpoints of one address type.
pub fn pack(
    groups: Vec<(Ports, Vec<Endpoint>)>,
    mut existing: Vec<Arc<EndpointSlice>>,
    most: usize,
) -> Packing {
    let mut packing = Packing { slices: Vec::new(), gone: Vec::new() };
    for (ports, wanted) in groups {
        let (same, rest) = existing.into_iter().partition(|slice| {
            let mut known = slice.ports.clone();
            order(&mut known);
            known == ports
        });
        existing = rest;
        pack_group(ports, wanted, same, most, &mut packing);
    }
    packing.gone.extend(existing);
    // A service always has a slice, also when it has no endpoints.
    if packing.slices.is_empty() {
        let was = (!packing.gone.is_empty()).then(|| packing.gone.remove(0));
        packing.slices.push(Packed { was, ports: Vec::new(), endpoints: Vec::new() });
    }
    // A slice that would go can as well become one that would be made.
    for new in packing.slices.iter_mut().filter(|slice| slice.was.is_none()) {
        new.was = packing.gone.pop();
    }
    packing
}

fn pack_group(
    ports: Ports,
    mut wanted: Vec<Endpoint>,
    same: Vec<Arc<EndpointSlice>>,
    most: usize,
    packing: &mut Packing,
) {
    let mut kept: Vec<Packed> = Vec::new();
    for slice in same {
        let mut endpoints = Vec::new();
        for old in &slice.endpoints {
            if let Some(at) = wanted.iter().position(|new| is_same(new, old)) {
                endpoints.push(wanted.remove(at));
            }
        }
        if endpoints.is_empty() && !slice.endpoints.is_empty() {
            packing.gone.push(slice);
        } else {
            kept.push(Packed { was: Some(slice), ports: ports.clone(), endpoints });
        }
    }
    let changed =
        |slice: &Packed| slice.was.as_ref().is_some_and(|was| was.endpoints != slice.endpoints);
    let mut touched: Vec<usize> = (0..kept.len()).filter(|i| changed(&kept[*i])).collect();
    touched.sort_by_key(|index| std::cmp::Reverse(kept[*index].endpoints.len()));
    for index in touched {
        fill(&mut kept[index], &mut wanted, most);
    }
    while !wanted.is_empty() {
        let room = |slice: &Packed| most.checked_sub(slice.endpoints.len() + wanted.len());
        let tightest = (0..kept.len())
            .filter(|index| !changed(&kept[*index]))
            .filter_map(|index| Some((room(&kept[index])?, index)))
            .min();
        let index = match tightest {
            Some((_, index)) => index,
            None => {
                kept.push(Packed { was: None, ports: ports.clone(), endpoints: Vec::new() });
                kept.len() - 1
            }
        };
        fill(&mut kept[index], &mut wanted, most);
    }
    // An empty slice stays only where it is the last one.
    let (empty, full): (Vec<_>, Vec<_>) = kept.into_iter().partition(|it| it.endpoints.is_empty());
    packing.slices.extend(full);
    packing.gone.extend(empty.into_iter().filter_map(|slice| slice.was));
}

fn fill(slice: &mut Packed, wanted: &mut Vec<Endpoint>, most: usize) {
    let room = most.saturating_sub(slice.endpoints.len()).min(wanted.len());
    slice.endpoints.extend(wanted.drain(..room));
}

/// The same pod at the same place; its conditions may have changed.
fn is_same(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |it: &Endpoint| it.target_ref.as_ref().map(|target| target.uid.clone());
    a.addresses == b.addresses
        && a.hostname == b.hostname
        && a.node_name == b.node_name
        && uid(a) == uid(b)
}
