//! Conflicts of a server-side apply: which fields belong to somebody else, in the words users know.

use super::element::show_path;

/// A field that the applied configuration changes and another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as shown: `"kubectl-client-side-apply" using apps/v1`.
    pub manager: String,
    /// The path as trie keys.
    pub(super) path: Vec<String>,
}

impl Conflict {
    /// The field of the Status cause: `.spec.replicas`.
    pub fn field(&self) -> String {
        show_path(&self.path)
    }

    /// The message of the Status cause; its type is `FieldManagerConflict`.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

/// All conflicts of one apply, ordered by manager and field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl std::fmt::Display for Conflicts {
    /// The message of the Status.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [one] = self.0.as_slice() {
            let field = one.field();
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {field}",
                one.manager
            );
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut last = None;
        for (i, conflict) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            if last != Some(&conflict.manager) {
                writeln!(f, "conflicts with {}:", conflict.manager)?;
                last = Some(&conflict.manager);
            }
            write!(f, "- {}", conflict.field())?;
        }
        Ok(())
    }
}
