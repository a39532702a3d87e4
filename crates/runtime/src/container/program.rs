//! The program itself: its environment, its working directory, finding and executing it.
//!
//! The words of an error are those that users know from other runtimes (`executable file not found
//! in $PATH`), because they end up in a pod's status.

use super::{Job, user};
use crate::sys::process;
use crate::{Error, Result, failed};
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where programs are looked for if the environment has no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Ready to execute.
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Finds the program in the container's root file system, where we are by now.
    pub(super) fn prepare(job: &Job, args: &[String]) -> Result<Program> {
        let env = environment(job)?;
        let Some(name) = args.first() else {
            return Err(Error::Exec("no command specified".into()));
        };
        let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(PATH);
        let found = find(name, path)?;
        let c = |text: &String| {
            CString::new(text.as_str())
                .map_err(|_| Error::Invalid(format!("a zero byte in \"{}\"", text.escape_debug())))
        };
        Ok(Program {
            path: c(&found)?,
            args: args.iter().map(c).collect::<Result<_>>()?,
            env: env.iter().map(c).collect::<Result<_>>()?,
        })
    }

    /// Comes back only with the reason why not.
    pub(super) fn execute(&self) -> Error {
        let error = process::execute(&self.path, &self.args, &self.env);
        Error::Exec(format!("exec {}: {}", self.path.to_string_lossy(), words(&error)))
    }
}

/// An error as C libraries word it, which is how users know it; Rust adds the number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

fn environment(job: &Job) -> Result<Vec<String>> {
    let mut env: Vec<String> = job.spec.env.clone();
    for pair in job.exec.iter().flat_map(|exec| &exec.env) {
        let name = pair.split('=').next().unwrap_or(pair);
        env.retain(|old| old.split('=').next() != Some(name));
        env.push(pair.clone());
    }
    let has = |env: &[String], name: &str| env.iter().any(|pair| pair.starts_with(name));
    if job.exec.as_ref().map_or(job.spec.terminal, |exec| exec.terminal) && !has(&env, "TERM=") {
        env.push("TERM=xterm".into());
    }
    if !has(&env, "HOME=") {
        let passwd = match std::fs::read_to_string("/etc/passwd") {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(failed("read /etc/passwd")(e)),
        };
        env.push(format!("HOME={}", user::home(&passwd, job.spec.user.uid).unwrap_or("/")));
    }
    Ok(env)
}

fn find(name: &str, path: &str) -> Result<String> {
    let wrong = |what: &str| Error::Exec(format!("exec: \"{name}\": {what}"));
    if name.contains('/') {
        return match std::fs::metadata(name) {
            Ok(found) if found.is_dir() => Err(wrong("is a directory")),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(wrong("permission denied")),
            Ok(_) => Ok(name.to_string()),
            Err(e) => Err(wrong(&format!("stat {name}: {}", words(&e)))),
        };
    }
    for folder in path.split(':') {
        let candidate = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
        let Ok(found) = std::fs::metadata(&candidate) else { continue };
        if found.is_file() && found.permissions().mode() & 0o111 != 0 {
            return Ok(candidate.to_string_lossy().into_owned());
        }
    }
    Err(wrong("executable file not found in $PATH"))
}

/// Made if missing, as root; only the first process of a container may make it.
pub(super) fn enter_folder(cwd: &str, exists_already: bool) -> Result<()> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    if !exists_already && !Path::new(cwd).exists() {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
        builder
            .recursive(true)
            .create(cwd)
            .map_err(|e| Error::Exec(format!("mkdir {cwd}: {}", words(&e))))?;
    }
    // Root may be kept out where the user is not; the second try comes after the change of user.
    let _ = std::env::set_current_dir(cwd);
    Ok(())
}
