//! Quantities: `100m`, `1.5Gi`, `2e3`. Parsing, the canonical text, comparison and sums.
//!
//! A quantity is a decimal number with the family of suffixes it was written in. Its canonical text
//! has no fraction, an exponent that is a multiple of three (or a power of 1024), and the largest
//! suffix that loses nothing. Upstream keeps the text as it was given where that is, by a cheap
//! test, canonical already; clients see the difference, so the same test is made here
//! (API reference, "Quantity"). Nothing finer than a nano-unit exists: the rest is rounded up.

use std::cmp::Ordering;
use std::fmt;

/// The family of suffixes in which a quantity shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    Binary,
    /// `12M`.
    Decimal,
}

/// A number of `unscaled * 10^scale`.
#[derive(Debug, Clone)]
pub struct Quantity {
    unscaled: i128,
    scale: i32,
    format: Format,
    /// The text as given, where it counts as canonical.
    text: Option<Box<str>>,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The finest scale that is kept.
const NANO: i32 = -9;

/// Digits that upstream's 64-bit path takes; beyond it the text is never kept as given.
const FAST_DIGITS: i32 = 18;

const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

const BINARY_SUFFIXES: [(&str, i32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let parts = Parts::split(text)?;
        let (format, exponent) = interpret(parts.suffix).ok_or(QuantityError::Suffix)?;
        match parts.fast(format, exponent, text) {
            Some(quantity) => Ok(quantity),
            None => parts.slow(format, exponent),
        }
    }

    pub fn zero() -> Quantity {
        Quantity::new(0, Format::Decimal)
    }

    pub fn new(value: i64, format: Format) -> Quantity {
        Quantity { unscaled: value.into(), scale: 0, format, text: None }
    }

    pub fn milli(value: i64, format: Format) -> Quantity {
        Quantity { unscaled: value.into(), scale: -3, format, text: None }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_zero(&self) -> bool {
        self.unscaled == 0
    }

    pub fn is_negative(&self) -> bool {
        self.unscaled < 0
    }

    /// The value in whole units, rounded away from zero; the bounds of `i64` where it does not fit.
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// The value in thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    pub fn add(&mut self, other: &Quantity) {
        self.combine(other, i128::saturating_add);
    }

    pub fn sub(&mut self, other: &Quantity) {
        self.combine(other, i128::saturating_sub);
    }

    /// As a floating point number, for scores and metrics only.
    pub fn approximate(&self) -> f64 {
        self.unscaled as f64 * 10f64.powi(self.scale)
    }

    fn combine(&mut self, other: &Quantity, operation: fn(i128, i128) -> i128) {
        if self.is_zero() {
            self.format = other.format;
        }
        let scale = self.scale.min(other.scale);
        self.unscaled = operation(rescale(self, scale), rescale(other, scale));
        self.scale = scale;
        self.text = None;
    }

    fn scaled(&self, scale: i32) -> i64 {
        let (value, _) = round_up(self.unscaled, self.scale, scale);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".into();
        }
        let (whole, exact) = round_up(self.unscaled, self.scale, 0);
        let small = self.cmp(&Quantity::new(1024, Format::Decimal)) == Ordering::Less
            && self.cmp(&Quantity::new(-1024, Format::Decimal)) == Ordering::Greater;
        match self.format {
            Format::Binary if exact && !small => binary(whole),
            Format::DecimalExponent => {
                let (number, exponent) = self.thousands();
                if exponent == 0 { number.to_string() } else { format!("{number}e{exponent}") }
            }
            Format::Binary | Format::Decimal => {
                let (number, exponent) = self.thousands();
                // Beyond exa there is no suffix, and upstream writes none.
                let suffix = DECIMAL_SUFFIXES.iter().find(|(_, it)| *it == exponent);
                format!("{number}{}", suffix.map_or("", |(suffix, _)| suffix))
            }
        }
    }

    /// The number without trailing zeros, over an exponent that is a multiple of three.
    fn thousands(&self) -> (i128, i32) {
        let (mut number, mut exponent) = (self.unscaled, self.scale);
        while number % 10 == 0 {
            number /= 10;
            exponent += 1;
        }
        while exponent % 3 != 0 {
            number = number.saturating_mul(10);
            exponent -= 1;
        }
        (number, exponent)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.min(other.scale);
        rescale(self, scale).cmp(&rescale(other, scale))
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

/// A text taken apart: sign, digits before and after the point, suffix.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    /// There is no digit at all; upstream's 64-bit path takes that for zero, the other does not.
    bare: bool,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Parts<'a>, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
        let (whole, rest) = take_digits(digits);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => take_digits(rest),
            None => ("", rest),
        };
        let tail = suffix.trim_start_matches(|it| "eEinumkKMGTP".contains(it));
        let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
        if !tail.bytes().all(|it| it.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        let number = &text[..text.len() - suffix.len()];
        let bare = !number.bytes().any(|it| it.is_ascii_digit());
        Ok(Parts { negative, whole, fraction, suffix, bare })
    }

    /// Upstream's 64-bit path, the only one that may keep the text.
    fn fast(&self, format: Format, exponent: i32, text: &str) -> Option<Quantity> {
        let digits = self.whole.len().max(1) + self.fraction.len();
        let digits = i32::try_from(digits).ok()?;
        let (room, scale, factor) = match format {
            Format::Binary if !self.fraction.is_empty() => return None,
            Format::Binary => {
                (15 - self.whole.len().max(1) as i32 - exponent * 3 / 10 - 1, 0, 1i64 << exponent)
            }
            _ => (FAST_DIGITS - digits, exponent.checked_sub(self.fraction.len() as i32)?, 1),
        };
        if room < 0 || scale < NANO {
            return None;
        }
        let whole = if self.whole.is_empty() { "0" } else { self.whole };
        let shifted = format!("{whole}{}", self.fraction);
        let value: i64 = shifted.parse().ok()?;
        let product = value.checked_mul(factor)?;
        let keep = match format {
            Format::Binary => value & 7 != 0,
            _ => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
        };
        let unscaled = i128::from(if self.negative { -product } else { product });
        Some(Quantity { unscaled, scale, format, text: (keep || text == "0").then(|| text.into()) })
    }

    fn slow(&self, mut format: Format, exponent: i32) -> Result<Quantity, QuantityError> {
        if self.bare {
            return Err(QuantityError::Number);
        }
        let digits = format!("0{}{}", self.whole, self.fraction);
        let mut unscaled: i128 = digits.parse().map_err(|_| QuantityError::Number)?;
        let mut scale = -i32::try_from(self.fraction.len()).map_err(|_| QuantityError::Number)?;
        match format {
            Format::Binary => unscaled = unscaled.saturating_mul(1i128 << exponent),
            _ => scale = scale.checked_add(exponent).ok_or(QuantityError::Number)?,
        }
        if scale < NANO {
            (unscaled, _) = round_up(unscaled, scale, NANO);
            scale = NANO;
        }
        let mut quantity = Quantity { unscaled, scale, format, text: None };
        if format == Format::Binary {
            let most = Quantity::new(i64::MAX, format);
            if quantity > most {
                quantity = most;
            }
            if !quantity.is_zero() && quantity < Quantity::new(1, format) {
                format = Format::Decimal;
            }
        }
        quantity.format = format;
        if self.negative {
            quantity.unscaled = -quantity.unscaled;
        }
        Ok(quantity)
    }
}

fn take_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len()))
}

fn interpret(suffix: &str) -> Option<(Format, i32)> {
    let found = |table: &[(&str, i32)]| table.iter().find(|it| it.0 == suffix).map(|it| it.1);
    if let Some(exponent) = found(&DECIMAL_SUFFIXES) {
        return Some((Format::Decimal, exponent));
    }
    if let Some(exponent) = found(&BINARY_SUFFIXES) {
        return Some((Format::Binary, exponent));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((Format::DecimalExponent, exponent.parse().ok()?))
}

/// `value * 10^from` at the coarser or finer scale `to`, rounded away from zero; exact or not.
fn round_up(value: i128, from: i32, to: i32) -> (i128, bool) {
    if from >= to {
        return (grow(value, from - to), true);
    }
    let Some(divisor) = 10i128.checked_pow(to.abs_diff(from)) else {
        return (value.signum(), value == 0);
    };
    let (quotient, rest) = (value / divisor, value % divisor);
    (quotient + rest.signum(), rest == 0)
}

fn rescale(quantity: &Quantity, scale: i32) -> i128 {
    grow(quantity.unscaled, quantity.scale - scale)
}

/// `value * 10^power`, or the bound in its direction.
fn grow(value: i128, power: i32) -> i128 {
    match 10i128.checked_pow(power.unsigned_abs()) {
        Some(factor) => value.saturating_mul(factor),
        None if value == 0 => 0,
        None if value < 0 => i128::MIN,
        None => i128::MAX,
    }
}

fn binary(mut number: i128) -> String {
    let mut power = 0;
    while number % 1024 == 0 {
        number /= 1024;
        power += 10;
    }
    let suffix = BINARY_SUFFIXES.iter().find(|(_, it)| *it == power);
    format!("{number}{}", suffix.map_or("", |(suffix, _)| suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_order() {
        let parse = |text| Quantity::parse(text).expect("a quantity");
        let mut sum = parse("1");
        sum.add(&parse("500m"));
        assert_eq!(sum.to_string(), "1500m");
        sum.sub(&parse("2"));
        assert_eq!(sum.to_string(), "-500m");
        let mut memory = Quantity::zero();
        memory.add(&parse("1Gi"));
        memory.add(&parse("512Mi"));
        assert_eq!(memory.to_string(), "1536Mi");
        assert_eq!(parse("1.5").value(), 2);
        assert_eq!(parse("1.5").milli_value(), 1500);
        assert!(parse("1Ki") > parse("1k") && parse("1e3") == parse("1k"));
        assert!(parse("-1") < parse("1n") && parse("100Ei") > parse("1"));
        assert_eq!(parse("1m").value(), 1);
    }

    /// Recorded: what upstream 1.37 answers for each text.
    #[test]
    fn texts_as_upstream_writes_them() {
        let mut checked = 0;
        let mut wrong = Vec::new();
        for line in include_str!("../data/recorded/quantities.txt").lines() {
            let (given, wanted) = line.split_once('\t').expect("two columns");
            let got = match Quantity::parse(given.trim()) {
                Ok(it) => it.to_string(),
                Err(error) => format!("error: {error}"),
            };
            if got != wanted {
                wrong.push(format!("{given:?}: {got}, upstream {wanted}"));
            }
            checked += 1;
        }
        assert!(wrong.is_empty(), "{} differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
        assert!(checked > 1000, "{checked}");
    }
}
