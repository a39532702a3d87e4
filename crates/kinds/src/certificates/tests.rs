use super::request::{BadRequest, KeyType, Request};
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use expect_test::{Expect, expect};
use skiff_api::errors::Errors;
use skiff_api::object::Object;
use skiff_json::json;

/// A request of openssl's, for a key on P-256, with all sorts of names.
const REQUEST: &str = "MIIBTTCB9QIBADBFMQswCQYDVQQGEwJERTELMAkGA1UECgwCZzExCzAJBgNVBAoMAmcyMQ4wDAYDVQQDDAVmaXJzdDEMMAoGA1UE\
    AwwDYm9iMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEuTl9+osX6TF5D/lzazQidfB6HuHq0JB3ndvUTfzH8TOkUvldzE4FIJ2G\
    JM7yjzTfqtUYsrI+r7HDlGR34P3Xt6BOMEwGCSqGSIb3DQEJDjE/MD0wOwYDVR0RBDQwMoIDYS5ihwQBAgMEhxD9AAAAAAAAAAAA\
    AAAAAAABgQVhQGIuY4YMc3BpZmZlOi8veC95MAoGCCqGSM49BAMCA0cAMEQCIAWULbYx4Qvaa0UC5u9ta5UhZfpwB7ZvtiSz0YOf\
    jEUfAiBY/ac5dR5ntkZO+fhXEPeinQ+AQwUaXiLSbcGfuk8z6A==";
/// Requests of openssl's for keys on P-521, signed with SHA-256 and with SHA-512.
const P521: [&str; 2] = [
    "MIIBVDCBtwIBADASMRAwDgYDVQQDDAdzb21lb25lMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAG9hkK92TuIfLrCJugDWWdASc\
    MTleAI4V/fTLBYhrV1Ho9+FG4DFd+6mAw9u8jWAGZcB4qjjrF/pYSPv4igFQgogBN5FpNQSagndWzJlHTIdugdc//K8pdMJAsdSQ\
    PBTecI35LZphRzQHdAgnbUs2eioYvcInLgBYy464ZmLDOxJYg2igADAKBggqhkjOPQQDAgOBiwAwgYcCQRocB2E/tKqSN+QHjKb0\
    INfLAV8DoElSxmqvCcQJnu74CJsTZNjGXrdAjry3zEBKlB87QXOt722zwTEkS7YeWQizAkIAyzvftJAlwPWpBk1YIA/hoYTxT1lM\
    PefoW5SuA/ggDyUgsK+RUG74BIZarN58w67u5i0wk7/keLUHjt2CtWr4BGQ=",
    "MIIBVTCBtwIBADASMRAwDgYDVQQDDAdzb21lb25lMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBhXux+38n2xD1xSXBxzJMa1ES\
    toJvwxgWMIq5mlINQHpM2NfvFzmvo1H3wZdl2FUBEZa229sG6VGoacwc2piCZiQA1JwvHleyJ6v7SQQkwbPJfGUhWER2VBEWS1mF\
    MUjpVMKVXdRZgCGTzZW5/BJ0lBANjnrLgbZwraEeiCiaDztOqC+gADAKBggqhkjOPQQDBAOBjAAwgYgCQgDuxggEhx+uUMH8d2iA\
    AzZy98Fg3ds9IK8+y2Q4tdVpH3orkmjeVjnRUIL38Uz4zxSM1xv1b1R6O0+FNFVl6o9i9gJCATJUIMm51WnzVHbpcfD/iyTtu7Cm\
    pibbmorTMYzUbdqX9vDmtjpJmHSWXu2lMVJWwhOhZcaw508AKu/3j7UsdchI",
];
/// An authority, and what it signed for the key of the request.
const AUTHORITY: &str = "MIIBcTCCARegAwIBAgIUacUosGPPeW2ZQRRui8Hc1xCZSrwwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcNMjYxMTMwMDA0\
    NTU3WhgPMjEyNjExMDYwMDQ1NTdaMA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETdejnr+7J6E/GPa4\
    QUA2Zyd1sFn5D+a6a61eww/VVGuJrSAsqQW4NDqfbUb4u3zN74LFGpBoDUyK8YXeM1eI56NTMFEwHQYDVR0OBBYEFNl/+Ne76i8c\
    efIUb1bDNMTED01TMB8GA1UdIwQYMBaAFNl/+Ne76i8cefIUb1bDNMTED01TMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID\
    SAAwRQIgEFFZfIRB5tY85Q1APRJbzNvGXlSStmmWb2yxNzO7ADgCIQDG6Cxc9y76dVosV4dFFPa1Dg7vS8KzEAuttt/ErtnMyA==";
const LEAF: &str = "MIIBTzCB9QIUKoRXJczOKrud2R27HNEGIgNigocwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcNMjYxMTMwMDA0NTU5WhgP\
    MjEyNTA2MjQwMDQ1NTlaMEUxCzAJBgNVBAYTAkRFMQswCQYDVQQKDAJnMTELMAkGA1UECgwCZzIxDjAMBgNVBAMMBWZpcnN0MQww\
    CgYDVQQDDANib2IwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS5OX36ixfpMXkP+XNrNCJ18Hoe4erQkHed29RN/MfxM6RS+V3M\
    TgUgnYYkzvKPNN+q1Riysj6vscOUZHfg/de3MAoGCCqGSM49BAMCA0kAMEYCIQCdcfjEE8Wb9eLB5H2wbA+nrMCTs4gfda1CJga0\
    4QLoQwIhALGkuwmTh/iXnVfudBxbagXynr98S5hNMA2a6FCH60JV";

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("the constants are base64")
}

fn certificate(text: &str) -> String {
    pem::write("CERTIFICATE", &der(text))
}

#[test]
fn a_request_says_who_and_what_and_for_which_key() {
    let read = Request::of_der(&der(REQUEST)).expect("it is a request");
    assert_eq!(read.common_name(), "bob");
    assert_eq!(read.organizations(), ["g1", "g2"]);
    let shown = format!("{:?} {:?} {:?} {:?}", read.names, read.addresses, read.emails, read.uris);
    assert_eq!(shown, "[\"a.b\"] [1.2.3.4, fd00::1] [\"a@b.c\"] [\"spiffe://x/y\"]");
    assert_eq!(read.key_type, KeyType::Ec("P-256"));
}

#[test]
fn what_is_no_request_is_refused() {
    let refused = |bytes: &[u8]| Request::of_der(bytes).expect_err("it is none");
    let mut forged = der(REQUEST);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let why = "x509: ECDSA verification failure".to_owned();
    assert_eq!(refused(&forged), BadRequest::Signature(why));
    assert!(matches!(refused(&forged[..last]), BadRequest::Form(_)));
    assert!(matches!(refused(b""), BadRequest::Form(_)));
    assert!(matches!(refused(&der(AUTHORITY)), BadRequest::Form(_)));
    let more = [der(REQUEST), vec![0]].concat();
    assert!(matches!(refused(&more), BadRequest::Form(_)));
    let wrong = Request::of_pem(certificate(AUTHORITY).as_bytes()).expect_err("it is none");
    assert_eq!(wrong.to_string(), "PEM block type must be CERTIFICATE REQUEST");
}

#[test]
fn requests_for_keys_on_p521_are_verified() {
    for text in P521 {
        let sound = der(text);
        let read = Request::of_der(&sound).expect("it is a request");
        assert_eq!(read.key_type, KeyType::Ec("P-521"));
        let subject = sound.windows(7).position(|it| it == b"someone").expect("its subject");
        let failed = BadRequest::Signature("x509: ECDSA verification failure".to_owned());
        for at in [subject, sound.len() - 1] {
            let mut forged = sound.clone();
            forged[at] ^= 1;
            assert_eq!(Request::of_der(&forged), Err(failed.clone()));
        }
    }
}

fn check(kind: fn() -> Kind, new: Value, old: Option<Value>, expected: Expect) {
    let (new, old, mut errors) = (Object::new(new), old.map(Object::new), Errors::new());
    (kind().hooks.validate)(&new, old.as_ref(), &mut errors);
    expected.assert_eq(&errors.text());
}

#[test]
fn bundles_hold_anchors_once() {
    let bundle = |text: String| json!({"metadata": {"name": "a"}, "spec": {"trustBundle": text}});
    let kind = clustertrustbundle::kind;
    let (authority, leaf) = (certificate(AUTHORITY), certificate(LEAF));
    check(kind, bundle(authority.clone()), None, expect!["[]"]);
    check(
        kind,
        bundle(authority.clone() + &leaf),
        None,
        expect![[
            r#"spec.trustBundle: Invalid value: "<value omitted>": entry 1 does not have the CA bit set"#
        ]],
    );
    check(
        kind,
        bundle(authority.repeat(2)),
        None,
        expect![[
            r#"spec.trustBundle: Invalid value: "<value omitted>": duplicate trust anchor (indices [0 1])"#
        ]],
    );
    // What was stored is not parsed again.
    check(kind, bundle("old".into()), Some(bundle("old".into())), expect!["[]"]);
}

#[test]
fn a_decision_is_made_once_and_by_its_own_entry() {
    let request = |conditions: Value| json!({"spec": {"usages": ["any"], "signerName": "a.b/c"}, "status": {"conditions": conditions}});
    let condition = |type_: &str| json!({"type": type_, "status": "True"});
    let change = |entry: &str, now: Value, before: Value| {
        let (new, old, mut errors) =
            (Object::new(request(now)), Object::new(request(before)), Errors::new());
        let hooks = certificatesigningrequest::kind().hooks;
        (hooks.validate_part)(entry, &new, &old, &mut errors);
        errors.text()
    };
    let (approved, denied) = (condition("Approved"), condition("Denied"));
    assert_eq!(change("approval", json!([approved]), json!([])), "[]");
    assert_eq!(
        change("status", json!([approved]), json!([])),
        "status.conditions: Forbidden: updates may not add a condition of type \"Approved\""
    );
    assert_eq!(
        change("approval", json!([]), json!([denied])),
        "status.conditions: Forbidden: updates may not remove a condition of type \"Denied\""
    );
    assert_eq!(
        change("approval", json!([approved, denied]), json!([approved])),
        r#"status.conditions: Invalid value: "{conditions[{\"type\": \"Approved\"}], conditions[{\"type\": \"Denied\"}]}": must specify at most one of: `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`"#
    );
    assert_eq!(change("status", json!([approved, condition("Failed")]), json!([approved])), "[]");
}

#[test]
fn the_answer_to_a_pod_is_for_its_key_and_its_time() {
    let spec = json!({"stubPKCS10Request": REQUEST, "maxExpirationSeconds": 7_000_000_000_i64});
    let condition = json!({"type": "Issued", "status": "True", "reason": "r", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let answer = |certificate: &str, since: &str| {
        let status = json!({"conditions": [condition], "certificateChain": certificate,
            "notBefore": since, "notAfter": "2125-06-24T00:45:59Z", "beginRefreshAt": "2050-01-01T00:00:00Z"});
        let new = Object::new(json!({"spec": spec, "status": status}));
        let (old, mut errors) = (Object::new(json!({"spec": spec})), Errors::new());
        (podcertificaterequest::kind().hooks.validate_part)("status", &new, &old, &mut errors);
        errors.text()
    };
    let begins = "2026-11-30T00:45:59Z";
    assert_eq!(answer(&certificate(LEAF), begins), "[]");
    assert!(
        answer(&certificate(AUTHORITY), begins)
            .ends_with("was not issued to the requested public key")
    );
    assert_eq!(
        answer(&certificate(LEAF), "2026-11-30T00:00:00Z"),
        "status.notBefore: Invalid value: \"2026-11-30T00:00:00Z\": must be set to the NotBefore time encoded \
         in the leaf certificate"
    );
}
