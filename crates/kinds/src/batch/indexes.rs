//! Sets of completion indexes, as texts of intervals: `1,3-5,7` (API reference: JobStatus.completedIndexes).
//!
//! A million indexes that are done are one interval, so whatever is asked costs as much as there are intervals.

/// Intervals in rising order; both ends belong to them, and no two touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads a text that was checked before: what is wrong in it is left out, and what is beyond `completions`.
    pub fn read(text: &str, completions: i64) -> Indexes {
        let mut all = Indexes::default();
        for interval in text.split(',').filter(|interval| !interval.is_empty()) {
            let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
            let (Ok(first), Ok(last)) = (first.parse(), last.parse::<i64>()) else { continue };
            if first < completions {
                all.append(first, last.min(completions - 1));
            }
        }
        all
    }

    /// Reads a text of a user: how many indexes it names, or what is wrong with it.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn check(text: &str, completions: i64) -> Result<i64, String> {
        let (mut previous, mut total) = (None, 0);
        for text in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = interval(text, completions)?;
            if let Some(previous) = previous.filter(|previous| *previous >= first) {
                return Err(format!(
                    "non-increasing order, previous: {previous}, current: {first}"
                ));
            }
            total += last - first + 1;
            previous = Some(last);
        }
        Ok(total)
    }

    fn append(&mut self, first: i64, last: i64) {
        match self.0.last_mut() {
            Some(end) if first <= end.1 + 1 => end.1 = end.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// These and those.
    pub fn with(&self, others: &Indexes) -> Indexes {
        let mut intervals: Vec<_> = self.0.iter().chain(&others.0).copied().collect();
        intervals.sort_unstable();
        let mut all = Indexes::default();
        intervals.into_iter().for_each(|(first, last)| all.append(first, last));
        all
    }

    /// How many.
    pub fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both.
    pub fn common(&self, others: &Indexes) -> i64 {
        let (mut mine, mut theirs, mut total) = (&self.0[..], &others.0[..], 0);
        while let ([a, after_a @ ..], [b, after_b @ ..]) = (mine, theirs) {
            total += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            match a.1 <= b.1 {
                true => mine = after_a,
                false => theirs = after_b,
            }
        }
        total
    }

    pub fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// The first `count` indexes below `completions` that are not among these.
    pub fn missing(&self, count: usize, completions: i64) -> Vec<i64> {
        let (mut found, mut next) = (Vec::new(), 0);
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            found.extend((next..first.min(completions)).take(count - found.len()));
            next = last + 1;
        }
        found
    }
}

impl FromIterator<i64> for Indexes {
    fn from_iter<I: IntoIterator<Item = i64>>(indexes: I) -> Indexes {
        let mut indexes: Vec<i64> = indexes.into_iter().collect();
        indexes.sort_unstable();
        let mut all = Indexes::default();
        indexes.into_iter().for_each(|index| all.append(index, index));
        all
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// One interval of a user's text.
fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let ends: Vec<&str> = text.split('-').collect();
    if ends.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts \
             separated by '-'"
        ));
    }
    let number = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
    };
    let first = number(ends[0])?;
    let Some(last) = ends.get(1) else { return Ok((first, first)) };
    let last = number(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

/// The first index that is in both of two texts, in the order in which they are gone through.
pub fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|text| interval(text, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut mine, mut theirs) = (&completed[..], &failed[..]);
    while let ([a, after_a @ ..], [b, after_b @ ..]) = (mine, theirs) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        match a.0 <= b.0 {
            true => mine = after_a,
            false => theirs = after_b,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compressed_and_read() {
        let all: Indexes = [5, 1, 3, 4, 9, 8, 3].into_iter().collect();
        assert_eq!(all.to_string(), "1,3-5,8,9");
        assert_eq!(Indexes::read("1,3-5,8,9", 9).to_string(), "1,3-5,8");
        assert_eq!((all.total(), all.has(4), all.has(6), all.has(10)), (6, true, false, false));
        assert_eq!(all.missing(3, 100), [0, 2, 6]);
        assert_eq!(all.missing(3, 3), [0, 2]);
        assert_eq!(Indexes::default().missing(2, 1_000_000), [0, 1]);
        assert_eq!(all.with(&Indexes::read("2,6-7", 100)).to_string(), "1-9");
        assert_eq!(all.common(&Indexes::read("0-3,9", 100)), 3);
    }

    #[test]
    fn texts_of_users_are_checked() {
        let check = |text: &str| match Indexes::check(text, 10) {
            Ok(total) => total.to_string(),
            Err(why) => why,
        };
        assert_eq!(check(""), "0");
        assert_eq!(check("0,2-4,9"), "5");
        assert_eq!(
            check("1-2-3"),
            "the fragment \"1-2-3\" violates the requirement that an index interval can have \
            at most two parts separated by '-'"
        );
        assert_eq!(check("a"), "cannot convert string to integer for index: \"a\"");
        assert_eq!(check("10"), "too large index: \"10\"");
        assert_eq!(check("3-2"), "non-increasing order, previous: 3, current: 2");
        assert_eq!(check("3,3"), "non-increasing order, previous: 3, current: 3");
        assert_eq!(overlap("0-3,7", "4-6,7-9", 10), Some(7));
        assert_eq!(overlap("0-3", "4", 10), None);
    }
}
