//! The difference of two texts as lines of a unified diff, as messages about refused updates end with it.
//!
//! The matching is Ratcliff and Obershelp's: the longest common run of lines, then the same on both sides of it. Lines
//! that stand in more than a hundredth of a long text begin no run, which is what makes it quick.

use std::collections::HashMap;

/// Lines around a change that are shown too.
const CONTEXT: usize = 3;
/// From so many lines on, frequent ones begin no run.
const LONG: usize = 200;

/// A run of lines that is the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// What became of a stretch: lines `a..a_end` of the first became `b..b_end` of the second.
#[derive(Debug, Clone, Copy)]
struct Step {
    same: bool,
    a: usize,
    a_end: usize,
    b: usize,
    b_end: usize,
}

/// The hunks, without a header of file names; empty when the texts are equal.
pub fn unified(a: &str, b: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('\n').collect(), b.split('\n').collect());
    let mut out = String::new();
    for group in groups(&steps(&a, &b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let head =
            format!("@@ -{} +{} @@\n", range(first.a, last.a_end), range(first.b, last.b_end));
        out.push_str(&head);
        for step in &group {
            let mut put = |mark: &str, lines: &[&str]| {
                lines.iter().for_each(|line| out.push_str(&format!("{mark}{line}\n")));
            };
            if step.same {
                put(" ", &a[step.a..step.a_end]);
            } else {
                put("-", &a[step.a..step.a_end]);
                put("+", &b[step.b..step.b_end]);
            }
        }
    }
    out
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        len => format!("{},{len}", start + 1),
    }
}

fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let (mut steps, mut i, mut j) = (Vec::new(), 0, 0);
    for run in runs(a, b) {
        if i < run.a || j < run.b {
            steps.push(Step { same: false, a: i, a_end: run.a, b: j, b_end: run.b });
        }
        (i, j) = (run.a + run.len, run.b + run.len);
        if run.len > 0 {
            steps.push(Step { same: true, a: run.a, a_end: i, b: run.b, b_end: j });
        }
    }
    steps
}

/// All common runs, in order, and an empty one at the end.
fn runs(a: &[&str], b: &[&str]) -> Vec<Run> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if b.len() >= LONG {
        places.retain(|_, found| found.len() <= b.len() / 100 + 1);
    }
    let mut found = Vec::new();
    let mut open = vec![(0, a.len(), 0, b.len())];
    while let Some((a0, a1, b0, b1)) = open.pop() {
        let run = longest(a, b, &places, (a0, a1, b0, b1));
        if run.len == 0 {
            continue;
        }
        found.push(run);
        if a0 < run.a && b0 < run.b {
            open.push((a0, run.a, b0, run.b));
        }
        if run.a + run.len < a1 && run.b + run.len < b1 {
            open.push((run.a + run.len, a1, run.b + run.len, b1));
        }
    }
    found.sort_unstable();
    let mut merged: Vec<Run> = Vec::new();
    for run in found {
        match merged.last_mut() {
            Some(last) if last.a + last.len == run.a && last.b + last.len == run.b => {
                last.len += run.len
            }
            _ => merged.push(run),
        }
    }
    merged.push(Run { a: a.len(), b: b.len(), len: 0 });
    merged
}

fn longest(
    a: &[&str],
    b: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    (a0, a1, b0, b1): (usize, usize, usize, usize),
) -> Run {
    let mut best = Run { a: a0, b: b0, len: 0 };
    // The length of the run that ends at each line of b and at the line of a before this one.
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for (i, line) in a.iter().enumerate().take(a1).skip(a0) {
        let mut next = HashMap::new();
        for &j in places.get(line).map_or(&[][..], Vec::as_slice) {
            if j < b0 {
                continue;
            }
            if j >= b1 {
                break;
            }
            let len = if j == 0 { 1 } else { lengths.get(&(j - 1)).copied().unwrap_or(0) + 1 };
            next.insert(j, len);
            if len > best.len {
                best = Run { a: i + 1 - len, b: j + 1 - len, len };
            }
        }
        lengths = next;
    }
    while best.a > a0 && best.b > b0 && a[best.a - 1] == b[best.b - 1] {
        best = Run { a: best.a - 1, b: best.b - 1, len: best.len + 1 };
    }
    while best.a + best.len < a1
        && best.b + best.len < b1
        && a[best.a + best.len] == b[best.b + best.len]
    {
        best.len += 1;
    }
    best
}

/// Steps in groups with at most so much unchanged around and between them.
fn groups(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut steps = steps.to_vec();
    if steps.iter().all(|step| step.same) {
        return Vec::new();
    }
    if let Some(first) = steps.first_mut().filter(|step| step.same) {
        first.a = first.a.max(first.a_end.saturating_sub(CONTEXT));
        first.b = first.b.max(first.b_end.saturating_sub(CONTEXT));
    }
    if let Some(last) = steps.last_mut().filter(|step| step.same) {
        last.a_end = last.a_end.min(last.a + CONTEXT);
        last.b_end = last.b_end.min(last.b + CONTEXT);
    }
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    for mut step in steps {
        if step.same && step.a_end - step.a > 2 * CONTEXT {
            let head = Step { a_end: step.a + CONTEXT, b_end: step.b + CONTEXT, ..step };
            group.push(head);
            groups.push(std::mem::take(&mut group));
            (step.a, step.b) = (step.a_end - CONTEXT, step.b_end - CONTEXT);
        }
        group.push(step);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_their_surroundings() {
        let a = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12";
        let b = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11\n12\n13";
        let wanted = "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -10,3 +10,4 @@\n 10\n 11\n 12\n+13\n";
        assert_eq!(unified(a, b), wanted);
        assert_eq!(unified(a, a), "");
    }
}
