//! The real kubectl as a test's hand: one call, its whole output, and a trace of all calls.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};

/// How long one call may take. Waiting is done by `kubectl wait`, which has a limit of its own.
const CALL_LIMIT: &str = "120";

/// kubectl with the kubeconfig of one cluster. Clones share the trace.
#[derive(Clone)]
pub struct Kubectl {
    /// The command up to kubectl's arguments: it may enter a namespace first.
    prefix: Vec<OsString>,
    kubeconfig: PathBuf,
    namespace: Option<String>,
    trace: Arc<Mutex<String>>,
}

/// What a call left: exactly what a user would see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub out: String,
    pub err: String,
    pub code: i32,
}

impl Kubectl {
    pub fn new(prefix: Vec<OsString>, kubeconfig: PathBuf) -> Self {
        Self { prefix, kubeconfig, namespace: None, trace: Arc::default() }
    }

    /// The same, with another default namespace.
    pub fn namespace(&self, name: &str) -> Self {
        Self { namespace: Some(name.to_owned()), ..self.clone() }
    }

    /// Its output; panics with the whole trace when it fails. Words are split at blanks, as a
    /// shell would without quotes; what has blanks goes through [`Kubectl::args`].
    #[track_caller]
    pub fn ok(&self, words: &str) -> String {
        self.expect(self.words(words), "", 0).out
    }

    /// Its error text; panics when it succeeds.
    #[track_caller]
    pub fn fails(&self, words: &str) -> String {
        let answer = self.answer(&self.words(words), "");
        assert_ne!(answer.code, 0, "it should have failed\n{}", self.trace());
        answer.err
    }

    /// Applies a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.expect(self.words("apply -f -"), manifest, 0).out
    }

    /// Like [`Kubectl::ok`], with arguments as they are.
    #[track_caller]
    pub fn args(&self, args: &[&str]) -> String {
        self.expect(args.iter().map(|a| (*a).to_owned()).collect(), "", 0).out
    }

    /// The exact exit code; the whole answer.
    #[track_caller]
    pub fn exits(&self, code: i32, args: &[&str], input: &str) -> Answer {
        self.expect(args.iter().map(|a| (*a).to_owned()).collect(), input, code)
    }

    /// Whatever it answers.
    #[track_caller]
    pub fn answer_of(&self, args: &[&str]) -> Answer {
        self.answer(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(), "")
    }

    /// Waits for a condition, `wait`'s own words: `"--for=condition=Ready pod/web"`.
    #[track_caller]
    pub fn wait(&self, words: &str) -> String {
        self.ok(&format!("wait --timeout=90s {words}"))
    }

    /// A call that goes on by itself (`logs -f`, `port-forward`), with its output at hand.
    pub fn start(&self, words: &str) -> Result<Child> {
        self.command(&self.words(words))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl")
    }

    /// Everything that was asked and answered so far.
    pub fn trace(&self) -> String {
        self.trace.lock().expect("no test panics while it holds the trace").clone()
    }

    #[track_caller]
    fn expect(&self, args: Vec<String>, input: &str, code: i32) -> Answer {
        let answer = self.answer(&args, input);
        assert_eq!(answer.code, code, "the exit code is not as expected\n{}", self.trace());
        answer
    }

    #[track_caller]
    fn answer(&self, args: &[String], input: &str) -> Answer {
        match self.run(args, input) {
            Ok(answer) => answer,
            Err(e) => panic!("{e:#}\n{}", self.trace()),
        }
    }

    fn run(&self, args: &[String], input: &str) -> Result<Answer> {
        let mut command = self.command(args);
        let answer = feed(&mut command, input)?;
        let mut trace = self.trace.lock().expect("no test panics while it holds the trace");
        trace.push_str(&format!("$ kubectl {}\n{}", args.join(" "), answer.out));
        if !answer.err.is_empty() {
            trace.push_str(&format!("--stderr\n{}", answer.err));
        }
        if answer.code != 0 {
            trace.push_str(&format!("--exit {}\n", answer.code));
        }
        Ok(answer)
    }

    fn command(&self, args: &[String]) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command.args(&self.prefix[1..]).arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        command.args(args);
        command
    }

    fn words(&self, words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }
}

/// Runs a command to its end within the limit, with an input.
pub fn feed(command: &mut Command, input: &str) -> Result<Answer> {
    use std::io::Write;
    let mut limited = Command::new("timeout");
    limited.args(["-k", "5", CALL_LIMIT]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    let mut child = limited
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    let mut stdin = child.stdin.take().expect("it was asked for above");
    match stdin.write_all(input.as_bytes()) {
        // A command that refuses its arguments closes its input first: its answer says so.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => bail!("write its input: {e}"),
        _ => drop(stdin),
    }
    let output = child.wait_with_output().context("wait for it")?;
    Ok(Answer {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    })
}
