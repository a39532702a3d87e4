use super::*;
use skiff_api::kind::Kind;

/// The errors of an object, line by line.
fn check(kind: &Kind, mut new: Object, old: Option<&Object>) -> String {
    (kind.hooks.default)(&mut new);
    let mut errors = Errors::new();
    (kind.hooks.validate)(&new, old, &mut errors);
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn bindings_are_checked() {
    let binding = || {
        Object::new(json!({
            "roleRef": {"kind": "Foo", "name": "", "apiGroup": "x"},
            "subjects": [
                {"kind": "User", "name": ""}, {"kind": "Bar", "name": "a"},
                {"kind": "ServiceAccount", "name": "a", "apiGroup": "z"},
                {"kind": "Group", "name": "a", "apiGroup": "z"},
                {"kind": "ServiceAccount", "name": ""},
            ],
        }))
    };
    expect_test::expect![[r#"
        roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"
        roleRef.kind: Unsupported value: "Foo": supported values: "Role", "ClusterRole"
        subjects[1].kind: Unsupported value: "Bar": supported values: "ServiceAccount", "User", "Group"
        subjects[2].apiGroup: Unsupported value: "z": supported values: ""
        subjects[3].apiGroup: Unsupported value: "z": supported values: "rbac.authorization.k8s.io"
        subjects[0].name: Required value
        subjects[4].name: Required value
        roleRef.name: Required value
    "#]]
    .assert_eq(&check(&rolebinding::kind(), binding(), None));
    let cluster = check(&clusterrolebinding::kind(), binding(), None);
    assert!(cluster.contains("subjects[2].namespace: Required value\n"), "{cluster}");
    assert!(cluster.contains("supported values: \"ClusterRole\"\n"), "{cluster}");
}

#[test]
fn a_role_reference_never_changes() {
    let binding = |role: &str| {
        let mut object = Object::new(json!({"roleRef": {"kind": "Role", "name": role}}));
        default_binding(&mut object);
        object
    };
    assert_eq!(check(&rolebinding::kind(), binding("a"), Some(&binding("a"))), "");
    assert_eq!(
        check(&rolebinding::kind(), binding("b"), Some(&binding("a"))),
        "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"Role\",\
         \"Name\":\"b\"}: field is immutable\n"
    );
}

#[test]
fn rules_are_checked() {
    let role = || {
        Object::new(json!({
            "aggregationRule": {},
            "rules": [
                {}, {"verbs": ["get"]}, {"verbs": ["get"], "nonResourceURLs": ["/a"]},
                {"verbs": ["get"], "nonResourceURLs": ["/a"], "apiGroups": [""]},
            ],
        }))
    };
    expect_test::expect![[r#"
        rules[0].apiGroups: Required value: resource rules must supply at least one api group
        rules[0].resources: Required value: resource rules must supply at least one resource
        rules[1].apiGroups: Required value: resource rules must supply at least one api group
        rules[1].resources: Required value: resource rules must supply at least one resource
        rules[2].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs
        rules[3].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs
        rules[3].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs
        rules[0].verbs: Required value
    "#]]
    .assert_eq(&check(&role::kind(), role(), None));
    expect_test::expect![[r#"
        rules[0].apiGroups: Required value: resource rules must supply at least one api group
        rules[0].resources: Required value: resource rules must supply at least one resource
        rules[1].apiGroups: Required value: resource rules must supply at least one api group
        rules[1].resources: Required value: resource rules must supply at least one resource
        rules[3].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs
        aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil
        rules[0].verbs: Required value
    "#]]
    .assert_eq(&check(&clusterrole::kind(), role(), None));
}

#[test]
fn selectors_of_gatherers_are_checked() {
    let selectors = json!([
        {"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b c"}},
        {"matchExpressions": [{"key": "a", "operator": "Zap"}, {"key": "a", "operator": "In"},
                              {"key": "a", "operator": "Exists", "values": ["b"]}]},
    ]);
    let role = Object::new(json!({"aggregationRule": {"clusterRoleSelectors": selectors}}));
    let found = check(&clusterrole::kind(), role, None);
    let fields: Vec<&str> = found.lines().filter_map(|line| line.split(':').next()).collect();
    let at = "aggregationRule.clusterRoleSelectors";
    assert_eq!(
        fields,
        [
            format!("{at}[1].matchLabels[a]"),
            format!("{at}[1]"),
            format!("{at}[2].matchExpressions[0].operator"),
            format!("{at}[2].matchExpressions[1].values"),
            format!("{at}[2].matchExpressions[2].values"),
            format!("{at}[2]"),
        ]
    );
}

#[test]
fn columns_show_subjects() {
    let binding = Object::new(json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "User", "name": "v"},
                     {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    }));
    let cells = skiff_api::table::cells(&rolebinding::kind(), &binding);
    let cells: Value = cells.iter().map(|cell| cell.at(jiff::Timestamp::UNIX_EPOCH)).collect();
    assert_eq!(cells, json!(["b", "Role/r", "<unknown>", "u, v", "", "n/s"]));
}
