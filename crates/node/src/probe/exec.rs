//! A program in a container, run for its exit code and its output.

use crate::rim::Rim;
use skiff_runtime::spec::ExecSpec;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// More output than this is not kept.
const OUTPUT_MOST: u64 = 10 * 1024;
const SIGKILL: i32 = 9;

/// How it ended.
pub struct Done {
    pub code: i32,
    /// stdout, then stderr.
    pub output: String,
}

/// Ends the program when the one who waits for it gives up.
struct Guard<'a>(Option<(&'a Arc<Rim>, String)>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Some((rim, id)) = self.0.take() else { return };
        let runtime = rim.runtime.clone();
        rim.tasks.spawn(async move {
            if let Err(error) = runtime.signal_exec(&id, SIGKILL).await {
                tracing::debug!(%error, "a program that took too long was not killed");
            }
        });
    }
}

/// Runs a program to its end; dropped before that, it kills the program.
pub async fn run(rim: &Arc<Rim>, id: &str, command: &[String]) -> Result<Done, String> {
    let spec =
        ExecSpec { args: command.to_vec(), stdout: true, stderr: true, ..ExecSpec::default() };
    let runtime = &rim.runtime;
    let exec = match runtime.exec(id, &spec).await {
        Ok(exec) => exec,
        Err(skiff_runtime::Error::Exec(output)) => return Ok(Done { code: 127, output }),
        Err(error) => return Err(error.to_string()),
    };
    let mut guard = Guard(Some((rim, exec.id.clone())));
    let (out, err) = tokio::join!(read(exec.stdout), read(exec.stderr));
    let exit = runtime.wait_exec(&exec.id).await.map_err(|e| e.to_string())?;
    guard.0 = None;
    Ok(Done { code: exit.code, output: out? + &err? })
}

/// Reads to the end, so that the program never waits, and keeps the beginning.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> Result<String, String> {
    let Some(mut stream) = stream else { return Ok(String::new()) };
    let mut kept = Vec::new();
    let failed = |e: std::io::Error| e.to_string();
    (&mut stream).take(OUTPUT_MOST).read_to_end(&mut kept).await.map_err(failed)?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map_err(failed)?;
    Ok(String::from_utf8_lossy(&kept).into_owned())
}
