//! The second run of the mutating chain: who is asked again, and about what (`reinvocationPolicy`), of webhooks and
//! policies alike.

use skiff_json::Value;

/// What one plugin leaves for the second run of the chain.
#[derive(Debug, Default)]
pub struct Chain {
    /// Who was asked, wants to be asked again, and has not seen a change since.
    asked: Vec<String>,
    /// Who is to be asked in the second run.
    again: Vec<String>,
    /// The object as it left it.
    left: Option<Value>,
}

impl Chain {
    /// Who was asked before has not seen this.
    pub fn changed(&mut self) {
        self.again.append(&mut self.asked);
    }

    /// The second run begins: what other plugins changed since is for all to see.
    pub fn begin(&mut self, now: &Value) {
        if self.left.as_ref().is_some_and(|left| left != now) {
            self.changed();
        }
    }

    /// Somebody was asked who wants to see later changes.
    pub fn asked(&mut self, whom: &str) {
        self.asked.push(whom.to_owned());
    }

    /// Whether somebody is asked in the second run.
    pub fn is_asked(&self, whom: &str) -> bool {
        self.again.iter().any(|it| it == whom)
    }

    /// The run ends with this object.
    pub fn leave(&mut self, object: &Value) {
        self.left = Some(object.clone());
    }
}
