//! The options of pods/log (API reference: `PodLogOptions`): read, checked, and written for the
//! node. Pure.

use crate::request::Request;
use crate::request::url::Query;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::status::About;
use skiff_api::wire::encode;

/// The query that the node gets.
pub fn read(request: &Request) -> Result<String, Status> {
    check(&request.query, &request.resource.name)
}

fn check(query: &Query, pod: &str) -> Result<String, Status> {
    let tail = number(query, "tailLines")?;
    let limit = number(query, "limitBytes")?;
    let since = number(query, "sinceSeconds")?;
    let time = query.get("sinceTime");
    if let Some(text) = time
        && text.parse::<skiff_base::Time>().is_err()
    {
        let layout = "2006-01-02T15:04:05Z07:00";
        return Err(Status::bad_request(format!(
            "parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\""
        )));
    }
    let mut errors = Errors::new();
    if tail.is_some_and(|n| n < 0) {
        let why = "must be greater than or equal to 0";
        errors.invalid(&Path::new("tailLines"), tail, why);
    }
    if limit.is_some_and(|n| n < 1) {
        errors.invalid(&Path::new("limitBytes"), limit, "must be greater than 0");
    }
    match (since, time) {
        (Some(_), Some(_)) => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.forbidden(&Path::new("[]"), why);
        }
        (Some(n), _) if n < 1 => {
            errors.invalid(&Path::new("sinceSeconds"), n, "must be greater than 0");
        }
        _ => {}
    }
    if query.get("stream").is_some() {
        errors.forbidden(&Path::new("stream"), "may not be specified");
    }
    if !errors.is_empty() {
        let about = About { group: "", resource: "PodLogOptions" };
        return Err(Status::invalid(about, pod, &errors));
    }
    let mut out = Vec::new();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            out.push(format!("{flag}=true"));
        }
    }
    for key in ["tailLines", "limitBytes", "sinceSeconds", "sinceTime"] {
        if let Some(value) = query.get(key) {
            out.push(format!("{key}={}", encode(value)));
        }
    }
    Ok(out.join("&"))
}

fn number(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.get(key) else { return Ok(None) };
    let wrong = |why| Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": {why}"));
    text.parse().map(Some).map_err(|error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            wrong("value out of range")
        }
        _ => wrong("invalid syntax"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn options_are_checked_in_known_words() {
        let mut out = String::new();
        for query in [
            "container=a&follow=true&tailLines=5&previous=false",
            "sinceTime=2026-01-01T00:00:00%2B02:00&timestamps=true",
            "tailLines=-1&sinceSeconds=-1&limitBytes=0",
            "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
            "tailLines=x",
            "sinceTime=x",
            "stream=Stdout",
        ] {
            let line = match check(&Query::parse(query), "p") {
                Ok(query) => format!("ok {query}"),
                Err(status) => format!("{} {}", status.code, status.message),
            };
            out += &format!("{line}\n");
        }
        expect![[r#"
            ok follow=true&tailLines=5
            ok timestamps=true&sinceTime=2026-01-01T00%3A00%3A00%2B02%3A00
            422 PodLogOptions "p" is invalid: [tailLines: Invalid value: -1: must be greater than or equal to 0, limitBytes: Invalid value: 0: must be greater than 0, sinceSeconds: Invalid value: -1: must be greater than 0]
            422 PodLogOptions "p" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified
            400 strconv.ParseInt: parsing "x": invalid syntax
            400 parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"
            422 PodLogOptions "p" is invalid: stream: Forbidden: may not be specified
        "#]]
        .assert_eq(&out);
    }
}
