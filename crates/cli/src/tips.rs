//! What people type who come from other programs, and what it is called here.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::process::ExitCode;

/// Words and flags of others, and the tip.
const TIPS: &[(&[&str], &str)] = &[
    (
        &["--nodes", "--agents", "--servers", "--workers"],
        "a cluster has one node, this machine; a further cluster is `skiff -p NAME up`",
    ),
    (
        &["--cpus", "--disk-size", "--driver", "--memory", "--vm-driver"],
        "a cluster is processes of this machine: there is nothing to size and no driver",
    ),
    (
        &["--kubernetes-version", "--image"],
        "this program is one version of Kubernetes: `skiff version` says which",
    ),
    (&["--name", "--cluster"], "a cluster is named by its profile: `skiff -p NAME up`"),
    (
        &["addon", "addons", "dashboard", "disable", "enable"],
        "DNS and the service proxy are built in; all else goes in with `kubectl apply` or helm",
    ),
    (
        &["apply", "exec", "expose", "get", "kubectl", "port-forward", "run"],
        "kubectl does that: `skiff up` makes the cluster its context",
    ),
    (&["cluster", "create", "init", "install"], "`skiff up` makes a cluster and starts it"),
    (
        &["destroy", "purge", "remove", "reset", "rm", "uninstall"],
        "`skiff delete` removes a cluster",
    ),
    (&["clusters", "list", "ls", "profiles", "ps"], "`skiff profile list` lists the clusters"),
    (&["images", "load", "pull"], "`skiff image ls`, `skiff image load` or `skiff image pull`"),
    (&["ip", "node", "nodes", "ssh"], "the node is this machine: `kubectl get nodes -o wide`"),
    (
        &["service", "tunnel"],
        "a Service's address leads to its pods on this machine: `kubectl get services`",
    ),
    (&["pause", "restart", "unpause"], "`skiff down`, then `skiff up`"),
    (&["update-context"], "`skiff up` writes kubectl's context anew"),
];

/// Says what is wrong with the words; help and version come this way too.
pub fn refuse(error: clap::Error) -> ExitCode {
    let wrong = match error.kind() {
        ErrorKind::UnknownArgument => error.get(ContextKind::InvalidArg),
        ErrorKind::InvalidSubcommand => error.get(ContextKind::InvalidSubcommand),
        _ => None,
    };
    let tip = match wrong {
        Some(ContextValue::String(word)) => tip(word).map(|tip| (word, tip)),
        _ => None,
    };
    match tip {
        Some((word, tip)) => {
            crate::say::remark(format_args!("error: there is no '{word}' here\n\n  tip: {tip}"));
        }
        // Nothing is left to tell it to.
        None => error.print().unwrap_or(()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn tip(word: &str) -> Option<&'static str> {
    let word = word.split('=').next()?;
    TIPS.iter().find(|(words, _)| words.contains(&word)).map(|(_, tip)| *tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tip_hides_a_command_of_ours_or_breaks_a_line() {
        let tree = crate::words::tree("v1");
        for (words, text) in TIPS {
            assert!(text.len() + "  tip: ".len() <= 96, "{text}");
            for word in *words {
                assert_eq!(tip(word), Some(*text));
                assert!(tree.clone().try_get_matches_from(["skiff", word]).is_err(), "{word}");
                assert!(tree.find_subcommand(word).is_none(), "{word}");
            }
        }
        assert_eq!(tip("--nodes=3"), tip("--nodes"));
        assert_eq!(tip("up"), None);
    }
}
