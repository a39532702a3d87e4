//! Reviewed: tokens that a webhook knows (documentation page "Webhook Token Authentication"), asked by TokenReview.
//! What it says is remembered for a time, yes and no alike; that something went wrong, there or on the way, is not.

use crate::configured::kubeconfig;
use crate::configured::remembered::Remembered;
use crate::identity::token::common;
use skiff_api::wire::User;
use skiff_base::World;
use skiff_json::{Value, json};
use std::time::Duration;

/// A user, and the audiences of those asked for that the token is meant for; `None` is nobody the webhook knows.
pub type Known = Option<(User, Vec<String>)>;

pub struct Webhook {
    reviewer: kubeconfig::Server,
    life: Duration,
    known: Remembered<Known>,
}

impl Webhook {
    pub fn new(reviewer: kubeconfig::Server, life: Duration, world: &World) -> Webhook {
        Webhook { reviewer, life, known: Remembered::new(world.clone()) }
    }

    /// Whose a token is; `own` are the audiences of a webhook that names none.
    ///
    /// # Errors
    /// What the webhook says is wrong with it, or why it says nothing.
    pub async fn user(
        &self,
        token: &str,
        wanted: &[&str],
        own: &[String],
    ) -> Result<Known, String> {
        let spec = json!({"token": token, "audiences": wanted});
        let key = Remembered::<Known>::key(spec.to_string().as_bytes());
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": spec,
            "status": {"user": {}},
        });
        let answer = self.reviewer.review(&review).await.inspect_err(|why| {
            tracing::error!(why, "a webhook that authenticates does not answer");
        })?;
        let known = said(&answer["status"], wanted, own)?;
        let size = answer["status"].to_string().len();
        self.known.put(key, known.clone(), size, self.life);
        Ok(known)
    }
}

fn said(status: &Value, wanted: &[&str], own: &[String]) -> Result<Known, String> {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut meant = texts(&status["audiences"]);
    if meant.is_empty() {
        meant = own.to_vec();
    }
    let meant = common(wanted, &meant);
    if meant.is_empty() {
        return Ok(None);
    }
    if status["authenticated"] != true {
        return match text(&status["error"]) {
            why if why.is_empty() => Ok(None),
            why => Err(why),
        };
    }
    let user = &status["user"];
    let extra = user["extra"].as_object().into_iter().flatten();
    let user = User {
        name: text(&user["username"]),
        uid: text(&user["uid"]),
        groups: texts(&user["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    };
    Ok(Some((user, meant)))
}

#[cfg(test)]
mod tests;
