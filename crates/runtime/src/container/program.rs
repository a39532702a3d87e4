//! The program itself: its environment, its working directory, finding and executing it.
//!
//! The words of an error are those that users know from other runtimes (`executable file not found
//! in $PATH`), because they end up in a pod's status.

use super::inside::{Dangling, Inside, Shape};
use super::{Job, user};
use crate::sys::{self, process};
use crate::{Error, Result};
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
    /// Finds the program as the container's user does, in its working folder.
    pub(super) fn find(args: &[String], env: &[String]) -> Result<Program> {
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

/// What the program finds around it, by what the container's root has.
pub(super) fn environment(job: &Job, root: &Inside) -> Vec<String> {
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
        // Programs start without a home, and have the root for one: a file that is missing, or none
        // that can be read, hinders nobody.
        let passwd = root.read(Path::new(user::PASSWD), user::MAX_FILE).unwrap_or_default();
        let passwd = String::from_utf8_lossy(&passwd);
        env.push(format!("HOME={}", user::home(&passwd, job.spec.user.uid).unwrap_or("/")));
    }
    env
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

/// Where a program starts, made if it is missing, for root as elsewhere.
pub(super) fn make_folder(root: &Inside, cwd: &str) -> Result<()> {
    let made = root.make(Path::new(folder(cwd)), Shape::Folder, 0o755, Dangling::Made);
    made.map(drop).map_err(|e| no_folder(cwd, &e))
}

/// Into it; nowhere else, whatever its name means to the kernel.
pub(super) fn enter_folder(root: &Inside, cwd: &str) -> Result<()> {
    let enter = || {
        let found = root.open(Path::new(folder(cwd)), libc::O_PATH | libc::O_DIRECTORY)?;
        sys::change_folder(&found)?;
        // Of a folder that is no part of the root by now, the kernel says so: it has no name.
        std::env::current_dir()
    };
    enter().map(drop).map_err(|e| no_folder(cwd, &e))
}

fn folder(cwd: &str) -> &str {
    if cwd.is_empty() { "/" } else { cwd }
}

fn no_folder(cwd: &str, error: &std::io::Error) -> Error {
    Error::Exec(format!("chdir to cwd (\"{cwd}\"): {}", words(error)))
}
