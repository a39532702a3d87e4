//! What is wrong with the rules of a definition: their words, their expressions, and what they could
//! cost together (KEP-2876, "Resource constraints").

use skiff_api::schema::fault::{Fault, Reason};
use skiff_json::Value as Json;

use crate::decl::{Decl, Place};
use crate::rules::{Envs, MOST_PARTS, Rule, Rules, no_room};
use crate::run::{Budget, DEFINITION_ESTIMATE_LIMIT, ESTIMATE_LIMIT};

const KEY: &str = "x-kubernetes-validations";
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// How many of the most expensive rules are named.
const NAMED: usize = 4;

/// The faults of all rules of a schema that stands at `path`. `sound` are the places whose schema has no fault itself:
/// elsewhere only the words of rules are looked at.
pub fn check(schema: &Json, path: &str, sound: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut check =
        Check { sound: &sound, faults: Vec::new(), total: 0, parts: 0, expensive: Vec::new() };
    let place = Place::Root;
    let spot = Spot { path: path.to_string(), place, often: Some(1), changing: None };
    check.place(schema, spot);
    check.total_cost(path);
    check.faults
}

/// What rules say of the defaults beside or above them, in a schema that has no fault else. Each default is judged as
/// written over itself and then as new, within one budget.
pub fn defaults(schema: &Json, path: &str) -> Vec<Fault> {
    let (mut faults, mut budget) = (Vec::new(), Budget::of_request());
    default(schema, Place::Root, path, &mut budget, &mut faults);
    faults
}

fn default(schema: &Json, place: Place, path: &str, budget: &mut Budget, faults: &mut Vec<Fault>) {
    if let Some(value) = schema.get("default").filter(|it| !it.is_null())
        && budget.left > 0
        && let Some(rules) = Rules::of(schema, place)
    {
        let (at, mut again) = (format!("{path}.default"), *budget);
        let mut found = rules.faults(&at, value, Some(value), budget);
        if found.is_empty() {
            found = rules.faults(&at, value, None, &mut again);
            budget.left = budget.left.min(again.left);
        }
        faults.extend(found);
    }
    if schema["items"].is_object() {
        let it = &schema["items"];
        default(it, Place::of(it), &format!("{path}.items"), budget, faults);
    }
    for (name, it) in schema["properties"].as_object().into_iter().flatten() {
        default(it, Place::of(it), &format!("{path}.properties[{name}]"), budget, faults);
    }
}

/// A place of a schema.
struct Spot {
    path: String,
    place: Place,
    /// How often it may occur in an object; none where nothing bounds that.
    often: Option<u64>,
    /// The place above from which on old values cannot be told.
    changing: Option<String>,
}

struct Check<'a> {
    sound: &'a dyn Fn(&str) -> bool,
    faults: Vec<Fault>,
    total: u64,
    parts: usize,
    expensive: Vec<(u64, String)>,
}

impl Check<'_> {
    /// Checks a place and those below it; whether the words of its rules are sound.
    fn place(&mut self, schema: &Json, spot: Spot) -> bool {
        let mut sound = (self.sound)(&spot.path);
        let elements = |often: Option<u64>, key: &str| {
            let most = schema[key].as_i64().map(|it| it.max(0) as u64);
            often.zip(most).map(|(often, most)| often.saturating_mul(most))
        };
        let below = |name: &str, often, changing| Spot {
            path: format!("{}.{name}", spot.path),
            place: Place::of(&schema[name]),
            often,
            changing,
        };
        if schema["additionalProperties"].is_object() {
            let often = elements(spot.often, "maxProperties");
            let below = below("additionalProperties", often, spot.changing.clone());
            sound &= self.place(&schema["additionalProperties"], below);
        }
        for (name, it) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{}.properties[{name}]", spot.path);
            let changing = spot.changing.clone();
            sound &=
                self.place(it, Spot { path, place: Place::of(it), often: spot.often, changing });
        }
        if schema["items"].is_object() {
            let keyed = schema["x-kubernetes-list-type"] == "map";
            let changing = spot.changing.clone().or_else(|| (!keyed).then(|| spot.path.clone()));
            let below = below("items", elements(spot.often, "maxItems"), changing);
            sound &= self.place(&schema["items"], below);
        }
        let rules = schema[KEY].as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, rule) in rules.iter().enumerate() {
            let path = format!("{}.{KEY}[{index}]", spot.path);
            let before = self.faults.len();
            self.words(rule, schema, &path);
            sound &= self.faults.len() == before;
        }
        if sound && !rules.is_empty() {
            self.expressions(rules, schema, &spot);
        }
        sound
    }

    /// What a rule says beside its expressions.
    fn words(&mut self, rule: &Json, schema: &Json, path: &str) {
        let text = |key: &str| rule[key].as_str().unwrap_or_default();
        let broken = |text: &str| text.contains(['\n', '\r']);
        let at = |key: &str| format!("{path}.{key}");
        let (message, said) = (text("message"), text("message").trim());
        if text("rule").trim().is_empty() {
            self.faults.push(Fault::required(at("rule"), "rule is not specified"));
        } else if !message.is_empty() && said.is_empty() {
            let why = "must be non-empty if specified";
            self.faults.push(Fault::invalid(at("message"), &message.into(), why));
        } else if broken(said) {
            let why = "must not contain line breaks";
            self.faults.push(Fault::invalid(at("message"), &message.into(), why));
        } else if broken(text("rule").trim()) && said.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            self.faults.push(Fault::required(at("message"), why));
        }
        let expression = text("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            self.faults.push(Fault::required(at("messageExpression"), why));
        }
        if let Some(reason) = rule["reason"].as_str().filter(|it| !REASONS.contains(it)) {
            let allowed = REASONS.map(str::to_string);
            self.faults.push(Fault::not_supported(at("reason"), &reason.into(), &allowed));
        }
        let field = text("fieldPath");
        let mut refuse =
            |why: &str| self.faults.push(Fault::invalid(at("fieldPath"), &field.into(), why));
        if !field.is_empty() {
            if field.trim().is_empty() {
                refuse("must be non-empty if specified");
            }
            if broken(field) {
                refuse("must not contain line breaks");
            }
            if field_path(field, schema).is_none() {
                refuse("must be a valid path");
            }
        }
    }

    fn expressions(&mut self, rules: &[Json], schema: &Json, spot: &Spot) {
        // Its type is called the same wherever it stands.
        let Some(decl) = Decl::of(schema, spot.place, "selfType") else {
            let message = "Internal error: internal error: failed to construct type information \
                           for x-kubernetes-validations rules: unable to convert structural schema \
                           to CEL declarations";
            let (path, message) = (format!("{}.{KEY}", spot.path), message.to_string());
            self.faults.push(Fault { path, reason: Reason::Internal, message });
            return;
        };
        let envs = Envs::of(&decl);
        let often = spot.often.unwrap_or_else(|| decl.cardinality());
        for (index, said) in rules.iter().enumerate() {
            if self.parts > MOST_PARTS {
                return;
            }
            let rule = Rule::of(said, schema, &envs);
            self.parts += rule.parts();
            let path = format!("{}.{KEY}[{index}]", spot.path);
            let at = format!("{path}.rule");
            match &rule.program {
                Some(Ok(program)) => {
                    let cost = program.estimate().max.saturating_mul(often);
                    self.cost(&at, cost, "estimated rule cost");
                }
                Some(Err(why)) => self.faults.push(wrong(&at, said, why)),
                None => {}
            }
            let at = format!("{path}.messageExpression");
            match &rule.message {
                Some(Ok(program)) => {
                    let cost = program.estimate().max;
                    self.cost(&at, cost, "estimated messageExpression cost");
                }
                Some(Err(why)) => self.faults.push(wrong(&at, said, why)),
                None => {}
            }
            self.old(said, &rule, &path, spot);
        }
    }

    fn old(&mut self, said: &Json, rule: &Rule, path: &str, spot: &Spot) {
        match (rule.uses_old(), &spot.changing, said["optionalOldSelf"].as_bool()) {
            (true, Some(above), _) => {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within \
                     {above}"
                );
                self.faults.push(Fault::invalid(format!("{path}.rule"), &said["rule"], &why));
            }
            (false, _, Some(set)) => {
                let why = "may not be set if oldSelf is not used in rule";
                let at = format!("{path}.optionalOldSelf");
                self.faults.push(Fault::invalid(at, &set.into(), why));
            }
            _ => {}
        }
    }

    fn cost(&mut self, path: &str, cost: u64, name: &str) {
        if cost > ESTIMATE_LIMIT {
            self.faults.push(Fault::forbidden(path, &exceeds(name, cost, ESTIMATE_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= DEFINITION_ESTIMATE_LIMIT / 100 {
            self.expensive.push((cost, path.to_string()));
        }
    }

    fn total_cost(&mut self, path: &str) {
        if self.parts > MOST_PARTS {
            self.faults.push(Fault::forbidden(path, &no_room()));
        }
        if self.total <= DEFINITION_ESTIMATE_LIMIT {
            return;
        }
        self.expensive.sort_by_key(|it| std::cmp::Reverse(it.0));
        for (_, path) in self.expensive.iter().take(NAMED) {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire \
                       OpenAPIv3 schema";
            self.faults.push(Fault::forbidden(path, why));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let why = exceeds(name, self.total, DEFINITION_ESTIMATE_LIMIT);
        self.faults.push(Fault::forbidden(path, &why));
    }
}

/// A rule that is wrong is shown whole, with the fields of upstream's own type.
fn wrong(path: &str, rule: &Json, why: &str) -> Fault {
    let text = |key: &str| {
        let text = Json::from(rule[key].as_str().unwrap_or_default()).to_string();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let shown = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\
         \"OptionalOldSelf\":{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        rule["reason"],
        text("fieldPath"),
        rule["optionalOldSelf"]
    );
    let message = format!("Invalid value: {shown}: {why}");
    Fault { path: path.to_string(), reason: Reason::Invalid, message }
}

fn exceeds(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        _ if factor > 100.0 => "more than 100x".to_string(),
        _ if factor < 1.5 => format!("{factor:.6}x"),
        _ => format!("{factor:.1}x"),
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding \
         maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A path below a place (`.a['b.c']`) as errors write it (`a[b.c]`); none if the schema has no such place.
pub fn field_path(path: &str, schema: &Json) -> Option<String> {
    let (mut rest, mut place, mut made) = (path, schema, String::new());
    while !rest.is_empty() {
        let name = if let Some(after) = rest.strip_prefix("['") {
            let end = (0..after.len()).find(|at| {
                after.as_bytes()[*at] == b'\'' && (*at == 0 || after.as_bytes()[*at - 1] != b'\\')
            })?;
            rest = after[end + 1..].strip_prefix(']')?;
            unescaped(&after[..end])?
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            rest = &after[end..];
            after[..end].to_string()
        };
        if place["properties"].as_object().is_some_and(|it| !it.is_empty()) {
            place = place["properties"].get(&name)?;
            made.push_str(if made.is_empty() { "" } else { "." });
            made.push_str(&name);
        } else if place["additionalProperties"].is_object() {
            place = &place["additionalProperties"];
            made.push_str(&format!("[{name}]"));
        } else {
            return None;
        }
    }
    Some(made)
}

fn unescaped(text: &str) -> Option<String> {
    let (mut made, mut chars) = (String::new(), text.chars());
    while let Some(it) = chars.next() {
        made.push(match it {
            '\\' => match chars.next()? {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                other @ ('\'' | '\\') => other,
                _ => return None,
            },
            other => other,
        });
    }
    Some(made)
}
