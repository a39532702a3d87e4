//! The words: all commands and flags, as one tree that parsing, help and completion read.

use crate::settings::{HOST_PROFILE, SETTINGS, Setting};
use clap::builder::ValueHint;
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;

/// Flags that every command has stand under this title.
const CLUSTER: &str = "Which cluster";
const SETTING: &str = "Settings";

/// All words.
pub fn tree(kubernetes: &'static str) -> Command {
    let background = switch("background", "It was started by `up`").hide(true);
    shown(kubernetes)
        .mut_subcommand("server", |server| server.arg(background))
        .subcommand(Command::new("demo-server").hide(true).about("Serve the demo's page"))
}

/// The words for people.
pub fn shown(kubernetes: &'static str) -> Command {
    let tree = Command::new("skiff")
        .about("All of Kubernetes in one program")
        .version(format!("{} (Kubernetes {kubernetes})", env!("CARGO_PKG_VERSION")).leak() as &str)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Settings may also stand in the environment (SKIFF_LISTEN for --listen) or in\n\
             a file (/etc/skiff/config.yaml, or /etc/skiff/NAME.yaml for profile NAME;\n\
             --config names another).",
        )
        .args(which())
        .subcommands(life())
        .subcommand(images())
        .subcommands(keep())
        .subcommands(rest());
    narrow(tree)
}

/// A terminal is 80 columns wide, and help on a line of its own is ten columns in.
const HELP_COLUMNS: usize = 70;

/// Breaks long help at blanks, so that no terminal breaks it within a word.
fn narrow(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let short = arg.get_help().map(|help| filled(&help.to_string()));
        let long = arg.get_long_help().map(|help| filled(&help.to_string()));
        let own_line = short.as_ref().is_some_and(|help| help.len() > SHORT_HELP);
        let arg = arg.next_line_help(own_line || long.is_some());
        let arg = match short {
            Some(help) => arg.help(help),
            None => arg,
        };
        match long {
            Some(help) => arg.long_help(help),
            None => arg,
        }
    });
    command.mut_subcommands(narrow)
}

/// Longer help does not fit beside a flag.
const SHORT_HELP: usize = 48;

fn filled(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().filter(|line| line.len() + 1 + word.len() <= HELP_COLUMNS);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
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
    let wait = Arg::new("wait")
        .long("wait")
        .value_name("FOR")
        .num_args(0..=1)
        .require_equals(true)
        .default_value("node")
        .default_missing_value("node")
        .value_parser(["node", "api", "none"])
        .hide_default_value(true)
        .hide_possible_values(true)
        .help("When to return: node (it is Ready), api (it answers), none [default: node]");
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("SECONDS")
        .default_value("120")
        .value_parser(clap::value_parser!(u64).range(1..=3600))
        .help("How long to wait");
    vec![
        Command::new("up")
            .visible_alias("start")
            .about("Start the cluster, or make it")
            .arg(switch("demo", "Deploy a demo and fetch its page"))
            .args([wait, timeout])
            .args(settings()),
        Command::new("down").visible_alias("stop").about("Stop the cluster, keep its data"),
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
            .args(settings()),
        Command::new("agent")
            .about("Run a node of a server elsewhere, for systemd")
            .arg(
                Arg::new("kubeconfig")
                    .long("kubeconfig")
                    .value_name("FILE")
                    .required(true)
                    .value_hint(ValueHint::FilePath)
                    .help("Whom to trust, and who asks for this node's certificates"),
            )
            .arg(
                Arg::new("server")
                    .long("server")
                    .value_name("URL")
                    .help("Where the server is, if not where the kubeconfig says"),
            )
            .args(settings()),
    ]
}

fn keep() -> Vec<Command> {
    let file = |help: &'static str| {
        let file = Arg::new("file").value_name("FILE").required(true);
        file.value_hint(ValueHint::FilePath).help(help)
    };
    let passphrase = |help: &'static str| {
        let file = Arg::new("passphrase-file").long("passphrase-file").value_name("FILE");
        file.value_hint(ValueHint::FilePath).help(help)
    };
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("SECONDS")
        .default_value("120")
        .value_parser(clap::value_parser!(u64).range(1..=3600))
        .help("How long to wait for the new program");
    let binary = Arg::new("binary")
        .value_name("BINARY")
        .value_hint(ValueHint::FilePath)
        .help("The new program [default: the one that runs this command]");
    vec![
        Command::new("backup")
            .about("Save objects and keys of the running cluster to a file")
            .arg(file("Where to; - is the standard output"))
            .arg(passphrase("Lock it with the words in this file"))
            .arg(switch("images", "The node's images as well")),
        Command::new("restore")
            .about("Make a cluster of a backup, or an old one as it was then")
            .arg(file("A backup; - is the standard input"))
            .arg(passphrase("The words that it is locked with")),
        Command::new("upgrade")
            .about("Replace the running cluster's program, not its containers")
            .arg(binary)
            .arg(timeout),
        Command::new("secrets-encrypt")
            .about("Say how secrets lie on the disk, or write them anew")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                Command::new("status")
                    .about("Say what is encrypted, and with which keys")
                    .arg(output(&["text", "json"])),
            )
            .subcommand(
                Command::new("rotate")
                    .about("Make a new key, write all secrets with it, forget the old keys"),
            )
            .subcommand(
                Command::new("reencrypt").about("Write all again as the configuration says today"),
            ),
    ]
}

fn output(formats: &'static [&'static str]) -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORMAT")
        .default_value(formats[0])
        .value_parser(formats.to_vec())
        .hide_default_value(true)
        .hide_possible_values(true)
        .help(format!("{} [default: {}]", formats.join(" or "), formats[0]))
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
        config(),
        Command::new("profile")
            .about("List the clusters of this machine")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                Command::new("list")
                    .visible_alias("ls")
                    .about("List the clusters, running or not")
                    .arg(output(&["table", "json"]))
                    .arg(switch("quiet", "Names alone").short('q')),
            ),
        Command::new("kubeconfig").about("Print a kubeconfig of the cluster's owner"),
        Command::new("version")
            .about("Print the versions of Skiff and of Kubernetes")
            .arg(output(&["text", "json"])),
        Command::new("completion").about("Print a completion script for a shell").arg(
            Arg::new("shell")
                .required(true)
                .value_name("SHELL")
                .hide_possible_values(true)
                .value_parser(clap::value_parser!(Shell))
                .help("bash, zsh, fish, ... as in: source <(skiff completion bash)"),
        ),
    ]
}

fn config() -> Command {
    let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    Command::new("config")
        .about("List the settings that count, and forget those of flags")
        .subcommand(
            Command::new("reset").about("Forget what flags of an earlier `up` said").arg(
                Arg::new("names")
                    .value_name("SETTING")
                    .required(true)
                    .num_args(1..)
                    .hide_possible_values(true)
                    .value_parser(names)
                    .help("A setting, as `skiff config` lists it"),
            ),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree("v1.0.0").debug_assert();
    }

    /// Every page of help, short and long.
    #[test]
    fn help_fits_a_terminal() {
        fn pages(command: &mut Command, path: &str, seen: &mut usize) {
            for page in [command.render_help(), command.render_long_help()] {
                for line in page.to_string().lines() {
                    assert!(line.chars().count() <= 80, "{path}: {line:?}");
                    *seen += 1;
                }
            }
            for below in command.get_subcommands_mut() {
                let path = format!("{path} {}", below.get_name());
                pages(below, &path, seen);
            }
        }
        let (mut tree, mut seen) = (tree("v1.37.1"), 0);
        tree.build();
        pages(&mut tree, "skiff", &mut seen);
        assert!(seen > 400, "{seen}");
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
