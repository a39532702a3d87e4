//! No part of a process ends by itself, and no task panics: what fails in a run is the world around them.

use super::state::Story;

pub fn check(story: &Story) -> Vec<String> {
    story.record.ended.clone()
}
