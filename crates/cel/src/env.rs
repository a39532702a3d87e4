//! What an expression may name: its variables and their types, and the messages that it may make.

use std::sync::Arc;

use crate::decl::Decl;
use crate::functions::{self, Overload};
use crate::types::Type;
use crate::value::Value;

/// The variables of an expression. Bindings are given in the same order.
#[derive(Clone, Default)]
pub struct Env {
    variables: Vec<Variable>,
    messages: Option<Arc<dyn Messages>>,
    patches: bool,
}

#[derive(Clone)]
struct Variable {
    name: String,
    kind: Type,
    decl: Option<Arc<Decl>>,
}

/// Types of messages beside those of variables (`Object.spec`, `JSONPatch`).
pub trait Messages: Send + Sync {
    /// The type of this name, if there is one.
    fn named(&self, name: &str) -> Option<Type>;
    /// The type of a message's field.
    fn field(&self, name: &str, field: &str) -> Option<Type>;
}

impl Env {
    /// A variable of any type.
    pub fn with(mut self, name: &str, kind: Type) -> Env {
        self.variables.push(Variable { name: name.to_string(), kind, decl: None });
        self
    }

    /// A variable of a schema's type.
    pub fn declared(self, name: &str, decl: &Arc<Decl>) -> Env {
        let kind = decl.kind();
        self.declared_as(name, kind, decl)
    }

    /// A variable of a type that is made of a schema's (`optional_type(T)`).
    pub fn declared_as(mut self, name: &str, kind: Type, decl: &Arc<Decl>) -> Env {
        self.variables.push(Variable { name: name.to_string(), kind, decl: Some(decl.clone()) });
        self
    }

    /// With what JSON patches need (`jsonpatch.escapeKey`), as mutating policies have it.
    pub fn with_patches(mut self) -> Env {
        self.patches = true;
        self
    }

    /// The signatures of a function that expressions may call here.
    pub(crate) fn function(&self, name: &str) -> Option<(&'static str, &'static [Overload])> {
        functions::find(name).filter(|it| self.patches || !it.0.starts_with("jsonpatch."))
    }

    pub fn messages(mut self, messages: Arc<dyn Messages>) -> Env {
        self.messages = Some(messages);
        self
    }

    /// Gives each variable a place for its value.
    pub fn bindings<'a>(&self) -> Bindings<'a> {
        Bindings {
            names: self.variables.iter().map(|it| it.name.clone()).collect(),
            values: self.variables.iter().map(|_| Binding::Absent).collect(),
        }
    }

    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|it| it.name == name)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.iter().find(|it| it.name == name).map(|it| &it.kind)
    }

    /// The declaration that sizes are read from: that of the variable, or of the first that has one.
    pub(crate) fn decl(&self, name: &str) -> Option<&Decl> {
        let own = self.variables.iter().find(|it| it.name == name);
        let any = || self.variables.iter().find(|it| it.decl.is_some());
        own.or_else(any).and_then(|it| it.decl.as_deref())
    }

    pub(crate) fn named_type(&self, name: &str) -> Option<Type> {
        self.messages.as_ref()?.named(name)
    }

    pub(crate) fn field(&self, message: &str, field: &str) -> Option<Type> {
        self.messages.as_ref()?.field(message, field)
    }
}

/// The values of an environment's variables.
#[derive(Clone)]
pub struct Bindings<'a> {
    names: Vec<String>,
    pub(crate) values: Vec<Binding<'a>>,
}

/// What a variable stands for in one evaluation.
#[derive(Clone)]
pub enum Binding<'a> {
    /// Declared, but without a value: an error if it is read.
    Absent,
    Value(Value<'a>),
}

impl<'a> Bindings<'a> {
    /// Sets a variable; one that the environment does not declare is no error, as nothing reads it.
    pub fn set(mut self, name: &str, value: Value<'a>) -> Bindings<'a> {
        if let Some(at) = self.names.iter().position(|it| it == name) {
            self.values[at] = Binding::Value(value);
        }
        self
    }
}
