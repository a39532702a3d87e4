//! The generation of a built-in kind: a number that changes with whatever would make of a stored object something
//! else when it is read. A record of another generation is renewed then, so that an upgraded Skiff shows old objects
//! as its own.
//!
//! It is reckoned from the schema (all that decoding, defaults and emission look at) and the kind's own count of what
//! its hooks do. It is the same in every build with the same schema, and says nothing about which one is newer.

use super::{Node, Shape, Struct};
use crate::kind::Kind;
use skiff_base::Fnv;
use std::collections::BTreeSet;

/// The generation of a kind that stores what it is given; see [`Kind::generation`].
pub fn of(kind: &Kind) -> u32 {
    let mut sum = Sum(Fnv::default());
    sum.0.add(&kind.hooks.revision.to_le_bytes());
    let mut seen = BTreeSet::new();
    let mut left: Vec<&Struct> = vec![&kind.schema];
    while let Some(next) = left.pop() {
        if seen.insert(&*next.name) {
            sum.text(&next.name);
            sum.0.add(&[u8::from(next.open)]);
            for field in next.fields.iter() {
                sum.text(&field.name);
                sum.text(field.default.as_deref().unwrap_or(""));
                sum.0.add(&[field.emit as u8]);
                sum.node(&field.node, &mut left);
            }
        }
    }
    // Both halves count.
    let sum = sum.0.value();
    (sum ^ (sum >> 32)) as u32
}

/// A sum over schemas.
struct Sum(Fnv);

impl Sum {
    /// Followed by what ends no text in UTF-8.
    fn text(&mut self, text: &str) {
        self.0.add(text.as_bytes());
        self.0.add(&[0xff]);
    }

    /// One place; structs below it are left for later.
    fn node<'a>(&mut self, node: &'a Node, left: &mut Vec<&'a Struct>) {
        self.text(node.default.as_deref().unwrap_or(""));
        let type_ = match &node.shape {
            Shape::Any => 0,
            Shape::Bool => 1,
            Shape::Int32 => 2,
            Shape::Int64 => 3,
            Shape::Float => 4,
            Shape::String => 5,
            Shape::Bytes => 6,
            Shape::Time => 7,
            Shape::MicroTime => 8,
            Shape::Duration => 9,
            Shape::Quantity => 10,
            Shape::IntOrString => 11,
            Shape::Struct(_) => 12,
            Shape::Map(_) => 13,
            Shape::List(_) => 14,
        };
        self.0.add(&[type_]);
        match &node.shape {
            Shape::Struct(of) => {
                self.text(&of.name);
                left.push(of);
            }
            Shape::Map(element) | Shape::List(element) => self.node(element, left),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Emit, Field, Ref, Strategy, Topology};
    use crate::view::Resource;
    use std::sync::Arc;

    fn kind(default: Option<&'static str>, shape: Shape) -> Kind {
        let node = Node { shape, topology: Topology::Granular, default: None, rules: None };
        let field = Field {
            name: "data".into(),
            go: "".into(),
            inline: &[],
            node,
            required: false,
            emit: Emit::NotEmpty,
            topology: Topology::Granular,
            strategy: Strategy::Default,
            default: default.map(Into::into),
            values: &[],
            said_atomic: false,
            tag: 0,
        };
        let schema = Struct {
            name: "".into(),
            fields: vec![field].into(),
            go: "".into(),
            topology: Topology::Granular,
            open: false,
            wire: &[],
        };
        let like = Kind::new(Resource::core("configmaps", "ConfigMap"));
        Kind { schema: Ref::Shared(Arc::new(schema)), ..like }
    }

    #[test]
    fn what_is_read_otherwise_is_another_generation() {
        let first = of(&kind(None, Shape::String));
        assert_eq!(first, of(&kind(None, Shape::String)));
        assert_ne!(first, of(&kind(Some("\"a\""), Shape::String)));
        assert_ne!(first, of(&kind(None, Shape::Bytes)));
        let mut hooked = kind(None, Shape::String);
        hooked.hooks.revision += 1;
        assert_ne!(first, of(&hooked));
    }

    #[test]
    fn what_lies_deep_counts() {
        let pod = Kind::new(Resource::core("pods", "Pod"));
        let template = Kind::new(Resource::core("podtemplates", "PodTemplate"));
        assert_ne!(of(&pod), of(&template));
        // Definitions that name themselves come to an end.
        let names = Resource::of("apiextensions.k8s.io", "v1", "x", "CustomResourceDefinition");
        let crd = Kind::new(names);
        assert_ne!(of(&crd), of(&pod));
    }
}
