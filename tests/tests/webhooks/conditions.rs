//! Match conditions, as upstream answered.

use crate::bench::*;
use expect_test::expect;
use serde_json::json;
use std::fmt::Write as _;

/// Expressions, whether the webhook is asked then, and what else is said, as upstream answered. `LONG` costs too much.
const CONDITIONS: &[(&[&str], &str)] = &[
    (&["true"], "asked"),
    (&["object.metadata.name.startsWith('x')"], "not asked"),
    (
        &["object.data.missing == 'x'"],
        "expression 'object.data.missing == 'x'' resulted in error: no such key: missing",
    ),
    (&["object.data.missing == 'x'", "false"], "not asked"),
    (
        &["object.data.no == 'x'", "object.data.more == 'x'"],
        "[expression 'object.data.no == 'x'' resulted in error: no such key: no, expression \
         'object.data.more == 'x'' resulted in error: no such key: more]",
    ),
    (
        &["LONG"],
        "expression 'LONG' resulted in error: operation cancelled: actual cost limit exceeded",
    ),
    (&["LONG", "false"], "not asked"),
    (
        &[
            "authorizer.group('').resource('secrets').namespace(request.namespace).check('get').allowed()",
        ],
        "asked",
    ),
    (
        &[
            "authorizer.serviceAccount('default','x').group('').resource('secrets').check('get').allowed()",
        ],
        "not asked",
    ),
    (&["authorizer.path('/healthz').check('get').allowed()"], "asked"),
    (
        &["authorizer.path('').check('get').allowed()"],
        "expression 'authorizer.path('').check('get').allowed()' resulted in error: path must not be empty",
    ),
    (&["authorizer.requestResource.check('create').allowed()"], "asked"),
    (&["oldObject == null && namespaceObject == null"], "asked"),
    (&["has(request.subResource)"], "not asked"),
    (
        &[
            "request.dryRun == false && request.operation == 'CREATE' && request.kind.kind == 'ConfigMap'",
        ],
        "asked",
    ),
    (
        &["request.resource.resource == 'configmaps' && request.options.kind == 'CreateOptions'"],
        "asked",
    ),
    (&["request.userInfo.groups.exists(g, g == 'system:authenticated')"], "asked"),
    (&["['a', 'b'].exists(it, authorizer.group('').resource(it).check('x').allowed())"], "asked"),
    (
        &["['a', 'b', 'c'].all(it, authorizer.group('').resource(it).check('x').allowed())"],
        "expression '['a', 'b', 'c'].all(it, authorizer.group('').resource(it).check('x').allowed())' resulted in \
         error: operation cancelled: actual cost limit exceeded",
    ),
    (&["object.metadata.uid == ''"], "not asked"),
    (&["has(object.metadata.creationTimestamp)"], "asked"),
];

#[test]
fn match_conditions_say_who_is_asked() {
    let b = bench("webhooks-conditions", &[]);
    let digits = "[0,1,2,3,4,5,6,7,8,9]";
    let folds = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{digits}.all({name}, "));
    let long = format!("{}true{}", folds.concat(), ")".repeat(folds.len()));
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": "hooks"}});
    let hook = |expressions: &[&str], policy: &str| {
        let conditions = expressions.iter().enumerate().map(|(index, expression)| {
            json!({"name": format!("c{index}"), "expression": expression.replace("LONG", &long)})
        });
        json!({"matchConditions": conditions.collect::<Vec<_>>(), "failurePolicy": policy,
               "namespaceSelector": here})
    };
    b.answers("check", json!({}));
    for policy in ["Fail", "Ignore"] {
        for (index, (expressions, expected)) in CONDITIONS.iter().enumerate() {
            let before = b.asked("check").len();
            b.configure(
                "Validating",
                "check",
                rule("", "configmaps", &["CREATE"]),
                hook(expressions, policy),
            );
            let name = format!("{}-{index}", policy.to_lowercase());
            let made = b.create_map("hooks", &name);
            let asked = b.asked("check").len() > before;
            let said = match (&*made.code, asked) {
                ("201", true) => "asked".to_owned(),
                ("201", false) => "not asked".to_owned(),
                _ => made.message().replace(&long, "LONG"),
            };
            let refused = format!("configmaps \"{name}\" is forbidden: {expected}");
            let expected = match (*expected, policy) {
                ("asked" | "not asked", _) => *expected,
                (_, "Ignore") => "not asked",
                _ => &refused,
            };
            assert_eq!(said, expected, "{policy} {expressions:?}");
        }
    }
    // What an account may decides, where a condition asks for it.
    b.c.k.ok("create clusterrolebinding eve --clusterrole=edit --user=eve");
    let may = "authorizer.group('').resource('nodes').check('delete').allowed()";
    b.configure("Validating", "check", rule("", "configmaps", &["CREATE"]), hook(&[may], "Fail"));
    let before = b.asked("check").len();
    b.c.k.ok("create configmap -n hooks by-eve --as=eve");
    assert_eq!(b.asked("check").len(), before);
    b.c.k.ok("create configmap -n hooks by-root");
    assert_eq!(b.asked("check").len(), before + 1);
    let page = b.c.k.ok("get --raw /metrics");
    let asked =
        "{kind=\"webhook\",name=\"check.example.com\",operation=\"CREATE\",type=\"validate\"} ";
    for name in ["exclusions_total", "evaluation_errors_total", "evaluation_seconds_count"] {
        let figure = format!("apiserver_admission_match_condition_{name}{asked}");
        assert!(page.contains(&figure), "{figure}\n{page}");
    }
    // What cannot be an answer is refused when it is written, in upstream's words.
    let mut out = String::new();
    for expression in [
        "object.",
        "1 + 1",
        "request.nothing == ''",
        "object.x",
        "params.x == 1",
        "variables.x",
        "request.namespace == 1",
        "authorizer.group('').allowed()",
    ] {
        let mut hooks =
            json!({"metadata": {"name": "wrong"}, "webhooks": [hook(&[expression], "Fail")]});
        let hook = &mut hooks["webhooks"][0];
        hook["name"] = "wrong.example.com".into();
        hook["sideEffects"] = "None".into();
        hook["admissionReviewVersions"] = json!(["v1"]);
        hook["clientConfig"] = b.url("check");
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        let refused = b.ask("POST", path, &hooks);
        let why =
            refused.message().split_once("expression: ").map_or(refused.message(), |(_, why)| why);
        writeln!(out, "{why}").expect("a String");
    }
    expect![[r#"
        Invalid value: "object.": compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'
         | object.
         | .......^
        Invalid value: "1 + 1": must evaluate to bool but got int
        Invalid value: "request.nothing == ''": compilation failed: ERROR: <input>:1:8: undefined field 'nothing'
         | request.nothing == ''
         | .......^
        Invalid value: "object.x": must evaluate to bool but got dyn
        Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')
         | params.x == 1
         | ^
        Invalid value: "variables.x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')
         | variables.x
         | ^
        Invalid value: "request.namespace == 1": compilation failed: ERROR: <input>:1:19: found no matching overload for '_==_' applied to '(string, int)'
         | request.namespace == 1
         | ..................^
        Invalid value: "authorizer.group('').allowed()": compilation failed: ERROR: <input>:1:29: found no matching overload for 'allowed' applied to 'kubernetes.authorization.GroupCheck.()'
         | authorizer.group('').allowed()
         | ............................^
    "#]]
    .assert_eq(&out);
}
