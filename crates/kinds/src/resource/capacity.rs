//! Capacity that several claims share: how much of it each may ask for (KEP-5075).

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{at, quantity};
use skiff_api::quantity::{Format, Quantity};
use skiff_json::Value;

const OPTIONS_MOST: usize = 10;

/// `whole` is the capacity of the device.
pub fn policy(whole: &str, policy: &Value, path: &Path, errors: &mut Errors) {
    let Ok(whole) = Quantity::parse(whole) else { return };
    let (options, range) = (list(policy, "validValues"), at(policy, "validRange"));
    let default = quantity(policy, "default");
    let (field, range) = match (options, range) {
        ([], None) => return,
        ([], Some(range)) => ("validRange", Some(range)),
        (_, None) => ("validValues", None),
        (_, Some(_)) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the \
                       same time";
            return errors.forbidden(path, why);
        }
    };
    let Some(default) = default else {
        let why = format!("required when {field} is defined");
        return errors.required(&path.child("default"), &why);
    };
    match range {
        Some(range) => valid_range(&default, &whole, range, &path.child(field), errors),
        None => valid_values(&default, &whole, options, &path.child(field), errors),
    }
}

fn valid_values(
    default: &Quantity,
    whole: &Quantity,
    options: &[Value],
    path: &Path,
    errors: &mut Errors,
) {
    let parsed = |value: &Value| Quantity::parse(value.as_str()?).ok();
    let options: Vec<Quantity> = options.iter().filter_map(parsed).collect();
    for (index, pair) in options.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let why = "values must be sorted in ascending order";
        errors.invalid(&path.index(index + 1), pair[1].to_string(), why);
    }
    if at_most(path, options.len(), OPTIONS_MOST, errors) {
        for (index, option) in options.iter().enumerate().filter(|(_, option)| *option > whole) {
            let why = format!("option is larger than capacity value: {whole}");
            errors.invalid(&path.index(index), option.to_string(), &why);
        }
        for (index, option) in options.iter().enumerate() {
            if options[..index].contains(option) {
                errors.duplicate(&path.index(index), decimal(option));
            }
        }
    }
    if !options.contains(default) {
        let why = "default value is not valid according to the requestPolicy";
        errors.invalid(path, default.to_string(), why);
    }
}

/// As upstream names an option that stands twice: without a suffix.
fn decimal(option: &Quantity) -> String {
    Quantity::new(option.value(), Format::Decimal).value().to_string()
}

fn valid_range(
    default: &Quantity,
    whole: &Quantity,
    range: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    let [min, max, step] = ["min", "max", "step"].map(|field| quantity(range, field));
    let Some(min) = min else {
        return errors.required(&path.child("min"), "required when validRange is defined");
    };
    let mut refuse = |field: &str, value: &Quantity, why: String| {
        errors.invalid(&path.child(field), value.to_string(), &why);
    };
    if min > *whole {
        refuse("min", &min, format!("min is larger than capacity value: {whole}"));
    }
    if *default < min {
        refuse("default", default, format!("default is less than min: {min}"));
    }
    if let Some(max) = &max {
        if min > *max {
            refuse("max", &min, format!("min is larger than max: {max}"));
        }
        if max > whole {
            refuse("max", max, format!("max is larger than capacity value: {whole}"));
        }
        if default > max {
            refuse("default", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = step else { return };
    if step.is_negative() || step.is_zero() {
        return refuse("step", &step, "must be greater than zero".into());
    }
    let mut one = min.clone();
    one.add(&step);
    if one > *whole {
        let why = format!("one step {one} is larger than capacity value: {whole}");
        refuse("step", &step, why);
    }
    for value in [Some(default), max.as_ref()].into_iter().flatten() {
        if !steps(value, &min, &step) {
            let why = format!("value is not a multiple of a given step ({step}) from ({min})");
            refuse("step", value, why);
        }
    }
}

/// Whether whole steps lead from the least to this value; in thousandths, as far as they can be told.
fn steps(value: &Quantity, min: &Quantity, step: &Quantity) -> bool {
    let milli = |it: &Quantity| i128::from(it.milli_value());
    (milli(value) - milli(min)) % milli(step).max(1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(given: Value) -> String {
        let mut errors = Errors::new();
        policy("10Gi", &given, &Path::new("p"), &mut errors);
        errors.text()
    }

    #[test]
    fn ranges_and_values() {
        assert_eq!(
            check(json!({"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi"}})),
            "[]"
        );
        assert_eq!(
            check(json!({"default": "1Gi", "validRange": {"min": "2Gi", "max": "11Gi"}})),
            "[p.validRange.default: Invalid value: \"1Gi\": default is less than min: 2Gi, \
             p.validRange.max: Invalid value: \"11Gi\": max is larger than capacity value: 10Gi]"
        );
        assert_eq!(
            check(json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "1Gi"]})),
            "[p.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order, \
             p.validValues[2]: Duplicate value: \"1073741824\", \
             p.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy]"
        );
        assert!(check(json!({"validValues": ["1"]})).contains("p.default: Required value"));
    }
}
