//! A program in a container, run for its exit code and its output.

use skiff_runtime::client::Runtime;
use skiff_runtime::spec::ExecSpec;
use tokio::io::{AsyncRead, AsyncReadExt};

/// More output than this is not kept.
const OUTPUT_MOST: u64 = 10 * 1024;

/// How it ended.
pub struct Done {
    pub code: i32,
    /// stdout, then stderr.
    pub output: String,
}

/// Runs a program to its end.
pub async fn run(runtime: &Runtime, id: &str, command: &[String]) -> Result<Done, String> {
    let spec =
        ExecSpec { args: command.to_vec(), stdout: true, stderr: true, ..ExecSpec::default() };
    let exec = match runtime.exec(id, &spec).await {
        Ok(exec) => exec,
        Err(skiff_runtime::Error::Exec(output)) => return Ok(Done { code: 127, output }),
        Err(error) => return Err(error.to_string()),
    };
    let (out, err) = tokio::join!(read(exec.stdout), read(exec.stderr));
    let exit = runtime.wait_exec(&exec.id).await.map_err(|e| e.to_string())?;
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
