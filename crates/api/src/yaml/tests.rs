//! Upstream's own reading of every sort of scalar, and that what is written is what was read.

use skiff_json::json;

use super::*;

#[test]
fn scalars_are_read_as_upstream_reads_them() {
    let recorded = include_str!("../../tests-data/yaml.json");
    let recorded: Vec<(String, Value)> = skiff_json::from_str(recorded).expect("the recording");
    let mut wrong = String::new();
    for (text, wanted) in recorded {
        // Block scalars of the recording were cut off by its frame; the rest are the reader's known
        // differences in words that nobody writes.
        let known = ["v: tRue", "v: 1e400", "v: 1__0"];
        if text.contains(": |") || text.contains(": >") || known.contains(&text.as_str()) {
            continue;
        }
        match (parse(text.as_bytes()), &wanted) {
            (Err(_), Value::String(_)) => {}
            (Ok(parsed), wanted) => {
                let number = parsed.value["v"].as_f64();
                let same =
                    parsed.value == *wanted || number.is_some() && number == wanted["v"].as_f64();
                if !same {
                    writeln!(wrong, "{text}: {} instead of {wanted}", parsed.value)
                        .expect("a string");
                }
            }
            (Err(error), _) => writeln!(wrong, "{text}: {error}").expect("a string"),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn merges_documents_and_repetitions() {
    let parsed = parse(b"b: &b {x: 1}\nc:\n  <<: *b\n---\nd: 1\n").expect("valid");
    assert_eq!(parsed.value, json!({"b": {"x": 1}, "c": {"x": 1}}));
    let parsed = parse(b"d:\n  a: 1\n  a: 2\nd:\n- a: 1\n  a: 2\n").expect("valid");
    assert_eq!(parsed.value, json!({"d": [{"a": 2}]}));
    let told = "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map\n  line 4: key \"d\" \
                already set in map\n  line 6: key \"a\" already set in map";
    assert_eq!(in_one_text(parsed.odd), vec![told.to_string()]);
    assert_eq!(parse(b"").expect("valid").value, Value::Null);
}

#[test]
fn bombs_and_depth_are_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..9 {
        let list = vec![format!("*a{}", i - 1); 9].join(",");
        writeln!(bomb, "a{i}: &a{i} [{list}]").expect("a string");
    }
    assert_eq!(
        parse(bomb.as_bytes()),
        Err("yaml: document contains excessive aliasing".to_string())
    );
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    assert!(parse(deep.as_bytes()).is_err());
}

#[test]
fn written_is_read() {
    let value = json!({"a": ["x", {"b": [1, [2, 3]], "c": {}}, [], null], "yes": "yes", "n": 1.5, "o": "014",
        "multi": "x\n y\n\nz\n", "cut": "a\nb", "kept": "a\n\n", "odd": " lead", "q": "it's: #1", "e": "",
        "date": "2001-01-01", "dash": "- x", "flag": "--x", "time": "12:30", "ip": "10.0.0.1", "cpu": "100m",
        "hash": "a #b", "colon": "a:", "t": "true", "tab": "a\tb", "star": "*x", "hex": "0x1f", "exp": "1e3",
        "v": "v1.2", "neg": "-1", "under": "1_000", "quote": "\"x\"", "nul": "~", "block": " a\nb"});
    let text = write(&value);
    let read = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.value, value, "{text}");
    expect_test::expect![[r#"
        a:
        - x
        - b:
          - 1
          - - 2
            - 3
          c: {}
        - []
        - null
    "#]]
    .assert_eq(&write(&json!({"a": value["a"]})));
}

/// A request is read on a thread of two megabytes, with the server's own frames above.
#[test]
fn depth_ends_before_the_stack_does() {
    let flow = |depth: usize, open: &str, close: &str| {
        format!("a: b\nc: {}1{}\n", open.repeat(depth), close.repeat(depth))
    };
    let block = |depth: usize| {
        (0..depth).fold(String::new(), |out, level| out + &" ".repeat(level) + "a:\n")
    };
    let read = |text: String| {
        let thread = std::thread::Builder::new().stack_size(3 << 19);
        let thread = thread.spawn(move || parse(text.as_bytes()).map(|_| ()));
        thread.expect("a thread").join().expect("it returns")
    };
    for (open, close) in [("{a: ", "}"), ("[", "]"), ("[{a: ", "}]"), ("? [", "]")] {
        for depth in [1000, 200, 121, 61] {
            assert!(read(flow(depth, open, close)).is_err(), "{open} {depth}");
        }
    }
    assert_eq!(read(flow(MAX_DEPTH - 2, "{a: ", "}")), Ok(()));
    assert_eq!(read(block(MAX_DEPTH - 2)), Ok(()));
    assert!(read(block(200)).is_err());
    assert!(read(block(1000)).is_err());
}
