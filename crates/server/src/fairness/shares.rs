//! Shares: how many seats each level has, by its shares of all of them, and how many it has for now, when those that
//! need few lend to those that need many (KEP-1040, "Dispatching with borrowing"). Pure.

use super::demand::Figures;

/// Where a target is smaller, this one counts: proportions need something to be proportional to.
const TARGET_LEAST: f64 = 0.001;
const EPSILON: f64 = 1e-7;

/// What the object of a level says about seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    pub exempt: bool,
    pub shares: u32,
    pub lendable_percent: u32,
    /// None: as much as there is.
    pub borrowing_percent: Option<u32>,
}

/// The seats of a level.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seats {
    pub nominal: u32,
    pub least: u32,
    pub most: u32,
    /// What it has for now.
    pub current: u32,
    /// What it was to get if there was enough for all.
    pub target: f64,
}

impl Seats {
    /// Seats by shares; each level's are rounded up, so that all together may be a few more than there are.
    pub fn of(said: &Said, shares: u32, total: u32) -> Seats {
        let share = f64::from(said.shares) / f64::from(shares.max(1));
        let nominal = (f64::from(total) * share).ceil() as u32;
        let part = |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
        let lendable = part(said.lendable_percent).min(nominal);
        let borrowed = said.borrowing_percent.map_or(total, part);
        Seats {
            nominal,
            least: nominal - lendable,
            most: nominal.saturating_add(borrowed),
            current: nominal - lendable / 2,
            target: 0.0,
        }
    }
}

/// Deals all seats out by what each level needed lately, and says which part of its target everybody gets.
pub fn adjust(levels: &mut [(Said, Figures, &mut Seats)]) -> f64 {
    let mut left: i64 = levels.iter().map(|(.., seats)| i64::from(seats.nominal)).sum();
    let total = left;
    let needs = |figures: &Figures, seats: &Seats| seats.least.max(seats.nominal.min(figures.high));
    // Whoever is exempt takes what he needs, and the others have the rest.
    for (_, figures, seats) in levels.iter_mut().filter(|(said, ..)| said.exempt) {
        seats.current = seats.least.max(figures.high);
        left -= i64::from(seats.current);
    }
    let mut others: Vec<_> = levels.iter_mut().filter(|(said, ..)| !said.exempt).collect();
    let sum = |of: &dyn Fn(&Figures, &Seats) -> u32| -> i64 {
        others.iter().map(|(_, figures, seats)| i64::from(of(figures, seats))).sum()
    };
    let (least, needed) = (sum(&|_, seats| seats.least), sum(&needs));
    let bounds: Vec<Bounds> = others
        .iter()
        .map(|(_, figures, seats)| {
            let low = f64::from(needs(figures, seats));
            Bounds { low, high: f64::from(seats.most), target: figures.smoothed.max(low) }
        })
        .collect();
    let fair = match left {
        left if left <= needed => None,
        _ => allocate(total as f64, &bounds),
    };
    let share = (left - least) as f64 / (needed - least).max(1) as f64;
    for (at, (_, figures, seats)) in others.iter_mut().enumerate() {
        seats.target = bounds[at].target;
        seats.current = match &fair {
            Some((allocated, _)) => allocated[at].round() as u32,
            // There is no fair way: everybody keeps what he has.
            None if left > needed => seats.current,
            None if left <= least => seats.least,
            None => {
                let more = f64::from(needs(figures, seats) - seats.least) * share;
                seats.least + more.round() as u32
            }
        };
    }
    fair.map_or(0.0, |(_, fraction)| fraction)
}

/// What one may get, and what it would like.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    low: f64,
    high: f64,
    target: f64,
}

/// Deals `sum` out so that everybody gets the same fraction of its target, but for those whose bounds are in the way;
/// with the fraction. None where the bounds leave no way.
fn allocate(sum: f64, all: &[Bounds]) -> Option<(Vec<f64>, f64)> {
    let target = |it: &Bounds| it.target.max(TARGET_LEAST);
    let get = |fraction: f64| -> Vec<f64> {
        all.iter().map(|it| (fraction * target(it)).min(it.high).max(it.low)).collect()
    };
    let (low, high): (f64, f64) =
        (all.iter().map(|it| it.low).sum(), all.iter().map(|it| it.high).sum());
    if low - sum > EPSILON || sum - high > EPSILON || all.iter().any(|it| it.high < it.low) {
        return None;
    }
    // What everybody gets together grows with the fraction, by the targets of those who are between their bounds.
    let mut turns: Vec<f64> =
        all.iter().flat_map(|it| [it.low / target(it), it.high / target(it)]).collect();
    turns.sort_by(f64::total_cmp);
    let (mut fraction, mut reached) = (turns.first().copied().unwrap_or(0.0), low);
    for turn in turns {
        let between =
            |it: &&Bounds| it.low / target(it) <= fraction && fraction < it.high / target(it);
        let slope: f64 = all.iter().filter(between).map(target).sum();
        if slope > 0.0 && reached + (turn - fraction) * slope >= sum {
            fraction += (sum - reached) / slope;
            break;
        }
        reached += (turn - fraction) * slope;
        fraction = turn;
    }
    Some((get(fraction), fraction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fmt::Write;

    fn said(shares: u32, lendable_percent: u32) -> Said {
        Said { shares, lendable_percent, ..Said::default() }
    }

    /// The levels that every cluster begins with.
    fn bootstrap() -> Vec<(&'static str, Said)> {
        vec![
            ("catch-all", said(5, 0)),
            ("exempt", Said { exempt: true, ..Said::default() }),
            ("global-default", said(20, 50)),
            ("leader-election", said(10, 0)),
            ("node-high", said(40, 25)),
            ("system", said(30, 33)),
            ("workload-high", said(40, 50)),
            ("workload-low", said(100, 90)),
        ]
    }

    fn check(needs: &[(&str, u32)], expected: expect_test::Expect) {
        let levels = bootstrap();
        let shares = levels.iter().map(|(_, said)| said.shares).sum();
        let mut seats: Vec<Seats> =
            levels.iter().map(|(_, said)| Seats::of(said, shares, 600)).collect();
        let figures = |name: &str| {
            let high = needs.iter().find(|(of, _)| *of == name).map_or(0, |(_, high)| *high);
            Figures { high, smoothed: f64::from(high), ..Figures::default() }
        };
        let mut all: Vec<_> = levels
            .iter()
            .zip(&mut seats)
            .map(|((name, said), seats)| (*said, figures(name), seats))
            .collect();
        let fraction = adjust(&mut all);
        let mut out = format!("fraction {fraction:.4}\n");
        for ((name, _), it) in levels.iter().zip(&seats) {
            let Seats { nominal, least, most, current, .. } = it;
            writeln!(out, "{name} {least}..{nominal}..{most}: {current}").expect("a String");
        }
        expected.assert_eq(&out);
    }

    #[test]
    fn seats_go_where_they_are_needed() {
        check(
            &[],
            expect![[r#"
            fraction 2.3333
            catch-all 13..13..613: 30
            exempt 0..0..600: 0
            global-default 24..49..649: 56
            leader-election 25..25..625: 58
            node-high 73..98..698: 170
            system 50..74..674: 117
            workload-high 49..98..698: 114
            workload-low 24..245..845: 56
        "#]],
        );
        check(
            &[("workload-low", 1000)],
            expect![[r#"
            fraction 0.3680
            catch-all 13..13..613: 13
            exempt 0..0..600: 0
            global-default 24..49..649: 24
            leader-election 25..25..625: 25
            node-high 73..98..698: 73
            system 50..74..674: 50
            workload-high 49..98..698: 49
            workload-low 24..245..845: 368
        "#]],
        );
        check(
            &[("workload-low", 1000), ("node-high", 98), ("exempt", 30)],
            expect![[r#"
            fraction 0.3430
            catch-all 13..13..613: 13
            exempt 0..0..600: 30
            global-default 24..49..649: 24
            leader-election 25..25..625: 25
            node-high 73..98..698: 98
            system 50..74..674: 50
            workload-high 49..98..698: 49
            workload-low 24..245..845: 343
        "#]],
        );
        check(
            &[("exempt", 400), ("workload-low", 245)],
            expect![[r#"
            fraction 0.0000
            catch-all 13..13..613: 13
            exempt 0..0..600: 400
            global-default 24..49..649: 24
            leader-election 25..25..625: 25
            node-high 73..98..698: 73
            system 50..74..674: 50
            workload-high 49..98..698: 49
            workload-low 24..245..845: 24
        "#]],
        );
        check(
            &[("exempt", 700)],
            expect![[r#"
            fraction 0.0000
            catch-all 13..13..613: 13
            exempt 0..0..600: 700
            global-default 24..49..649: 24
            leader-election 25..25..625: 25
            node-high 73..98..698: 73
            system 50..74..674: 50
            workload-high 49..98..698: 49
            workload-low 24..245..845: 24
        "#]],
        );
    }

    #[test]
    fn bounds_that_leave_no_way_are_none() {
        let one = |low, high, target| Bounds { low, high, target };
        assert!(allocate(10.0, &[one(11.0, 20.0, 15.0)]).is_none());
        assert!(allocate(10.0, &[one(1.0, 5.0, 5.0)]).is_none());
        let (got, fraction) =
            allocate(10.0, &[one(0.0, 2.0, 10.0), one(0.0, 20.0, 10.0)]).expect("there is one");
        assert_eq!((got, fraction), (vec![2.0, 8.0], 0.8));
    }
}
