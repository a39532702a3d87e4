use super::*;

fn check(kind: &Kind, new: Value) -> String {
    let mut errors = Errors::new();
    (kind.hooks.validate)(&Object::new(new), None, &mut errors);
    if errors.is_empty() { "valid".into() } else { errors.text() }
}

#[test]
fn questions_are_checked() {
    let pods = json!({"verb": "get", "resource": "pods"});
    let subject = subjectaccessreview::kind();
    assert_eq!(
        check(&subject, json!({"spec": {"user": "a", "resourceAttributes": pods}})),
        "valid"
    );
    assert_eq!(
        check(&subject, json!({"spec": {}})),
        "[spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be \
         specified, spec.user: Invalid value: \"\": at least one of user or group must be specified]"
    );
    let both = json!({"user": "a", "resourceAttributes": pods,
                      "nonResourceAttributes": {"path": "/api", "verb": "get"}});
    assert_eq!(
        check(&subject, json!({"spec": both})),
        "spec: Invalid value: {\"Path\":\"/api\",\"Verb\":\"get\"}: exactly one of \
         nonResourceAttributes or resourceAttributes must be specified"
    );
    let own = selfsubjectaccessreview::kind();
    assert_eq!(
        check(&own, json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": pods}})),
        "metadata: Invalid value: {\"name\":\"x\"}: must be empty"
    );
    let selecting = json!({"verb": "get", "fieldSelector": {}});
    assert_eq!(
        check(&own, json!({"spec": {"resourceAttributes": selecting}})),
        "spec.resourceAttributes.fieldSelector.requirements: Required value: when \
         spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"
    );
    let local = localsubjectaccessreview::kind();
    let asked =
        json!({"metadata": {"namespace": "n"}, "spec": {"user": "a", "resourceAttributes": pods}});
    assert_eq!(
        check(&local, asked),
        "spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace"
    );
}
