//! Runs cases against one cluster, several at once, each in a namespace of its own.
//!
//! The namespaces are made at the start in one go and deleted at the end without waiting. A case
//! starts as soon as its namespace has what every namespace gets (a service account, the root
//! certificate); this is watched, not polled.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answers::Answers;
use super::cases::Case;
use super::normal::{NODE, normal};

const PRELUDE: &str = include_str!("prelude.sh");

/// A case that takes longer has hung: the slowest takes about ten seconds.
const CASE_LIMIT_S: u32 = 90;

/// How long a new namespace may wait for its service account and root certificate.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(60);

/// Where to ask, and how.
pub struct Target {
    pub kubectl: PathBuf,
    pub kubeconfig: PathBuf,
    pub workers: usize,
}

/// The answer of every case.
pub fn run(target: &Target, cases: &[Case]) -> Result<Answers> {
    let run = Run::prepare(target, cases.len())?;
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Answers::new());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for worker in 0..target.workers.max(1) {
            let (run, next, answers, failed) = (&run, &next, &answers, &failed);
            scope.spawn(move || {
                while let Some((index, case)) = take(next, cases) {
                    match run.ask(index, worker, case) {
                        Ok(text) => {
                            lock(answers).insert(case.name.clone(), text);
                        }
                        Err(e) => *lock(failed) = Some(e),
                    }
                }
            });
        }
    });
    run.clean_up()?;
    match failed.into_inner().expect("no worker panicked") {
        Some(e) => Err(e),
        None => Ok(answers.into_inner().expect("no worker panicked")),
    }
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cases.get(index).map(|case| (index, case))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no worker panicked while it held this")
}

/// One run: its folder, its credentials and its namespaces.
struct Run<'a> {
    target: &'a Target,
    folder: PathBuf,
    /// Names this run on the cluster; of the same length every time, so that columns are too.
    id: String,
    config: Value,
    server: String,
    nodes: Vec<String>,
    ready: Ready,
}

impl<'a> Run<'a> {
    fn prepare(target: &'a Target, cases: usize) -> Result<Self> {
        let id = run_id();
        let folder =
            std::env::temp_dir().join(format!("skiff-differential-{id}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let config = minimal_config(target)?;
        let server = field(&config["clusters"][0]["cluster"]["server"]);
        write_credentials(&config, &folder)?;
        let mut run =
            Self { target, folder, id, config, server, nodes: vec![], ready: Ready::default() };
        let nodes = ["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"];
        run.nodes = run.kubectl(&nodes, None)?.split_whitespace().map(str::to_owned).collect();
        run.make_namespaces(cases)?;
        Ok(run)
    }

    fn namespace(&self, index: usize) -> String {
        format!("{}-{index:04}", self.id)
    }

    fn make_namespaces(&mut self, cases: usize) -> Result<()> {
        let namespace = |index| {
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": self.namespace(index), "labels": {"differential": self.id}}})
        };
        let items: Vec<_> = (0..cases).map(|index| namespace(index).to_string()).collect();
        self.ready.watch(self.command(), &["serviceaccounts", "default"])?;
        self.ready.watch(self.command(), &["configmaps", "kube-root-ca.crt"])?;
        self.kubectl(&["create", "-f", "-"], Some(&items.join("\n---\n")))?;
        Ok(())
    }

    /// Runs one case and evens out its answer.
    fn ask(&self, index: usize, worker: usize, case: &Case) -> Result<String> {
        let namespace = self.namespace(index);
        if !self.ready.wait_for(&namespace) {
            eprintln!("{}: its namespace got no service account or root certificate", case.name);
        }
        let work = self.folder.join(&namespace);
        std::fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
        let mut config = self.config.clone();
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        std::fs::write(work.join("kubeconfig"), config.to_string())?;
        let output = Command::new("timeout")
            .args(["-k", "5", &CASE_LIMIT_S.to_string(), "bash", "-c"])
            .arg(format!("{PRELUDE}\n{}", case.script))
            .env("KUBECTL", &self.target.kubectl)
            .env("DIFFERENTIAL", std::env::current_exe().context("find this program")?)
            .env("KUBECONFIG", work.join("kubeconfig"))
            .env("KUBECACHEDIR", self.folder.join(format!("cache-{worker}")))
            .env("CREDENTIALS", &self.folder)
            .env("SERVER", &self.server)
            .env("WORK", &work)
            .env("N", &namespace)
            // kubectl lives for a moment: a fifth of its time would go into collecting garbage.
            .env("GOGC", "off")
            .stdin(Stdio::null())
            .output()
            .context("run bash (is it installed?)")?;
        let mut given = vec![(work.display().to_string(), "WORK"), (namespace, "NAMESPACE")];
        given.push((self.id.clone(), "RUN"));
        given.extend(self.nodes.iter().map(|n| (n.clone(), NODE)));
        let mut text = normal(&String::from_utf8_lossy(&output.stdout), &given);
        let errors = normal(&String::from_utf8_lossy(&output.stderr), &given);
        if !errors.is_empty() {
            text.push_str("\n--stderr\n");
            text.push_str(&errors);
        }
        let code = output.status.code().unwrap_or(-1);
        Ok(format!("{text}\n--exit {code}"))
    }

    fn clean_up(&self) -> Result<()> {
        let label = format!("differential={}", self.id);
        self.kubectl(&["delete", "namespaces", "-l", &label, "--wait=false"], None)?;
        if let Err(e) = std::fs::remove_dir_all(&self.folder) {
            // A command that a case left behind may still write; the answers are good all the same.
            eprintln!("{} stays: {e}", self.folder.display());
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.target.kubectl);
        command.arg("--kubeconfig").arg(&self.target.kubeconfig);
        command
    }

    fn kubectl(&self, args: &[&str], input: Option<&str>) -> Result<String> {
        feed(self.command().args(args), input)
    }
}

/// Runs a command to its end; its output, or an error with what it said.
fn feed(command: &mut Command, input: Option<&str>) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    let mut stdin = child.stdin.take().expect("it was asked for above");
    stdin.write_all(input.unwrap_or_default().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} failed: {errors}", command.get_args());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Six letters or digits that no other run has, not even one of the same moment.
fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let moment = now.as_millis() as u64 ^ (u64::from(std::process::id()) << 14);
    let mut rest = moment % 36_u64.pow(5);
    let mut id = String::new();
    for _ in 0..5 {
        id.insert(0, char::from_digit((rest % 36) as u32, 36).expect("a digit below 36"));
        rest /= 36;
    }
    format!("d{id}")
}

/// The kubeconfig's current context alone, with its files inside it.
fn minimal_config(target: &Target) -> Result<Value> {
    let args = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"];
    let mut command = Command::new(&target.kubectl);
    command.arg("--kubeconfig").arg(&target.kubeconfig).args(args);
    serde_json::from_str(&feed(&mut command, None)?).context("decode the kubeconfig")
}

fn field(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// curl wants certificates as files.
fn write_credentials(config: &Value, folder: &Path) -> Result<()> {
    let cluster = &config["clusters"][0]["cluster"];
    let user = &config["users"][0]["user"];
    for (name, data) in [
        ("ca", &cluster["certificate-authority-data"]),
        ("crt", &user["client-certificate-data"]),
        ("key", &user["client-key-data"]),
    ] {
        let bytes = STANDARD.decode(field(data)).with_context(|| format!("decode {name}"))?;
        ensure!(!bytes.is_empty(), "the kubeconfig must carry certificates, and has no {name}");
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// Which namespaces have what every namespace gets, by two watches.
#[derive(Default)]
struct Ready {
    seen: Arc<(Mutex<HashMap<String, usize>>, Condvar)>,
    watches: Vec<Child>,
}

impl Ready {
    fn watch(&mut self, mut kubectl: Command, kind_and_name: &[&str; 2]) -> Result<()> {
        let [kind, name] = kind_and_name;
        let field = format!("metadata.name={name}");
        let mut child = kubectl
            .args(["get", kind, "-A", "--no-headers", "-w", "--field-selector", &field])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start a watch")?;
        let lines = BufReader::new(child.stdout.take().expect("it was asked for above")).lines();
        let seen = self.seen.clone();
        let mut known = BTreeMap::new();
        std::thread::spawn(move || {
            for line in lines.map_while(std::io::Result::ok) {
                let Some(namespace) = line.split_whitespace().next() else { continue };
                if known.insert(namespace.to_owned(), ()).is_none() {
                    *lock(&seen.0).entry(namespace.to_owned()).or_default() += 1;
                    seen.1.notify_all();
                }
            }
        });
        self.watches.push(child);
        Ok(())
    }

    /// False when the time is over.
    fn wait_for(&self, namespace: &str) -> bool {
        let want = self.watches.len();
        let missing = |seen: &mut HashMap<String, usize>| seen.get(namespace) != Some(&want);
        let waited = self.seen.1.wait_timeout_while(lock(&self.seen.0), NAMESPACE_LIMIT, missing);
        !waited.expect("no worker panicked while it held this").1.timed_out()
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        for watch in &mut self.watches {
            // A watch that has ended by itself cannot be killed; there is nothing else to do.
            let _ = watch.kill();
            let _ = watch.wait();
        }
    }
}
