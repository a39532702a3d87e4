//! The words: all commands and flags, as one tree that parsing, help and completion read.

use crate::settings::{HOST_PROFILE, SETTINGS, Setting};
use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;

/// Flags that every command has stand under this title.
const CLUSTER: &str = "Which cluster";
const SETTING: &str = "Settings";

pub fn tree(kubernetes: &'static str) -> Command {
    Command::new("skiff")
        .about("All of Kubernetes in one program")
        .version(env!("CARGO_PKG_VERSION"))
        .long_version(format!("{} (Kubernetes {kubernetes})", env!("CARGO_PKG_VERSION")).leak() as &str)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Settings may also stand in the environment (SKIFF_LISTEN for --listen) or in a file\n\
             (/etc/skiff/config.yaml, or /etc/skiff/NAME.yaml for profile NAME; --config names another).",
        )
        .args(which())
        .subcommands(life())
        .subcommand(images())
        .subcommands(rest())
}

/// Flags that say which cluster is meant: good on every command.
fn which() -> Vec<Arg> {
    let profile = Arg::new("profile")
        .short('p')
        .long("profile")
        .value_name("NAME")
        .default_value(HOST_PROFILE)
        .hide_default_value(true)
        .help("A further cluster beside the host's, in a machine of its own");
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_hint(ValueHint::FilePath)
        .help("A file of settings");
    let data = SETTINGS.iter().filter(|setting| setting.is_path()).map(flag);
    [profile, config]
        .into_iter()
        .chain(data)
        .map(|arg| arg.global(true).help_heading(CLUSTER))
        .collect()
}

/// The settings that are not on every command already.
fn settings() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter(|setting| !setting.is_path()).map(flag)
}

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.placeholder())
        .help(format!("{}{default}", setting.doc))
        .long_help(format!(
            "{}{default} [variable: {}] [used by: {}]",
            setting.doc,
            setting.variable(),
            setting.used_by
        ))
        .help_heading(SETTING)
        .value_parser(move |value: &str| setting.check(value).map(|()| value.to_owned()));
    let arg = if setting.is_path() { arg.value_hint(ValueHint::DirPath) } else { arg };
    if setting.repeats() { arg.action(ArgAction::Append) } else { arg }
}

fn life() -> Vec<Command> {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let wait = Arg::new("wait")
        .long("wait")
        .value_name("FOR")
        .num_args(0..=1)
        .require_equals(true)
        .default_value("node")
        .default_missing_value("node")
        .value_parser(["node", "api", "none"])
        .help("When to return: node (it is Ready), api (it answers), none");
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("SECONDS")
        .default_value("120")
        .value_parser(clap::value_parser!(u64).range(1..=3600))
        .help("How long to wait");
    vec![
        Command::new("up")
            .visible_alias("start")
            .about("Start the cluster, or make it; does nothing to one that runs")
            .arg(switch("demo", "Deploy a demo and fetch its page"))
            .args([wait, timeout])
            .args(settings()),
        Command::new("down")
            .visible_alias("stop")
            .about("Stop the cluster and its containers; everything is kept for the next `up`"),
        Command::new("delete").about("Stop the cluster and remove every trace of it"),
        Command::new("status")
            .about("Say whether the cluster runs, and how it is")
            .arg(output(&["text", "json"])),
        Command::new("logs")
            .about("Print the daemon's own log")
            .arg(switch("follow", "Go on as the log grows").short('f'))
            .arg(
                Arg::new("lines")
                    .short('n')
                    .long("lines")
                    .value_name("LINES")
                    .default_value("200")
                    .value_parser(clap::value_parser!(usize))
                    .help("How many lines from the end"),
            ),
        Command::new("server")
            .about("Run the daemon in the foreground, for systemd")
            .args(settings())
            .arg(switch("background", "It was started by `up`").hide(true)),
    ]
}

fn output(formats: &'static [&'static str]) -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORMAT")
        .default_value(formats[0])
        .value_parser(formats.to_vec())
        .help("How to print it")
}

fn images() -> Command {
    let names = |help: &'static str| {
        Arg::new("names").value_name("IMAGE").required(true).num_args(1..).help(help)
    };
    Command::new("image")
        .about("Load, pull, list and remove the node's images")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("load")
                .about("Load images from archives (docker save, OCI layout; plain, gzip, zstd)")
                .arg(
                    Arg::new("files")
                        .value_name("FILE")
                        .required(true)
                        .num_args(1..)
                        .value_hint(ValueHint::FilePath)
                        .help(
                            "An archive, or the folder of an OCI layout; - is the standard input",
                        ),
                ),
        )
        .subcommand(
            Command::new("ls")
                .visible_alias("list")
                .about("List images")
                .arg(output(&["table", "json"]))
                .arg(
                    Arg::new("quiet")
                        .short('q')
                        .long("quiet")
                        .action(ArgAction::SetTrue)
                        .help("IDs alone"),
                ),
        )
        .subcommand(
            Command::new("rm")
                .visible_alias("remove")
                .about("Remove images, or names of images")
                .arg(names("A name, an ID or the beginning of one"))
                .arg(
                    Arg::new("force")
                        .short('f')
                        .long("force")
                        .action(ArgAction::SetTrue)
                        .help("Also those that pods use"),
                ),
        )
        .subcommand(
            Command::new("pull")
                .about("Pull images from their registries")
                .arg(names("A name, as in registry.k8s.io/pause:3.10")),
        )
}

fn rest() -> Vec<Command> {
    vec![
        Command::new("kubeconfig").about("Print a kubeconfig of the cluster's owner"),
        Command::new("version")
            .about("Print the versions of Skiff and of Kubernetes")
            .arg(output(&["text", "json"])),
        Command::new("completion").about("Print a completion script for a shell").arg(
            Arg::new("shell")
                .required(true)
                .value_parser(clap::value_parser!(Shell))
                .help("bash: source <(skiff completion bash)"),
        ),
        Command::new("demo-server").hide(true).about("Serve the demo's page"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree("v1.0.0").debug_assert();
    }

    #[test]
    fn other_names_and_places_of_flags() {
        for line in [
            "skiff start --demo",
            "skiff stop -p dev",
            "skiff -p dev up --wait --listen 127.0.0.1:1",
            "skiff up --wait=api --registry-mirror a=http://b --registry-mirror c=http://d",
            "skiff server --data /tmp/x --listen 127.0.0.1:1 --node n",
            "skiff logs -f -n 5",
            "skiff image load -",
        ] {
            tree("v1").try_get_matches_from(line.split(' ')).unwrap();
        }
        for line in ["skiff", "skiff up --listen nowhere", "skiff down --listen 127.0.0.1:1"] {
            tree("v1").try_get_matches_from(line.split(' ')).unwrap_err();
        }
    }
}
