//! Parts: the nouns that several controllers share. Pure, like the plans that use them.

pub mod adoption;
pub mod certificates;
pub mod conditions;
pub mod disruption;
pub mod metadata;
pub mod pods;
pub mod revisions;
pub mod status;
pub mod subsets;
pub mod template;
pub mod words;
