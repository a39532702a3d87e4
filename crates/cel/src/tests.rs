//! Expressions and what they give, cost and are told.

use expect_test::{Expect, expect};
use skiff_json::json;

use crate::decl::{Decl, Place};
use crate::env::Env;
use crate::run::{Budget, Program};
use crate::value::Value;

fn schema() -> skiff_json::Value {
    json!({"type": "object", "properties": {
        "replicas": {"type": "integer"},
        "ratio": {"type": "number"},
        "name": {"type": "string", "maxLength": 20},
        "free": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": true},
        "when": {"type": "string", "format": "date-time"},
        "long": {"type": "string", "format": "duration"},
        "dashed-name": {"type": "boolean"},
        "namespace": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 4,
            "x-kubernetes-list-type": "set"},
        "ports": {"type": "array", "maxItems": 5, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "number": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }})
}

fn object() -> skiff_json::Value {
    json!({
        "replicas": 3, "ratio": 1, "name": "skiff", "port": "http", "dashed-name": true,
        "when": "2026-01-02T03:04:05Z", "long": "1h30m", "namespace": "here",
        "tags": ["a", "b"], "ports": [{"name": "x", "number": 1}, {"name": "y", "number": 2}],
        "labels": {"k": "v", "other": "w"},
    })
}

/// The value and the cost of an expression, or what is wrong with it.
fn answer(text: &str) -> String {
    let decl = Decl::of(&schema(), Place::Within, "selfType").expect("it has fields");
    let env = Env::default().declared("self", &decl).declared("oldSelf", &decl);
    let program = match Program::compile(&env, text) {
        Ok(program) => program,
        Err(faults) => return faults.to_string(),
    };
    let object = object();
    let value = Value::of(&object, &decl).expect("the object is as the schema says");
    let bindings = env.bindings().set("self", value);
    let mut budget = Budget::of_request();
    let found = match program.run(&bindings, &mut budget) {
        Ok(found) => format!("{found:?}"),
        Err(error) => format!("error: {error}"),
    };
    let estimate = program.estimate().max;
    format!("{found}  cost {} of {estimate}", Budget::of_request().left - budget.left)
}

fn check(all: &[&str], expected: Expect) {
    let lines: Vec<String> = all.iter().map(|it| format!("{it}\n    {}", answer(it))).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn values_of_a_schema() {
    check(
        &[
            "self.replicas > 2",
            "self.ratio",
            "type(self.ratio) == double",
            "self.port == 'http' && type(self.port) == string",
            "self.when.getFullYear()",
            "self.long > duration('1h')",
            "self.dashed__dash__name",
            "self.__namespace__",
            "self.tags == ['b', 'a']",
            "self.tags + ['b', 'c']",
            "self.ports + [{'name': 'x', 'number': 7}]",
            "self.ports[1].number",
            "self.labels['k'] + self.labels.other",
            "has(self.free) || !has(self.labels.none)",
            "self.labels.none",
            "self.free",
            "self.ports[2]",
        ],
        expect![[r#"
            self.replicas > 2
                true  cost 3 of 3
            self.ratio
                1.0  cost 2 of 2
            type(self.ratio) == double
                true  cost 4 of 4
            self.port == 'http' && type(self.port) == string
                true  cost 7 of 7
            self.when.getFullYear()
                2026  cost 3 of 3
            self.long > duration('1h')
                true  cost 3 of 4
            self.dashed__dash__name
                true  cost 2 of 2
            self.__namespace__
                "here"  cost 2 of 2
            self.tags == ['b', 'a']
                true  cost 3 of 13
            self.tags + ['b', 'c']
                ["a","b","c"]  cost 3 of 13
            self.ports + [{'name': 'x', 'number': 7}]
                ERROR: <input>:1:12: found no matching overload for '_+_' applied to '(list(selfType.ports.@idx), list(map(string, dyn)))'
             | self.ports + [{'name': 'x', 'number': 7}]
             | ...........^
            self.ports[1].number
                2  cost 4 of 4
            self.labels['k'] + self.labels.other
                "vw"  cost 7 of 1844674407370955270
            has(self.free) || !has(self.labels.none)
                true  cost 4 of 4
            self.labels.none
                error: no such key: none  cost 3 of 3
            self.free
                error: no such key: free  cost 2 of 2
            self.ports[2]
                error: index out of bounds: 2  cost 3 of 3"#]],
    );
}

#[test]
fn macros_and_extensions() {
    check(
        &[
            "self.tags.all(it, it.size() == 1)",
            "self.tags.exists(it, it == 'b')",
            "self.ports.exists_one(it, it.number == 1)",
            "self.ports.map(it, it.number * 2)",
            "self.ports.map(it, it.number > 1, it.name)",
            "self.ports.filter(it, it.number > 1).size()",
            "self.labels.all(k, v, k != v)",
            "[1, 2].transformList(i, v, i + v)",
            "self.labels.transformMap(k, v, v + '!')",
            "{'a': 'b'}.transformMapEntry(k, v, {v: k})",
            "self.?free.orValue('none')",
            "self.?labels.?k.optMap(it, it + it).value()",
            "self.labels[?'x'].hasValue()",
            "[3, 1, 2].sortBy(it, -it)",
            "[3, 1, 2].sort()[0]",
            "[1, 2, 3].sum() + [4, 5].max()",
            "[1, 0].all(it, 4 / it > 1)",
            "[1, 0].exists(it, 4 / it > 1)",
            "sets.contains([1, 2], [2])",
            "'%s is %d of %.2f'.format(['x', 3, 1.5])",
            "'abc'.substring(1).upperAscii()",
            "'a,b'.split(',').join('-')",
            "quantity('1Gi').isGreaterThan(quantity('1G'))",
            "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
            "url('https://a.example:80/x?k=v').getPort()",
            "semver('1.2.3').isLessThan(semver('1.10.0'))",
            "format.dns1123Label().validate('A_b').value()",
            "'hello world'.findAll('o.')",
        ],
        expect![[r#"
            self.tags.all(it, it.size() == 1)
                true  cost 17 of 27
            self.tags.exists(it, it == 'b')
                true  cost 17 of 27
            self.ports.exists_one(it, it.number == 1)
                true  cost 13 of 24
            self.ports.map(it, it.number * 2)
                [2,4]  cost 33 of 88
            self.ports.map(it, it.number > 1, it.name)
                ["y"]  cost 24 of 98
            self.ports.filter(it, it.number > 1).size()
                1  cost 24 of 94
            self.labels.all(k, v, k != v)
                true  cost 17 of 1966078
            [1, 2].transformList(i, v, i + v)
                [1,3]  cost 31 of 51
            self.labels.transformMap(k, v, v + '!')
                {"k":"v!","other":"w!"}  cost 13 of 123696395088
            {'a': 'b'}.transformMapEntry(k, v, {v: k})
                {"b":"a"}  cost 65 of 95
            self.?free.orValue('none')
                "none"  cost 2 of 3
            self.?labels.?k.optMap(it, it + it).value()
                "vv"  cost 23 of 1844674407370955286
            self.labels[?'x'].hasValue()
                false  cost 4 of 4
            [3, 1, 2].sortBy(it, -it)
                [3,2,1]  cost 84 of 104
            [3, 1, 2].sort()[0]
                1  cost 31 of 40
            [1, 2, 3].sum() + [4, 5].max()
                11  cost 6 of 26
            [1, 0].all(it, 4 / it > 1)
                error: division by zero  cost 14 of 23
            [1, 0].exists(it, 4 / it > 1)
                true  cost 10 of 25
            sets.contains([1, 2], [2])
                true  cost 3 of 23
            '%s is %d of %.2f'.format(['x', 3, 1.5])
                "x is 3 of 1.50"  cost 2 of 12
            'abc'.substring(1).upperAscii()
                "BC"  cost 2 of 2
            'a,b'.split(',').join('-')
                "a-b"  cost 2 of 1844674407370955265
            quantity('1Gi').isGreaterThan(quantity('1G'))
                true  cost 3 of 3
            ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')
                true  cost 6 of 9
            url('https://a.example:80/x?k=v').getPort()
                "80"  cost 4 of 4
            semver('1.2.3').isLessThan(semver('1.10.0'))
                true  cost 3 of 3
            format.dns1123Label().validate('A_b').value()
                ["a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"]  cost 10 of 34
            'hello world'.findAll('o.')
                ["o ","or"]  cost 2 of 2"#]],
    );
}

#[test]
fn faults() {
    check(
        &[
            "self.none",
            "sel.replicas",
            "self.replicas == 'x'",
            "self.replicas + 1.5",
            "foo(1)",
            "self.replicas.x",
            "self.replicas.all(x, x)",
            "self.tags.all(x.y, x)",
            "has(self)",
            "self.replicas ==",
            "self.replicas)",
            "1 ? 2 : 3",
            "[1, 'x']",
            "duration('x') == duration('1s')",
            "'a'.matches('(')",
            "self.name\n  && self.replicas > 1",
            "if",
            "a.b.c(1)",
        ],
        expect![[r#"
            self.none
                ERROR: <input>:1:5: undefined field 'none'
             | self.none
             | ....^
            sel.replicas
                ERROR: <input>:1:1: undeclared reference to 'sel' (in container '')
             | sel.replicas
             | ^
            self.replicas == 'x'
                ERROR: <input>:1:15: found no matching overload for '_==_' applied to '(int, string)'
             | self.replicas == 'x'
             | ..............^
            self.replicas + 1.5
                ERROR: <input>:1:15: found no matching overload for '_+_' applied to '(int, double)'
             | self.replicas + 1.5
             | ..............^
            foo(1)
                ERROR: <input>:1:4: undeclared reference to 'foo' (in container '')
             | foo(1)
             | ...^
            self.replicas.x
                ERROR: <input>:1:14: type 'int' does not support field selection
             | self.replicas.x
             | .............^
            self.replicas.all(x, x)
                ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)
             | self.replicas.all(x, x)
             | ....^
            self.tags.all(x.y, x)
                ERROR: <input>:1:16: argument must be a simple name
             | self.tags.all(x.y, x)
             | ...............^
            has(self)
                ERROR: <input>:1:5: invalid argument to has() macro
             | has(self)
             | ....^
            self.replicas ==
                ERROR: <input>:1:17: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | self.replicas ==
             | ................^
            self.replicas)
                ERROR: <input>:1:14: Syntax error: extraneous input ')' expecting <EOF>
             | self.replicas)
             | .............^
            1 ? 2 : 3
                ERROR: <input>:1:3: found no matching overload for '_?_:_' applied to '(int, int, int)'
             | 1 ? 2 : 3
             | ..^
            [1, 'x']
                ERROR: <input>:1:5: expected type 'int' but found 'string'
             | [1, 'x']
             | ....^
            duration('x') == duration('1s')
                ERROR: <input>:1:10: invalid duration argument
             | duration('x') == duration('1s')
             | .........^
            'a'.matches('(')
                ERROR: <input>:1:13: invalid matches argument
             | 'a'.matches('(')
             | ............^
            self.name
              && self.replicas > 1
                ERROR: <input>:1:5: expected type 'bool' but found 'string'
             | self.name
             | ....^
            if
                ERROR: <input>:1:1: reserved identifier: if
             | if
             | ^
            a.b.c(1)
                ERROR: <input>:1:1: undeclared reference to 'a' (in container '')
             | a.b.c(1)
             | ^
            ERROR: <input>:1:6: undeclared reference to 'c' (in container '')
             | a.b.c(1)
             | .....^"#]],
    );
}

/// What would take the stack, the memory or the time of a machine is refused before it does.
#[test]
fn bombs() {
    let sum = format!("1{}", "+1".repeat(40_000));
    let nested = format!("{}1{}", "(".repeat(400), ")".repeat(400));
    let deep = format!("{}1{}", "[".repeat(240), "]".repeat(240));
    let copies = format!("self.?free{}", ".optMap(x, x)".repeat(40));
    let joined = format!("[[1]]{}.size()", ".map(a, a + a)".repeat(80));
    let long = format!("'{}'", "x".repeat(100_001));
    for text in [sum, nested, deep, copies, joined, long] {
        let said = answer(&text);
        assert!(said.contains("ERROR") || said.contains("cost 0"), "{text:.60}: {said:.200}");
    }
    let loops = "[1,2,3,4,5,6,7,8,9,10]";
    let nested = format!(
        "{loops}.all(a, {loops}.all(b, {loops}.all(c, {loops}.all(d, {loops}.all(e, \
         {loops}.all(f, a + b + c + d + e + f > 0))))))"
    );
    assert!(answer(&nested).contains("operation cancelled: actual cost limit exceeded"));
}

#[test]
fn a_program_goes_anywhere() {
    fn everywhere<T: Send + Sync>() {}
    everywhere::<Program>();
}
