//! A program in a container, run for its exit code and its output.

use crate::rim::Rim;
use skiff_runtime::client::Exec;
use skiff_runtime::spec::ExecSpec;
use skiff_runtime::stream::Stream;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// More output than this is not kept.
const OUTPUT_MOST: usize = 10 * 1024;
/// Read at once.
const PIECE: usize = 4 * 1024;
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

/// Runs a program to its end; dropped before that, it kills the program and what it has started.
///
/// The end is that of the program alone. What it leaves behind lives on, and may hold the output
/// open for as long as it likes: what the program itself has written is in the pipes by then.
pub async fn run(rim: &Arc<Rim>, id: &str, command: &[String]) -> Result<Done, String> {
    let spec =
        ExecSpec { args: command.to_vec(), stdout: true, stderr: true, ..ExecSpec::default() };
    let exec = match start(rim, id, spec).await {
        Ok(exec) => exec,
        Err(skiff_runtime::Error::Exec(output)) => return Ok(Done { code: 127, output }),
        Err(error) => return Err(error.to_string()),
    };
    let mut guard = Guard(Some((rim, exec.id.clone())));
    let (mut out, mut err) = (Output::of(exec.stdout), Output::of(exec.stderr));
    let exit = tokio::select! {
        biased;
        exit = rim.runtime.wait_exec(&exec.id) => exit.map_err(|e| e.to_string())?,
        never = async { tokio::join!(out.keep_reading(), err.keep_reading()).0 } => match never {},
    };
    guard.0 = None;
    Ok(Done { code: exit.code, output: out.rest()? + &err.rest()? })
}

/// A start goes on when nobody waits for it any more; what it has started is killed then.
async fn start(rim: &Arc<Rim>, id: &str, spec: ExecSpec) -> skiff_runtime::Result<Exec> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let (owner, id) = (rim.clone(), id.to_owned());
    rim.tasks.spawn(async move {
        if let Err(Ok(exec)) = tell.send(owner.runtime.exec(&id, &spec).await) {
            drop(Guard(Some((&owner, exec.id))));
        }
    });
    told.await.unwrap_or(Err(skiff_runtime::Error::Lost))
}

/// The beginning of an output; the program never waits for anybody to take the rest.
struct Output {
    stream: Option<Stream>,
    kept: Vec<u8>,
    failed: Option<String>,
}

impl Output {
    fn of(stream: Option<Stream>) -> Output {
        Output { stream, kept: Vec::new(), failed: None }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = OUTPUT_MOST - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    async fn keep_reading(&mut self) -> Infallible {
        let mut piece = [0; PIECE];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut piece).await {
                Ok(0) => self.stream = None,
                Ok(count) => self.keep(&piece[..count]),
                Err(error) => (self.stream, self.failed) = (None, Some(error.to_string())),
            }
        }
        std::future::pending().await
    }

    /// All of it, when the program has ended.
    fn rest(mut self) -> Result<String, String> {
        let mut piece = [0; PIECE];
        while let Some(stream) = &self.stream
            && self.kept.len() < OUTPUT_MOST
        {
            match stream.read_now(&mut piece).map_err(|e| e.to_string())? {
                0 => break,
                count => self.keep(&piece[..count]),
            }
        }
        let text = String::from_utf8_lossy(&self.kept).into_owned();
        self.failed.map_or(Ok(text), Err)
    }
}
