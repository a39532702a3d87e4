//! Hooks around a container's life: a program in it, a request to it, or a sleep (API reference:
//! LifecycleHandler).

use crate::probe::{exec, http};
use crate::rim::Rim;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, Handler};
use std::sync::Arc;
use std::time::Duration;

/// A request of a hook takes at most this long.
const HTTP_MOST: Duration = Duration::from_secs(60);

/// Whose hook.
pub struct Target<'a> {
    pub rim: &'a Arc<Rim>,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub id: &'a str,
    pub ip: &'a str,
}

/// Runs a hook to its end.
pub async fn run(target: &Target<'_>, hook: &Handler) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let done = exec::run(target.rim, target.id, &action.command).await?;
        return match done.code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}",
                action.command.join(" "),
                done.output
            )),
        };
    }
    if let Some(action) = &hook.http_get {
        let asked = http::get(action, target.container, target.ip);
        let answer = target.rim.world.within(HTTP_MOST, asked).await;
        return answer.unwrap_or_else(|| Err("the request took too long".into())).map(|_| ());
    }
    // A tcpSocket is taken by the API for the sake of old objects; it never does anything.
    if let Some(action) = &hook.sleep {
        target.rim.world.sleep(Duration::from_secs(action.seconds)).await;
    }
    Ok(())
}
