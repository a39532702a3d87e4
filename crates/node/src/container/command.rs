//! Which program runs: the image's, unless the pod says otherwise (API reference: Container.command).

use super::expand::{ALL_MOST, ONE_MOST, expand};
use skiff_image::ImageConfig;
use skiff_kinds::views::pod::Container;
use std::collections::HashMap;

/// Program and arguments, with references to the pod's own variables resolved.
pub fn command(
    container: &Container,
    image: &ImageConfig,
    env: &[(String, String)],
) -> Result<Vec<String>, String> {
    let values: HashMap<&str, &str> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
    let lookup = |name: &str| values.get(name).copied();
    let of_image: [&[String]; 2] = match (container.command.is_empty(), container.args.is_empty()) {
        (true, true) => [&image.entrypoint, &image.cmd],
        (true, false) => [&image.entrypoint, &[]],
        (false, _) => [&[], &[]],
    };
    let own = container.command.iter().chain(&container.args);
    let words = of_image.into_iter().flatten().map(|word| Ok(word.clone()));
    let mut all = Vec::new();
    let mut left = ALL_MOST;
    for word in words.chain(own.map(|word| expand(word, &lookup))) {
        let word = word.ok().filter(|word| word.len() <= left.min(ONE_MOST));
        let word = word.ok_or("the arguments are longer than a program can be given")?;
        left -= word.len();
        all.push(word);
    }
    Ok(all)
}

/// The image's environment, with the pod's over it, as `NAME=value`.
pub fn merged_env(image: &ImageConfig, env: &[(String, String)]) -> Result<Vec<String>, String> {
    let name_of = |line: &str| line.split_once('=').map_or(line.to_owned(), |(n, _)| n.to_owned());
    let own = |line: &&String| env.iter().all(|(name, _)| *name != name_of(line));
    let mut all: Vec<String> = image.env.iter().filter(own).cloned().collect();
    if !all.iter().any(|line| name_of(line) == "PATH") && env.iter().all(|(n, _)| n != "PATH") {
        all.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    all.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
    let letters = all.iter().map(String::len).sum::<usize>();
    if letters > ALL_MOST || all.iter().any(|line| line.len() > ONE_MOST) {
        return Err("the image's environment is longer than a program can be given".into());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_image_are_bounded_too() {
        let long = "x".repeat(ONE_MOST + 1);
        let many = vec!["x".repeat(ONE_MOST); ALL_MOST / ONE_MOST + 1];
        let fits = vec!["x".repeat(ONE_MOST); ALL_MOST / ONE_MOST];
        let container = Container::default();
        for (words, good) in [(vec![long], false), (many, false), (fits, true)] {
            for image in [
                ImageConfig { entrypoint: words.clone(), ..ImageConfig::default() },
                ImageConfig { cmd: words.clone(), ..ImageConfig::default() },
            ] {
                assert_eq!(command(&container, &image, &[]).is_ok(), good);
            }
            let mut image = ImageConfig { env: words, ..ImageConfig::default() };
            image.env.iter_mut().for_each(|line| line.replace_range(..2, "A="));
            image.env.push("PATH=".into());
            image.env.pop_if(|_| good);
            let path = [("PATH".to_owned(), String::new())];
            assert_eq!(merged_env(&image, &path).is_ok(), good);
        }
    }
}
