//! GET /containerLogs: the log of a container as text, to its present end or as it grows.
//!
//! Here the options are read and a container without a log is explained; [`crate::logs`] reads it.

use super::reply::{self, Reply, refuse};
use super::{Api, Doors, Place, Query, Run, Text};
use crate::logs::Options;
use http::{Response, StatusCode};
use skiff_base::Time;
use skiff_kinds::views::pod::{ContainerStatus, Pod};
use skiff_runtime::Error;

/// Answers with the log or says why there is none.
pub async fn answer(api: &Api, place: Place, query: &Query) -> Response<Reply> {
    let options = match options(query, api.world.now()) {
        Ok(options) => options,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let Some(pod) = api.doors.pod(&place.namespace, &place.pod) else {
        let why = format!("pod \"{}\" in namespace \"{}\" not found", place.pod, place.namespace);
        return refuse(StatusCode::NOT_FOUND, why);
    };
    if !has(&pod, &place.container) {
        let Place { namespace, pod, container } = &place;
        let why = format!("container \"{container}\" not found in pod \"{pod}_{namespace}\"");
        return refuse(StatusCode::NOT_FOUND, why);
    }
    match find(&*api.doors, &pod, &place, query.flag("previous"), options).await {
        Ok(text) => reply::stream(text),
        Err((code, why)) => refuse(code, why),
    }
}

/// Whether a pod has a container of this name: the name becomes part of a path.
fn has(pod: &Pod, container: &str) -> bool {
    let spec = &pod.spec;
    let all = spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
    all.map(|it| &*it.name).any(|name| name == container)
}

fn options(query: &Query, now: Time) -> Result<Options, String> {
    let number = |key: &str| match query.get(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("{key} is no number that makes sense: {text:?}")),
    };
    let seconds = number("sinceSeconds")?.and_then(|s| i64::try_from(s).ok());
    let since = match (seconds, query.get("sinceTime")) {
        (Some(seconds), _) => now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok(),
        (None, Some(text)) => {
            Some(text.parse().map_err(|_| format!("sinceTime is no time: {text:?}"))?)
        }
        (None, None) => None,
    };
    let stream = match query.get("stream") {
        Some("Stdout") => Some("stdout"),
        Some("Stderr") => Some("stderr"),
        _ => None,
    };
    Ok(Options {
        follow: query.flag("follow") && !query.flag("previous"),
        tail: number("tailLines")?,
        since,
        timestamps: query.flag("timestamps"),
        limit_bytes: number("limitBytes")?,
        only: stream,
        ..Options::default()
    })
}

/// The log, or why there is none, in the words that users know.
async fn find(
    doors: &dyn Doors,
    pod: &Pod,
    place: &Place,
    previous: bool,
    options: Options,
) -> Result<Text, (StatusCode, String)> {
    let (container, name) = (&place.container, &place.pod);
    let status = status(pod, container);
    let crashed = status.is_some_and(|status| {
        let (now, last) = (&status.state, &status.last_state);
        now.running.is_none() && now.terminated.is_none() && last.terminated.is_some()
    });
    let before = status.is_some_and(|status| status.last_state.terminated.is_some());
    let not_there = || {
        let why =
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        (StatusCode::BAD_REQUEST, why)
    };
    if previous && !before {
        return Err(not_there());
    }
    // A container that waits to be started again has its newest run behind it.
    let run = if previous && !crashed { Run::Previous } else { Run::Newest };
    let found =
        doors.log(place, &pod.metadata.uid, run, options).await.map_err(|error| match error {
            Error::NotFound(what) => (StatusCode::NOT_FOUND, format!("{what} not found")),
            other => (StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        })?;
    match found {
        Some(text) => Ok(text),
        None if previous => Err(not_there()),
        None => Err((StatusCode::BAD_REQUEST, waiting(status, container, name))),
    }
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = &pod.status;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    all.chain(&status.ephemeral_container_statuses).find(|it| it.name == container)
}

/// Why a container has no log yet.
fn waiting(status: Option<&ContainerStatus>, container: &str, pod: &str) -> String {
    let subject = format!("container \"{container}\" in pod \"{pod}\"");
    let Some(status) = status else { return format!("{subject} is not available") };
    if status.state.terminated.is_some() {
        return format!("{subject} is terminated");
    }
    match status.state.waiting.as_ref().map(|waiting| &*waiting.reason) {
        Some("ErrImagePull") => format!("{subject} is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => {
            format!("{subject} is waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("{subject} is waiting to start: {reason}"),
        None => format!("{subject} is waiting to start - no logs yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_containers_are_told_in_known_words() {
        let mut status = ContainerStatus::default();
        assert_eq!(
            waiting(Some(&status), "a", "p"),
            "container \"a\" in pod \"p\" is waiting to start - no logs yet"
        );
        status.state.waiting = Some(skiff_kinds::views::pod::Waiting {
            reason: "ContainerCreating".into(),
            ..Default::default()
        });
        assert_eq!(
            waiting(Some(&status), "a", "p"),
            "container \"a\" in pod \"p\" is waiting to start: ContainerCreating"
        );
    }
}
