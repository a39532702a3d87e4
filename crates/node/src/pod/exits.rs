//! How a container ended, with the last words that it left (API reference:
//! Container.terminationMessagePath, terminationMessagePolicy).

use super::adopt::{CONTAINER, MESSAGE_POLICY, POD_UID, image_of};
use super::seen::Ended;
use crate::logs;
use crate::rim::Rim;
use skiff_base::Time;
use skiff_runtime::status::{ContainerStatus, ExitReason};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// A message that a container wrote is cut here, one from its log there.
const MESSAGE_MOST: u64 = 4096;
const LOG_MOST: usize = 2048;
const LOG_LINES_MOST: usize = 80;

/// The file of the machine that stands for a container's terminationMessagePath.
pub fn message_file(rim: &Rim, uid: &str, container: &str, id: &str) -> PathBuf {
    rim.pod_dir(uid).join("containers").join(container).join(&id[..id.len().min(8)])
}

pub fn time(nanos: i64) -> Time {
    Time::from_nanosecond(i128::from(nanos)).unwrap_or(Time::MIN)
}

/// The name of the container, and how it ended.
pub async fn read(rim: &Arc<Rim>, status: ContainerStatus) -> Option<(String, Ended)> {
    let name = status.labels.get(CONTAINER)?.clone();
    let uid = status.labels.get(POD_UID)?.clone();
    let path = message_file(rim, &uid, &name, &status.id);
    let log = status.log_path.clone();
    let failed = status.exit.as_ref().is_some_and(|exit| exit.code != 0);
    let from_log = failed
        && status
            .labels
            .get(MESSAGE_POLICY)
            .is_some_and(|policy| policy == "FallbackToLogsOnError");
    let message = rim.blocking(&rim.threads.files, move || {
        let mut text = String::new();
        if let Ok(file) = std::fs::File::open(&path) {
            let mut bytes = Vec::new();
            file.take(MESSAGE_MOST).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        if text.is_empty()
            && from_log
            && let Some(log) = log
        {
            text = logs::last_words(&log, LOG_LINES_MOST, LOG_MOST).map_err(|e| e.to_string())?;
        }
        Ok(text)
    });
    let message =
        message.await.unwrap_or_else(|why| format!("Error reading termination message: {why}"));
    let ended = ended(&status, &message);
    Some((name, ended))
}

/// As the runtime tells it.
pub fn ended(status: &ContainerStatus, message: &str) -> Ended {
    let exit = status.exit.as_ref();
    let reason = match exit.map(|exit| exit.reason) {
        Some(ExitReason::Completed) => "Completed",
        Some(ExitReason::Error) => "Error",
        Some(ExitReason::OOMKilled) => "OOMKilled",
        Some(ExitReason::StartError) => "StartError",
        Some(ExitReason::Unknown) | None => "ContainerStatusUnknown",
    };
    let own = exit.map_or("", |exit| &exit.message);
    Ended {
        id: status.id.clone(),
        image: image_of(&status.labels),
        code: exit.map_or(137, |exit| exit.code),
        signal: 0,
        reason: reason.into(),
        message: if message.is_empty() { own.to_owned() } else { message.to_owned() },
        started: status.started_at.map(time),
        finished: exit.map_or(time(status.created_at), |exit| time(exit.finished_at)),
    }
}
