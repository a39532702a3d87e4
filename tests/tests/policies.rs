//! Admission policies with kubectl, and what only the server's own logs and figures show. What each expression gives is in
//! the recorded cases (`differential/policies.txt`).

use serde_json::Value;
use skiff_tests::cluster::Cluster;
use std::fmt::Write as _;

const AUDIT: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resources: [{group: '', \
                     resources: [configmaps]}]}, {level: None}]";

/// A policy for the config maps of the namespace `default`, with its binding.
fn policy(sort: &str, name: &str, spec: &str, binding: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: {sort}AdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         matchConstraints: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: default}}}}, resourceRules: \
         [{{operations: [CREATE, UPDATE], apiGroups: [''], apiVersions: [v1], resources: [configmaps]}}]}}\n{spec}\n---\n\
         apiVersion: admissionregistration.k8s.io/v1\nkind: {sort}AdmissionPolicyBinding\nmetadata: {{name: {name}}}\n\
         spec: {{policyName: {name}{binding}}}\n"
    )
}

/// A cluster whose audit log is in `HOME/audit.log`.
fn cluster(test: &str) -> (Cluster, String) {
    let c = Cluster::empty(test);
    let home = c.machine().home().display().to_string();
    std::fs::write(format!("{home}/policy.yaml"), AUDIT).expect("it can be written");
    let (policy, log) = (format!("{home}/policy.yaml"), format!("{home}/audit.log"));
    c.skiff(&[
        "up",
        "--audit-policy-file",
        &policy,
        "--audit-log-path",
        &log,
        "--audit-log-mode",
        "blocking",
    ]);
    c.k.wait("--for=create sa/default");
    (c, home)
}

/// The annotations of the last event about the config map of this name.
fn annotations(c: &Cluster, home: &str, name: &str) -> Value {
    let log = c.shell(&format!("cat {home}/audit.log"));
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let mut own = events.filter(|it| {
        it["objectRef"]["name"] == name || it["requestURI"].to_string().contains(name)
    });
    own.next_back().map(|it| it["annotations"].clone()).unwrap_or_default()
}

/// What is followed from the store is known a moment later; each try is a call, and so many are enough.
fn until(c: &Cluster, what: &str, mut there: impl FnMut() -> bool) {
    assert!((0..100).any(|_| there()), "{what}\n{}", c.k.trace());
}

#[test]
fn policies_refuse_warn_and_tell() {
    let (c, home) = cluster("policies-validating");
    let k = &c.k;
    let spec = "  variables: [{name: count, expression: 'has(object.data) ? size(object.data) : 0'}]\n  validations: \
                [{expression: 'variables.count < 3', messageExpression: '\"not \" + string(variables.count)'}]\n  \
                auditAnnotations: [{key: count, valueExpression: 'string(variables.count)'}]";
    k.apply(&policy("Validating", "few", spec, ", validationActions: [Deny, Audit]"));
    let soft = "  validations: [{expression: \"object.metadata.name < 'm' && 1 < 2\", message: early names}]\n  \
                matchConditions: [{name: asked, expression: \"object.metadata.name != 'unasked'\"}]";
    k.apply(&policy("Validating", "early", soft, ", validationActions: [Warn, Audit]"));
    let many = "create cm many --from-literal=a=1 --from-literal=b=2 --from-literal=c=3";
    let dry = format!("{many} --dry-run=server");
    let dry: Vec<&str> = dry.split(' ').collect();
    until(&c, "few", || k.answer_of(&dry).err.contains("not 3"));
    until(&c, "early", || k.answer_of(&dry).err.contains("early names"));
    let refused = k.fails(many);
    assert!(
        refused.contains(
            "configmaps \"many\" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'few' denied request: not 3"
        ),
        "{refused}"
    );
    let warned = k.answer_of(&["create", "cm", "zebra", "--from-literal=a=1"]);
    let warning = "Warning: Validation failed for ValidatingAdmissionPolicy 'early' with binding 'early': early names";
    assert!(warned.err.contains(warning), "{}", warned.err);
    assert_eq!(warned.out, "configmap/zebra created\n");
    let told = annotations(&c, &home, "many");
    assert_eq!(told["few/count"], "3");
    assert_eq!(
        told["validation.policy.admission.k8s.io/validation_failure"],
        "[{\"message\":\"early names\",\"policy\":\"early\",\"binding\":\"early\",\"expressionIndex\":0,\
         \"validationActions\":[\"Warn\",\"Audit\"]},{\"message\":\"not 3\",\"policy\":\"few\",\"binding\":\"few\",\
         \"expressionIndex\":0,\"validationActions\":[\"Deny\",\"Audit\"]}]"
    );
    assert_eq!(k.answer_of(&["create", "cm", "unasked"]).err, "");
    let page = k.ok("get --raw /metrics");
    let asked = "{kind=\"policy\",name=\"early\",operation=\"CREATE\",type=\"validate\"} ";
    for (name, least) in [("exclusions_total", 1), ("evaluation_seconds_count", 3)] {
        let figure = format!("apiserver_admission_match_condition_{name}{asked}");
        let count = page.lines().find_map(|line| line.strip_prefix(&*figure)?.parse::<u32>().ok());
        assert!(count.is_some_and(|it| it >= least), "{figure}{count:?}");
    }
    for (action, policy) in [("deny", "few"), ("audit", "few"), ("warn", "early")] {
        let figure = format!(
            "apiserver_validating_admission_policy_check_total{{enforcement_action=\"{action}\",\
             error_type=\"invalid_error\",policy=\"{policy}\",policy_binding=\"{policy}\"}}"
        );
        assert!(page.contains(&figure), "{figure}");
    }
    // The daemon begins anew, and knows them from the first request on.
    c.skiff(&["down"]);
    c.skiff(&["up"]);
    assert!(k.fails(many).contains("denied request: not 3"));
    k.ok("delete validatingadmissionpolicybinding few");
    until(&c, "without a binding", || k.answer_of(&dry).code == 0);
}

#[test]
fn variables_are_a_bounded_tower() {
    let (c, _) = cluster("policies-variables");
    let k = &c.k;
    let tower = |levels: usize| {
        let mut all = "  variables:\n  - {name: v0, expression: '1'}\n".to_owned();
        for level in 1..levels {
            let below = level - 1;
            writeln!(all, "  - {{name: v{level}, expression: 'variables.v{below} + 1'}}")
                .expect("a String");
        }
        let top = levels - 1;
        writeln!(all, "  validations: [{{expression: 'variables.v{top} < 0', messageExpression: 'string(variables.v{top})'}}]")
            .expect("a String");
        policy("Validating", "tower", &all, ", validationActions: [Deny]")
    };
    k.apply(&tower(16));
    let create = ["create", "cm", "a", "--dry-run=server"];
    until(&c, "16 levels", || k.answer_of(&create).err.contains("denied request: 16"));
    k.apply(&tower(500));
    until(&c, "500 levels", || k.answer_of(&create).err.contains("more than 16 levels deep"));
}

#[test]
fn policies_change_what_comes_and_webhooks_see_it() {
    let (c, _) = cluster("policies-mutating");
    let k = &c.k;
    let label = "  reinvocationPolicy: Never\n  mutations: [{patchType: ApplyConfiguration, applyConfiguration: \
                 {expression: 'Object{metadata: Object.metadata{labels: {\"by\": request.userInfo.username}}}'}}]";
    k.apply(&policy("Mutating", "label", label, ""));
    let judge =
        "  validations: [{expression: \"object.metadata.labels['by'] == 'kubernetes-admin'\"}]";
    k.apply(&policy("Validating", "judge", judge, ", validationActions: [Deny]"));
    let dry = ["create", "cm", "a", "--dry-run=server", "-o", "jsonpath={.metadata.labels.by}"];
    until(&c, "the label", || k.answer_of(&dry).out == "kubernetes-admin");
    k.ok("create cm a");
    assert_eq!(k.ok("get cm a -o jsonpath={.metadata.labels}"), r#"{"by":"kubernetes-admin"}"#);
    // What a policy sets belongs to nobody, so that an apply of somebody else does not fight with it.
    let owned = k.ok("get cm a -o jsonpath={.metadata.managedFields} --show-managed-fields");
    assert!(!owned.contains("f:by"), "{owned}");
    let page = k.ok("get --raw /metrics");
    assert!(
        page.contains(
            "apiserver_mutating_admission_policy_check_total{enforcement_action=\"allow\""
        )
    );
}

#[test]
fn what_costs_too_much_refuses() {
    let (c, _) = cluster("policies-costs");
    let k = &c.k;
    let dear = "object.data.all(a, object.data.all(b, a == b || object.data[a] != object.data[b]))";
    let spec = format!("  validations: [{{expression: '{dear}', message: twice}}]");
    k.apply(&policy("Validating", "dear", &spec, ", validationActions: [Deny]"));
    let twice =
        ["create", "cm", "a", "--from-literal=a=1", "--from-literal=b=1", "--dry-run=server"];
    until(&c, "it is cheap for few", || k.answer_of(&twice).err.contains("denied request: twice"));
    let literals: Vec<String> = (0..600).map(|it| format!("--from-literal=k{it}={it}")).collect();
    let mut many = vec!["create", "cm", "many"];
    many.extend(literals.iter().map(String::as_str));
    let refused = k.answer_of(&many).err;
    assert!(refused.contains("operation cancelled: actual cost limit exceeded"), "{refused}");
    k.args(&[
        "patch",
        "validatingadmissionpolicy",
        "dear",
        "--type=merge",
        "-p",
        r#"{"spec":{"failurePolicy":"Ignore"}}"#,
    ]);
    until(&c, "failures are ignored", || k.answer_of(&many).code == 0);
}

#[test]
fn parameters_are_read_by_those_who_may() {
    let (c, _) = cluster("policies-reads");
    let k = &c.k;
    k.ok("create clusterrole author --verb=* --resource=validatingadmissionpolicies,validatingadmissionpolicybindings");
    k.ok("create clusterrolebinding author --clusterrole=author --user=eve");
    k.ok("create secret generic limits --from-literal=most=2");
    let spec = "  paramKind: {apiVersion: v1, kind: Secret}\n  validations: [{expression: 'false', messageExpression: \
                'string(params.data.most)'}]";
    let manifest = policy(
        "Validating",
        "leak",
        spec,
        ", validationActions: [Deny], paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}",
    );
    let refused = k.exits(1, &["create", "--as=eve", "-f", "-"], &manifest).err;
    assert!(
        refused.contains("must have \"get\" permission on all objects of the referenced paramKind"),
        "{refused}"
    );
    k.apply(&manifest);
    k.ok("delete validatingadmissionpolicybinding leak");
    let refused = k.exits(1, &["create", "--as=eve", "-f", "-"], &manifest).err;
    assert!(
        refused.contains("does not have \"get\" permission on the object referenced by paramRef"),
        "{refused}"
    );
}
