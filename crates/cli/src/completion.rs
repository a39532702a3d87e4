//! `skiff completion SHELL`: a script that teaches a shell our words. What is generated knows words and files; names of
//! profiles and of images are asked of `skiff` when they are wanted, so their places in the script are filled here.

use clap_complete::Shell;

/// Both print nothing to whoever is not root.
const PROFILES: &str = "skiff profile list -q 2>/dev/null";
const IMAGES: &str = "skiff image ls 2>/dev/null | awk 'NR > 1 {print $1 \":\" $2}'";

pub fn print(shell: Shell, kubernetes: &'static str) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::words::shown(kubernetes), "skiff", &mut script);
    let script = String::from_utf8_lossy(&script);
    crate::say::line(match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        _ => script.trim_end().to_owned(),
    });
}

/// In an arm `--profile)` or `-p)` the next line says what fits; in that of `image rm` the next is the list of words.
fn bash(script: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut arm = "";
    for line in script.trim_end().lines() {
        let text = line.trim();
        lines.push(match arm {
            "--profile)" | "-p)" => {
                line.replace("-f \"${cur}\"", &format!("-W \"$({PROFILES})\" -- \"${{cur}}\""))
            }
            "skiff__subcmd__image__subcmd__rm)" => {
                line.replace("--help\"", &format!("--help $({IMAGES})\""))
            }
            _ => line.to_owned(),
        });
        arm = text;
    }
    lines.join("\n")
}

fn zsh(script: &str) -> String {
    let asks = |name: &str, command: &str| {
        format!(
            "{name}() {{\n    local -a names\n    names=(${{(f)\"$({command})\"}})\n    compadd -a names\n}}\n"
        )
    };
    let functions = asks("_skiff_profiles", PROFILES) + &asks("_skiff_images", IMAGES);
    let fill = |line: &str| match line {
        line if line.starts_with("'-p+[") || line.starts_with("'--profile=[") => {
            line.replace(":NAME:_default", ":NAME:_skiff_profiles")
        }
        line if line.starts_with("'*::names -- A name, an ID") => {
            line.replace(":_default", ":_skiff_images")
        }
        line => line.to_owned(),
    };
    let script: Vec<_> = script.trim_end().lines().map(fill).collect();
    script.join("\n").replacen("\n\n", &format!("\n\n{functions}\n"), 1)
}

fn fish(script: &str) -> String {
    let fill = |line: &str| match line.contains(" -l profile ") {
        true => format!("{line} -f -a \"({PROFILES})\""),
        false => line.to_owned(),
    };
    let mut lines: Vec<_> = script.trim_end().lines().map(fill).collect();
    for word in ["rm", "remove"] {
        let place =
            format!("__fish_skiff_using_subcommand image; and __fish_seen_subcommand_from {word}");
        lines.push(format!(
            "complete -c skiff -n \"{place}\" -f -a '({})'",
            IMAGES.replace('\'', "\\'")
        ));
    }
    lines.join("\n")
}
