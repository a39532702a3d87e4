//! The authorizer as expressions see it (documentation page "Common Expression Language in Kubernetes", "Kubernetes
//! authorizer library"). Expressions cannot wait: what is not decided at once (the rights of a node may have to be
//! looked up) is noted, decided meanwhile, and there when they run again. Never here: any decision.

use super::{Attributes, Authorizer, Decision, requirements};
use futures_util::FutureExt;
use skiff_api::names;
use skiff_api::selector::FieldSelector;
use skiff_api::wire::User;
use skiff_base::Lock;
use skiff_cel::run::RunError;
use skiff_cel::value::{Host, Value};
use std::sync::Arc;

/// How often expressions run at most, for what they ask: each question costs 350,000, and a policy that asks has
/// budgets of 22,500,000.
const RUNS_MOST: usize = 65;

/// What expressions of one request ask, and were answered.
#[derive(Clone)]
pub struct Asker {
    authorizer: Arc<Authorizer>,
    asked: Arc<Lock<Asked>>,
}

#[derive(Default)]
struct Asked {
    known: Vec<(Question, Decision)>,
    missing: Vec<Question>,
}

#[derive(Clone, PartialEq)]
struct Question {
    user: User,
    asked: Attributes,
}

/// A value of the library.
struct Part {
    asker: Asker,
    user: User,
    what: What,
}

enum What {
    Authorizer,
    Path(String),
    Group(String),
    Resource(Attributes),
    Decision(Decision),
}

impl Asker {
    pub fn new(authorizer: &Arc<Authorizer>) -> Asker {
        Asker { authorizer: authorizer.clone(), asked: Arc::default() }
    }

    /// What expressions give when all that they ask is decided.
    pub async fn settled<T>(&self, mut run: impl FnMut() -> T) -> T {
        let mut result = run();
        for _ in 0..RUNS_MOST {
            if !self.fetch().await {
                break;
            }
            result = run();
        }
        result
    }

    /// `authorizer`, for this user.
    pub fn authorizer(&self, user: &User) -> Value<'static> {
        self.part(user, What::Authorizer)
    }

    /// `authorizer.requestResource`: what the request itself is about, without its verb.
    pub fn resource(&self, user: &User, about: Attributes) -> Value<'static> {
        let about = Attributes { verb: String::new(), version: "*".into(), ..about };
        self.part(user, What::Resource(about))
    }

    fn part(&self, user: &User, what: What) -> Value<'static> {
        Value::Host(Arc::new(Part { asker: self.clone(), user: user.clone(), what }))
    }

    /// Decides what was asked since, and says whether that was anything.
    async fn fetch(&self) -> bool {
        let missing = std::mem::take(&mut self.asked.lock().missing);
        let any = !missing.is_empty();
        for question in missing {
            let decision = self.authorizer.decide(&question.user, &question.asked).await;
            self.asked.lock().known.push((question, decision));
        }
        any
    }

    fn decision(&self, question: Question) -> Result<Decision, RunError> {
        let mut asked = self.asked.lock();
        if let Some((_, decision)) = asked.known.iter().find(|(known, _)| *known == question) {
            return Ok(decision.clone());
        }
        let decided = self.authorizer.decide(&question.user, &question.asked).now_or_never();
        if let Some(decision) = decided {
            asked.known.push((question, decision.clone()));
            return Ok(decision);
        }
        if !asked.missing.contains(&question) {
            asked.missing.push(question);
        }
        Err(RunError::of("it is not decided yet"))
    }
}

impl Part {
    fn next(&self, what: What) -> Result<Value<'static>, RunError> {
        Ok(self.asker.part(&self.user, what))
    }

    fn check(&self, asked: Attributes) -> Result<Value<'static>, RunError> {
        let decision = self.asker.decision(Question { user: self.user.clone(), asked })?;
        self.next(What::Decision(decision))
    }
}

impl Host for Part {
    fn kind(&self) -> &str {
        match self.what {
            What::Authorizer => "kubernetes.authorization.Authorizer",
            What::Path(_) => "kubernetes.authorization.PathCheck",
            What::Group(_) => "kubernetes.authorization.GroupCheck",
            What::Resource(_) => "kubernetes.authorization.ResourceCheck",
            What::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    fn call(&self, method: &str, args: &[Value]) -> Result<Value<'static>, RunError> {
        let text = |at: usize| args.get(at).and_then(Value::as_text).unwrap_or_default().to_owned();
        let first = text(0);
        match (&self.what, method) {
            (What::Authorizer, "path") => match first.trim() {
                "" => Err(RunError::of("path must not be empty")),
                _ => self.next(What::Path(first)),
            },
            (What::Authorizer, "group") => self.next(What::Group(first)),
            (What::Authorizer, "serviceAccount") => {
                let (namespace, name) = (first, text(1));
                if !names::is_subdomain(&name) {
                    return Err(RunError::of("Invalid service account name"));
                }
                if !names::is_label(&namespace) {
                    return Err(RunError::of("Invalid service account namespace"));
                }
                // As upstream: it has no token, so it is not authenticated.
                let mut user = User::service_account(&namespace, &name);
                user.groups.retain(|group| group != "system:authenticated");
                Ok(self.asker.part(&user, What::Authorizer))
            }
            (What::Group(group), "resource") => match first.trim() {
                "" => Err(RunError::of("resource must not be empty")),
                _ => self.next(What::Resource(Attributes {
                    group: group.clone(),
                    version: "*".into(),
                    resource: first,
                    ..Attributes::default()
                })),
            },
            (What::Resource(about), "check") => {
                self.check(Attributes { verb: first, ..about.clone() })
            }
            (What::Path(path), "check") => self.check(Attributes {
                verb: first,
                path: Some(path.clone()),
                ..Attributes::default()
            }),
            (What::Resource(about), _) => {
                let mut about = about.clone();
                match method {
                    "subresource" => about.subresource = first,
                    "namespace" => about.namespace = first,
                    "name" => about.name = first,
                    // One that cannot be read demands nothing: the question is broader.
                    "fieldSelector" => {
                        about.fields = FieldSelector::parse(&first).unwrap_or_default().0;
                    }
                    "labelSelector" => about.labels = requirements(&first).unwrap_or_default(),
                    _ => return Err(RunError::no_overload()),
                }
                self.next(What::Resource(about))
            }
            (What::Decision(decision), "allowed") => Ok(Value::Bool(decision.allowed())),
            (What::Decision(decision), "reason") => Ok(Value::text(&*decision.reason)),
            (What::Decision(decision), "errored") => Ok(Value::Bool(!decision.error.is_empty())),
            (What::Decision(decision), "error") => Ok(Value::text(&*decision.error)),
            _ => Err(RunError::no_overload()),
        }
    }
}
