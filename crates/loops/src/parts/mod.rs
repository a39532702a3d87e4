//! Parts: the nouns that several controllers share. Pure, like the plans that use them.

pub mod adoption;
pub mod conditions;
pub mod pods;
pub mod status;
pub mod template;
