//! CEL for Kubernetes: expressions over objects, checked and priced before they run, and run within a
//! budget (CEL language definition; Kubernetes documentation, "Common Expression Language").
//!
//! An [`env::Env`] says what an expression may name. [`run::Program::compile`] makes a program of a text, or
//! [`fault::Faults`] in upstream's words. [`run::Program::estimate`] is what a run may cost by the sizes that schemas
//! allow; [`run::Program::run`] evaluates it over [`env::Bindings`] and takes what it cost from a [`run::Budget`].
//!
//! ```no_run
//! use skiff_cel::{decl, env::Env, run::{Budget, Program}, value::Value};
//! let schema = skiff_json::json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
//! let decl = decl::Decl::of(&schema, decl::Place::Within, "spec").expect("it has fields");
//! let env = Env::default().declared("self", &decl);
//! let program = Program::compile(&env, "self.replicas > 2").expect("it is right");
//! let object = skiff_json::json!({"replicas": 3});
//! let bindings = env.bindings().set("self", Value::of(&object, &decl).expect("it is an object"));
//! assert!(program.run(&bindings, &mut Budget::of_request()).expect("it runs").is_true());
//! ```
//!
//! Values of a schema are read through its [`decl::Decl`]; values without one ([`value::Value::untyped`]) are what
//! their JSON says. What is computed only when it is asked for (`variables.x`) is a [`value::Fields`], and what has
//! functions of its own (the authorizer) a [`value::Host`], that the caller implements. Types of messages that
//! expressions make (`Object.spec`, `JSONPatch`) are named by [`env::Messages`].
//!
//! [`rules::Rules`] are those of a custom resource's schema; [`definition::check`] says what is wrong with them, and
//! [`definition::defaults`] which defaults break them. Whoever keeps programs bounds them by [`run::Program::parts`].
//!
//! Everything here is ours, also the parser. The crate `cel` 0.15 keeps no account of costs and has
//! no types; its parser (a generated one) recurses as deep as an expression is long, so that `1+1+1+...` ends the
//! process, and keeps tables that grow with what it has seen. Here depth, memory and time are bounded by what is
//! checked first; evaluation borrows the object and copies nothing of it. Nothing here waits, looks at a clock or does
//! IO.

pub mod ast;
pub mod check;
pub mod cost;
pub mod decl;
pub mod definition;
pub mod env;
mod equal;
mod eval;
pub mod fault;
mod functions;
mod lex;
mod library;
mod macros;
pub mod parse;
mod plan;
mod price;
pub mod rules;
pub mod run;
mod time;
pub mod types;
mod validate;
pub mod value;

#[cfg(test)]
mod tests;
