//! `skiff completion SHELL`: a script that teaches a shell our words.

use clap_complete::Shell;

pub fn print(shell: Shell, kubernetes: &'static str) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::words::tree(kubernetes), "skiff", &mut script);
    crate::say::line(String::from_utf8_lossy(&script).trim_end());
}
