//! Asks a cluster the cases of `tests/differential/` and compares with upstream's answers.
//!
//!     differential check  --kubeconfig FILE [--only REGEX] [AREA...]
//!     differential record --kubeconfig FILE [--only REGEX] [AREA...]
//!     differential list
//!     differential wire < BODY
//!
//! `check` passes when nothing but the known differs; `record` asks upstream, twice, and keeps the
//! answers; `list` counts the cases by area.
//!
//! Areas that need pods to run (`running-*`) are asked of a cluster with a node; name them, or say
//! `--nodes`. All others are answered by a control plane alone.

use std::collections::BTreeMap;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use regex::Regex;
use skiff_tests::differential::answers::{self, Answers, difference};
use skiff_tests::differential::cases::{self, Case};
use skiff_tests::differential::run::{Target, run};
use skiff_tests::kit;

#[derive(Parser)]
#[command(about = "asks a cluster what upstream was asked, and compares")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compare a cluster with the recorded answers
    Check {
        #[command(flatten)]
        what: What,
        /// How many differences to print
        #[arg(long, default_value_t = 10)]
        show: usize,
        /// How many lines of each
        #[arg(long, default_value_t = 14)]
        lines: usize,
        /// Write the cluster's own answers here
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Record upstream's answers anew; what two runs answer differently is refused
    Record {
        #[command(flatten)]
        what: What,
    },
    /// Count the cases
    List,
    /// Show a body of protobuf on the standard input as text; cases use it
    Wire,
}

#[derive(Args)]
struct What {
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Only cases whose name matches
    #[arg(long)]
    only: Option<Regex>,
    /// Of each area only one case of so many
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    every: NonZeroUsize,
    /// Also the areas that need a node
    #[arg(long)]
    nodes: bool,
    /// Areas (names of the case files); all when none is named
    areas: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    match Cli::parse().command {
        Verb::Check { what, show, lines, keep } => check(&folder, &what, show, lines, keep),
        Verb::Record { what } => record(&folder, &what),
        Verb::List => list(&folder),
        Verb::Wire => {
            let mut body = Vec::new();
            std::io::stdin().lock().read_to_end(&mut body)?;
            println!("{}", skiff_tests::differential::wire::shown(&body));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(folder: &Path) -> Result<ExitCode> {
    let mut total = 0;
    for file in cases::files(folder)? {
        let cases = cases::read(&file)?;
        let area = cases.first().map_or("(empty)", Case::area);
        println!("{area:24} {:4}", cases.len());
        total += cases.len();
    }
    println!("{:24} {total:4}", "all");
    Ok(ExitCode::SUCCESS)
}

/// The cases asked for, in the order of files and lines.
fn select(folder: &Path, what: &What) -> Result<Vec<Case>> {
    let mut selected = Vec::new();
    for file in cases::files(folder)? {
        let area = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        let wanted = match what.areas.is_empty() {
            true => what.nodes || !area.starts_with("running"),
            false => what.areas.contains(&area),
        };
        if wanted {
            selected.extend(cases::read(&file)?.into_iter().step_by(what.every.get()));
        }
    }
    if let Some(only) = &what.only {
        selected.retain(|case| only.is_match(&case.name));
    }
    ensure!(!selected.is_empty(), "no case matches");
    Ok(selected)
}

fn ask(what: &What, cases: &[Case]) -> Result<Answers> {
    let start = Instant::now();
    let kubectl = kit::kubectl()?;
    let target = Target { kubectl, kubeconfig: what.kubeconfig.clone(), workers: what.workers };
    let answers = run(&target, cases)?;
    eprintln!("{} cases asked in {:.0} s", cases.len(), start.elapsed().as_secs_f32());
    Ok(answers)
}

fn record(folder: &Path, what: &What) -> Result<ExitCode> {
    let cases = select(folder, what)?;
    let (first, second) = (ask(what, &cases)?, ask(what, &cases)?);
    let (mut steady, mut flaky) = (BTreeMap::<String, Answers>::new(), 0);
    for case in &cases {
        let (one, two) = (&first[&case.name], &second[&case.name]);
        let area = steady.entry(case.area().to_owned()).or_default();
        if one == two {
            area.insert(case.name.clone(), one.clone());
        } else {
            flaky += 1;
            println!(
                "=== {} is answered differently each time\n{}",
                case.name,
                difference(one, two, 14)
            );
        }
    }
    for (area, new) in steady {
        let mut all = answers::read(&folder.join("answers"), &area)?;
        let names: Vec<_> = cases::read(&folder.join(format!("{area}.txt")))?;
        all.extend(new);
        all.retain(|name, _| names.iter().any(|case| case.name == *name));
        answers::write(&folder.join("answers"), &area, &all)?;
    }
    println!("{} answers recorded, {flaky} refused", cases.len() - flaky);
    Ok(if flaky == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(
    folder: &Path,
    what: &What,
    show: usize,
    lines: usize,
    keep: Option<PathBuf>,
) -> Result<ExitCode> {
    let cases = select(folder, what)?;
    let known = answers::known(&folder.join("known.txt"))?;
    let ours = ask(what, &cases)?;
    let mut areas = BTreeMap::<&str, (Answers, Answers, usize, usize)>::new();
    let (mut shown, mut wrong) = (0, Vec::new());
    for case in &cases {
        if !areas.contains_key(case.area()) {
            let theirs = answers::read(&folder.join("answers"), case.area())?;
            areas.insert(case.area(), (theirs, Answers::new(), 0, 0));
        }
        let (theirs, kept, same, total) =
            areas.get_mut(case.area()).context("it was inserted above")?;
        let (our, their) = (&ours[&case.name], theirs.get(&case.name));
        *total += 1;
        *same += usize::from(their == Some(our));
        match (their == Some(our), known.contains_key(&case.name)) {
            (true, true) => {
                wrong.push(format!("{}: no longer differs: strike it off known.txt", case.name))
            }
            (false, false) => {
                wrong.push(format!("{}: differs", case.name));
                if shown < show {
                    shown += 1;
                    let their = their.map_or("(never recorded)", String::as_str);
                    println!("=== {}\n{}", case.name, difference(their, our, lines));
                }
            }
            (true, false) | (false, true) => {}
        }
        kept.insert(case.name.clone(), our.clone());
    }
    summary(&areas);
    if let Some(keep) = keep {
        for (area, (_, kept, _, _)) in &areas {
            answers::write(&keep, area, kept)?;
        }
    }
    for line in &wrong {
        println!("{line}");
    }
    let (wrong, known) = (wrong.len(), known.len());
    println!("{wrong} cases are not as expected ({known} differences are known)");
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(areas: &BTreeMap<&str, (Answers, Answers, usize, usize)>) {
    let (mut all_same, mut all) = (0, 0);
    for (area, (_, _, same, total)) in areas {
        println!("{area:24} {same:4} of {total:4} the same");
        all_same += same;
        all += total;
    }
    let percent = 100.0 * all_same as f32 / all as f32;
    println!("{:24} {all_same:4} of {all:4} the same ({percent:.1} %)", "all");
}
