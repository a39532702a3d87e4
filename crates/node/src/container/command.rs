//! Which program runs: the image's, unless the pod says otherwise (API reference: Container.command).

use super::expand::expand;
use skiff_api::views::pod::Container;
use skiff_image::ImageConfig;

/// Program and arguments, with references to the pod's own variables resolved.
pub fn command(
    container: &Container,
    image: &ImageConfig,
    env: &[(String, String)],
) -> Vec<String> {
    let lookup = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let resolve = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| expand(word, &lookup)).collect()
    };
    match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => [resolve(&container.command), resolve(&container.args)].concat(),
        (true, false) => [image.entrypoint.clone(), resolve(&container.args)].concat(),
        (true, true) => [image.entrypoint.clone(), image.cmd.clone()].concat(),
    }
}

/// The image's environment, with the pod's over it, as `NAME=value`.
pub fn merged_env(image: &ImageConfig, env: &[(String, String)]) -> Vec<String> {
    let name_of = |line: &str| line.split_once('=').map_or(line.to_owned(), |(n, _)| n.to_owned());
    let own = |line: &&String| env.iter().all(|(name, _)| *name != name_of(line));
    let mut all: Vec<String> = image.env.iter().filter(own).cloned().collect();
    if !all.iter().any(|line| name_of(line) == "PATH") && env.iter().all(|(n, _)| n != "PATH") {
        all.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    all.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
    all
}
